"""Chosen labels in the form in which WITH, Zooniverse and Label Studio take them. What comes back is read by `crowd`."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.datasets.lake import open_lake
from pipeline.datasets.run import Run
from pipeline.domain.annotation import CONTEXT
from pipeline.domain.identifiers import ITEM_BASE, annotation_canonical
from pipeline.errors import CriticalError
from pipeline.feedback.sample import Candidate, choose_labels
from pipeline.settings import Settings
from pipeline.vocabulary import Vocabulary, load_vocabulary

TARGETS = ("with-campaign", "zooniverse", "label-studio")
WITH_MOST = 10_000  # annotations of one import: some 5 MB (contract §3.6)
# `#` hides a column from volunteers: what the model thinks must not sway them (contract §6.2).
_MANIFEST = ("subject_reference", "europeana_id", "URI", "image", "question", "#concept", "#score", "#model", "#image_id")


def sample(
    run_key: str,
    target: str,
    path: Path,
    *,
    budget: int,
    seed: int,
    settings: Settings,
    quota: int,
) -> list[Candidate]:
    """Choose up to `budget` labels of a run and write them for a target into a file; returns them.

    The same run, votes and seed give the same bytes. Raises CriticalError when there is no such target, or when it does not
    take so many; `quota` is how many subjects
    Zooniverse takes of this user: 100, unless raised (WITH contract §6.1).
    """
    _check(target, budget, quota)
    lake = open_lake(settings)
    run = lake.run(run_key)
    chosen = choose_labels(lake, run, budget, seed=seed, settings=settings, for_with=target == "with-campaign")
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as handle:
        if target == "zooniverse":
            writer = csv.DictWriter(handle, _MANIFEST)
            writer.writeheader()
            writer.writerows(manifest(chosen, vocabulary, settings))
        else:
            value = (
                campaign(chosen, vocabulary, settings, run)
                if target == "with-campaign"
                else tasks(chosen, vocabulary, settings)
            )
            json.dump(value, handle, ensure_ascii=False, indent=1)
    return chosen


def _check(target: str, budget: int, quota: int) -> None:
    if target not in TARGETS:
        raise CriticalError(f"--to {target}: there are {', '.join(TARGETS)}")
    if target == "zooniverse" and budget > quota:
        raise CriticalError(
            f"--budget {budget}: Zooniverse takes {quota} subjects of a user; ask for less, or say --quota if yours was raised"
        )
    if target == "with-campaign" and budget > WITH_MOST:
        raise CriticalError(f"--budget {budget}: one import of WITH takes {WITH_MOST:,} annotations; ask for less")


def campaign(chosen: Sequence[Candidate], vocabulary: Vocabulary, settings: Settings, run: Run) -> dict[str, Any]:
    """The body of `POST /campaign/{name}/importAnnotations?motivation=Tagging` (contract §3.6)."""
    graph = [
        {
            "id": annotation_canonical(one.record_id, one.concept_uri, "with-campaign"),
            "type": "Annotation",
            "created": f"{run.created_at:%Y-%m-%dT%H:%M:%S}",
            "creator": {"id": f"{settings.vocab_base}/model/{one.model}", "type": "Software", "name": one.model},
            "confidence": round(one.score, 4),
            "body": vocabulary.by_slug[one.label].body_uri,
            "target": {"source": one.record_id},
        }
        for one in chosen
    ]
    return {"@context": CONTEXT, "@graph": graph}


def manifest(chosen: Sequence[Candidate], vocabulary: Vocabulary, settings: Settings) -> list[dict[str, Any]]:
    """The lines of a manifest for `panoptes subject-set upload-subjects -r image` (contract §6.2), keys as the pilot's."""
    return [
        {
            "subject_reference": place,
            "europeana_id": one.record_id,
            "URI": f"{ITEM_BASE}{one.record_id}",
            "image": one.image_url,
            "question": _question(one, vocabulary, settings),
            "#concept": one.label,
            "#score": round(one.score, 4),
            "#model": one.model,
            "#image_id": one.image_id,
        }
        for place, one in enumerate(chosen, 1)
    ]


def tasks(chosen: Sequence[Candidate], vocabulary: Vocabulary, settings: Settings) -> list[dict[str, Any]]:
    """Tasks of Label Studio, keys as the pilot's (contract §5.4)."""
    return [
        {
            "data": {
                "image": one.image_url,
                "ID": one.record_id,
                "URI": f"{ITEM_BASE}{one.record_id}",
                "question": _question(one, vocabulary, settings),
                "concept": one.label,
                "score": round(one.score, 4),
                "model": one.model,
                "image_id": one.image_id,
            }
        }
        for one in chosen
    ]


def _question(one: Candidate, vocabulary: Vocabulary, settings: Settings) -> str:
    """The concept's name with a question mark, in the first of LABEL_LANGUAGE."""
    return f"{vocabulary.by_slug[one.label].label(settings.label_language.partition(',')[0].strip())}?"
