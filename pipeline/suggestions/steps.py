"""Steps of the suggestion stage: build the index, suggest for a range of records, publish the suggestions."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.datasets.lake import Lake, as_table, open_lake
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import OUTCOMES, SUGGESTIONS
from pipeline.datasets.stage import (
    Batch,
    Counts,
    Result,
    groups_of,
    merge_results,
    outcomes_dataset,
    plan_stage,
    publish_stage,
    run_batch,
)
from pipeline.domain.label import Decision
from pipeline.domain.outcome import Outcome, OutcomeRow, Reason
from pipeline.domain.suggestion import concept_agreement, relatedness, shared_concepts
from pipeline.index.neighbours import load_index, nearest, save_index
from pipeline.quality.gates import check_parts
from pipeline.reporting.progress import Progress
from pipeline.settings import Settings

STAGE = "suggestions"
OUTCOMES_OF_STAGE = outcomes_dataset(STAGE)
CANDIDATES_PER_SUGGESTION = 4  # so many visual neighbours are looked at for each suggestion that is kept
_MODEL_COLUMNS = ("model_name", "model_version", "model_sha256", "preprocessing_version", "vocabulary_version")


@dataclass(frozen=True)
class _Catalogue:
    """The records in the order of the index: ids, pictures, {concept: score} of every label that is not dropped."""

    record_ids: list[str]
    image_ids: list[str]
    concepts: list[dict[str, float]]
    model: dict[str, Any]


def plan_suggestions(run_key: str, *, settings: Settings) -> list[str]:
    """Build the index over the run's features; one batch per range of records."""
    lake = open_lake(settings)
    run = lake.run(run_key)
    vectors, record_ids, image_ids, model = _features(lake, run)
    if not record_ids:
        return []
    folder = run.dataset_folder("indexes")
    save_index(lake.store, f"{folder}/index.faiss", vectors)
    lake.write_json(f"{folder}/records.json", {"record_ids": record_ids, "image_ids": image_ids, "model": model})
    size = max(settings.suggestions_per_batch, -(-len(record_ids) // settings.max_batches))
    ranges = ({"first": group[0], "last": group[-1] + 1} for group in groups_of(range(len(record_ids)), size))
    mark = f"{settings.suggestions_per_record}|{[part.sha256 for part in lake.parts(run, 'features')]}"
    mark += f"|{[part.sha256 for part in lake.parts(run, 'record_labels')]}"
    return plan_stage(lake, run, STAGE, ranges, fingerprint=mark, max_batches=settings.max_batches)


def suggest_batch(batch_key: str, *, settings: Settings) -> str:
    """Related records for one range; returns the key of the batch's result."""
    lake = open_lake(settings)
    return run_batch(lake, batch_key, lambda run, batch: _suggest(lake, run, batch, settings))


def publish_suggestions(run_key: str, result_keys: list[str], *, settings: Settings) -> str:
    """Make the suggestions visible; returns the key of the stage's report."""
    lake = open_lake(settings)
    run = lake.run(run_key)
    result = merge_results(lake, STAGE, result_keys)
    checks = check_parts(lake, run, "suggestions", result.parts.get("suggestions", []), settings=settings)
    return publish_stage(lake, run, STAGE, result, ["suggestions", OUTCOMES_OF_STAGE], checks=checks)


def _features(lake: Lake, run: Run) -> tuple[npt.NDArray[np.float32], list[str], list[str], dict[str, str]]:
    """The first picture of each record stands for it."""
    vectors: list[Any] = []
    record_ids: list[str] = []
    image_ids: list[str] = []
    model: dict[str, str] = {}
    seen: set[str] = set()
    for batch in lake.rows(run, "features"):
        embeddings = batch["embedding"].flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1)
        for place, record_id in enumerate(batch["record_id"].to_pylist()):
            if record_id not in seen:
                seen.add(record_id)
                record_ids.append(record_id)
                image_ids.append(batch["image_id"][place].as_py())
                vectors.append(embeddings[place].astype(np.float32))
        model = model or {name: batch[name][0].as_py() for name in _MODEL_COLUMNS if batch.num_rows}
    return np.stack(vectors) if vectors else np.zeros((0, 1), np.float32), record_ids, image_ids, model


def _catalogue(lake: Lake, run: Run) -> _Catalogue:
    value = lake.read_json(f"{run.dataset_folder('indexes')}/records.json")
    places = {record_id: place for place, record_id in enumerate(value["record_ids"])}
    concepts: list[dict[str, float]] = [{} for _ in places]
    for batch in lake.rows(run, "record_labels", ("record_id", "label", "max_score", "decision")):
        for row in batch.to_pylist():
            if row["decision"] != Decision.DROP and row["record_id"] in places:
                concepts[places[row["record_id"]]][row["label"]] = row["max_score"]
    return _Catalogue(value["record_ids"], value["image_ids"], concepts, value["model"])


def _suggest(lake: Lake, run: Run, batch: Batch, settings: Settings) -> Result:
    started = time.monotonic()
    counts, rows, alone = Counts(), list[dict[str, Any]](), list[dict[str, Any]]()
    index = load_index(lake.store, f"{run.dataset_folder('indexes')}/index.faiss")
    catalogue = _catalogue(lake, run)
    first, last = batch.items["first"], batch.items["last"]
    wanted = settings.suggestions_per_record * CANDIDATES_PER_SUGGESTION + 1
    similarities, places = nearest(index, first, last, wanted)
    with Progress(STAGE, "records", settings=settings, total=last - first) as progress:
        for offset, place in enumerate(range(first, last)):
            candidates = zip(places[offset].tolist(), similarities[offset].tolist(), strict=True)
            found = list(_related(catalogue, place, candidates, settings.suggestions_per_record))
            rows += [row | catalogue.model | run.columns() for row in found]
            counts.add(None if found else Reason.NO_NEIGHBOUR)
            alone += [] if found else [_alone(catalogue.record_ids[place]) | run.columns()]
            progress.advance()
    part = lake.write_part(run, "suggestions", batch.number, [as_table("suggestions", rows)], SUGGESTIONS)
    outcomes = lake.write_part(run, OUTCOMES_OF_STAGE, batch.number, [as_table("outcomes", alone)], OUTCOMES)
    return Result(counts, {"suggestions": [part], OUTCOMES_OF_STAGE: [outcomes]}, time.monotonic() - started)


def _alone(record_id: str) -> dict[str, Any]:
    """The outcome row of a record without any suggestion."""
    return asdict(OutcomeRow(STAGE, record_id, record_id, Outcome.SKIPPED, Reason.NO_NEIGHBOUR, "no other picture in the run"))


def _related(
    catalogue: _Catalogue, place: int, candidates: Iterator[tuple[int, float]], count: int
) -> Iterator[dict[str, Any]]:
    """The best of the visual neighbours once their labels are weighed in; never the record itself or the same picture."""
    own = catalogue.concepts[place]
    scored = []
    for other, visual in candidates:
        if other < 0 or other == place or catalogue.image_ids[other] == catalogue.image_ids[place]:
            continue
        score = relatedness(visual, concept_agreement(own, catalogue.concepts[other]))
        scored.append((score, visual, other))
    scored.sort(key=lambda entry: (-entry[0], catalogue.record_ids[entry[2]]))
    for rank, (score, visual, other) in enumerate(scored[:count], start=1):
        shared = shared_concepts(own, catalogue.concepts[other])
        yield {
            "record_id": catalogue.record_ids[place],
            "related_record_id": catalogue.record_ids[other],
            "rank": rank,
            "score": score,
            "visual_similarity": visual,
            "shared_concepts": shared,
            "reasons": ["visual", *(f"concept:{slug}" for slug in shared)],
        }
