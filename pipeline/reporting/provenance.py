"""Where a run's files come from, as PROV-O in JSON-LD: which stage made them, from what, with which model and vocabulary."""

import hashlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.datasets.run import Run
from pipeline.domain.annotation import run_page
from pipeline.reporting.exports import LICENCE
from pipeline.settings import Settings

SOFTWARE = "heritage-enrichment"
_CONTEXT = {
    "prov": "http://www.w3.org/ns/prov#",
    "dcterms": "http://purl.org/dc/terms/",
    "dcat": "http://www.w3.org/ns/dcat#",
    "spdx": "http://spdx.org/rdf/terms#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
# What each stage makes, of what. A dataset is a table of the lake.
_MADE = {
    "harvest": (("records",), ()),
    "images": (("images",), ("records",)),
    "labels": (("labels", "record_labels", "features"), ("images",)),
    "suggestions": (("suggestions",), ("features", "record_labels")),
    "publish": (("annotations",), ("record_labels",)),
}
_FROM = {
    "labels": "labels",
    "suggestions": "suggestions",
    "annotations": "annotations",
    "enrichments": "annotations",
}  # file stem → dataset
_TYPES = {
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".jsonl": "application/jsonl",
    ".rdf": "application/rdf+xml",
}


def provenance(run: Run, report: dict[str, Any], folder: Path, settings: Settings) -> dict[str, Any]:
    """A JSON-LD document about the data files in `folder`, as the run report tells how they came about."""
    base = run_page(settings.public_base_url, run.run_id) or f"{settings.vocab_base}:run:{run.run_id}"
    graph = [*_agents(base), *_stages(base, run, report), *_things(base, report), *_files(base, folder)]
    return {"@context": _CONTEXT, "@graph": graph}


def _agents(base: str) -> Iterator[dict[str, Any]]:
    yield {
        "@id": f"{base}#software",
        "@type": ["prov:Agent", "prov:SoftwareAgent"],
        "rdfs:label": SOFTWARE,
        "dcterms:hasVersion": version(SOFTWARE),
    }


def _stages(base: str, run: Run, report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    before = None
    for stage, (_, used) in _MADE.items():
        inputs = [f"{base}#{name}" for name in used]
        if stage == "labels" and report["model"]:
            inputs += [f"{base}#model", f"{base}#vocabulary"]
        yield {
            "@id": f"{base}#{stage}-stage",
            "@type": "prov:Activity",
            "rdfs:label": f"{stage} of run {run.run_id}",
            "prov:wasAssociatedWith": {"@id": f"{base}#software"},
            "prov:used": [{"@id": name} for name in inputs],
            **({"prov:wasInformedBy": {"@id": before}} if before else {}),
        }
        before = f"{base}#{stage}-stage"


def _things(base: str, report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The datasets of the lake, the model and the vocabulary."""
    for stage, (made, used) in _MADE.items():
        for name in made:
            yield {
                "@id": f"{base}#{name}",
                "@type": "prov:Entity",
                "rdfs:label": f"dataset {name}",
                "dcterms:created": {"@value": report["run"]["created_at"], "@type": "xsd:dateTime"},
                "prov:wasGeneratedBy": {"@id": f"{base}#{stage}-stage"},
                "prov:wasDerivedFrom": [{"@id": f"{base}#{source}"} for source in used],
            }
    if model := report["model"]:
        yield {
            "@id": f"{base}#model",
            "@type": ["prov:Entity", "prov:Plan"],
            "rdfs:label": f"{model['model_name']}@{model['model_version']}",
            "dcterms:hasVersion": model["model_version"],
            "spdx:checksum": f"sha256:{model['model_sha256']}",
            "dcterms:description": ", ".join(
                [
                    f"recipe {model['recipe']}",
                    f"preprocessing {model['preprocessing_version']}",
                    *(f"run by {engine}" for engine in report["engines"]),
                ]
            ),
            "prov:wasDerivedFrom": {"@id": f"{base}#training-data", "rdfs:label": model["dataset_id"]},
        }
    yield {
        "@id": f"{base}#vocabulary",
        "@type": "prov:Entity",
        "rdfs:label": "vocabulary of concepts",
        "dcterms:hasVersion": report["vocabulary_version"],
    }


def _files(base: str, folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.iterdir()):
        if path.suffix in _TYPES and path.stem in _FROM:
            with path.open("rb") as handle:
                digest = hashlib.file_digest(handle, "sha256").hexdigest()
            yield {
                "@id": f"{base}/{path.name}",
                "@type": ["prov:Entity", "dcat:Distribution"],
                "rdfs:label": path.name,
                "prov:wasDerivedFrom": {"@id": f"{base}#{_FROM[path.stem]}"},
                "prov:wasAttributedTo": {"@id": f"{base}#software"},
                "dcterms:license": {"@id": LICENCE},
                "dcat:mediaType": _TYPES[path.suffix],
                "dcat:byteSize": path.stat().st_size,
                "spdx:checksum": f"sha256:{digest}",
            }
