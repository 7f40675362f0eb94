"""Related records: planned, suggested and published over a small lake."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.datasets.lake import Lake, as_table, open_lake
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import RECORD_LABELS, features_schema
from pipeline.domain.scope import Scope, Selection
from pipeline.settings import Settings
from pipeline.suggestions.steps import plan_suggestions, publish_suggestions, suggest_batch

RUN = Run("r1", "default", Selection("query", "*:*"), Scope("full"), datetime(2026, 1, 1, tzinfo=UTC))
MODEL = {
    "model_name": "default",
    "model_version": "1",
    "model_sha256": "0" * 64,
    "preprocessing_version": "1",
    "vocabulary_version": "v",
}
WIDTH = 8

Picture = tuple[str, str, list[float]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, var_dir=tmp_path, suggestions_per_record=3, suggestions_per_batch=4)


def filled(settings: Settings, pictures: list[Picture], labels: list[tuple[str, str, float, str]]) -> Lake:
    lake = open_lake(settings)
    lake.save_run(RUN)
    common = MODEL | RUN.columns()
    schema = features_schema(WIDTH, concepts=1)
    features = [
        {"record_id": record, "image_id": image, "raw_scores": [0.5], "embedding": np.array(vector, dtype=np.float16)} | common
        for record, image, vector in pictures
    ]
    part = lake.write_part(RUN, "features", 0, [as_table("features", features, schema=schema)], schema)
    lake.publish(RUN, "features", [part])
    rows = [
        {
            "record_id": record,
            "concept_uri": f"urn:{slug}",
            "label": slug,
            "max_score": score,
            "mean_score": score,
            "image_id": "i",
            "images": 1,
            "decision": decision,
            "why": "floor",
        }
        | common
        for record, slug, score, decision in labels
    ]
    lake.publish(
        RUN, "record_labels", [lake.write_part(RUN, "record_labels", 0, [as_table("record_labels", rows)], RECORD_LABELS)]
    )
    return lake


def suggested(lake: Lake, settings: Settings) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    results = [suggest_batch(key, settings=settings) for key in plan_suggestions(RUN.key, settings=settings)]
    report = lake.read_json(publish_suggestions(RUN.key, results, settings=settings))
    found: dict[str, list[dict[str, Any]]] = {}
    for batch in lake.rows(RUN, "suggestions"):
        for row in batch.to_pylist():
            found.setdefault(row["record_id"], []).append(row)
    return found, report


def vector(*values: float) -> list[float]:
    return [*values, *[0.0] * (WIDTH - len(values))]


def test_suggestions_are_ranked_bounded_and_never_the_record_itself(settings: Settings) -> None:
    chance = np.random.default_rng(5)
    pictures = [(f"/1/{number:02d}", f"i{number}", chance.normal(size=WIDTH).tolist()) for number in range(10)]
    found, report = suggested(filled(settings, pictures, []), settings)
    assert report["counts"]["inputs"] == 10 and len(found) == 10
    for record_id, rows in found.items():
        assert [row["rank"] for row in rows] == [1, 2, 3]
        assert record_id not in {row["related_record_id"] for row in rows}
        scores = [row["score"] for row in rows]
        assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
        assert {row["model_version"] for row in rows} == {"1"}


def test_labels_that_both_have_lift_a_record_and_are_given_as_a_reason(settings: Settings) -> None:
    pictures = [("/1/a", "ia", vector(1, 0)), ("/1/b", "ib", vector(1, 0.30)), ("/1/c", "ic", vector(1, 0.35))]
    labels = [("/1/a", "map", 0.9, "publish"), ("/1/c", "map", 0.8, "hidden"), ("/1/b", "map", 0.9, "drop")]
    found, _ = suggested(filled(settings, pictures, labels), settings)
    first, second = found["/1/a"]
    assert (first["related_record_id"], first["shared_concepts"]) == ("/1/c", ["map"])
    assert first["reasons"] == ["visual", "concept:map"]
    assert first["visual_similarity"] < second["visual_similarity"]
    # What was dropped counts for nothing.
    assert (second["related_record_id"], second["reasons"]) == ("/1/b", ["visual"])


def test_the_same_picture_under_another_record_is_no_suggestion(settings: Settings) -> None:
    pictures = [("/1/a", "same", vector(1, 0)), ("/1/b", "same", vector(1, 0)), ("/1/c", "other", vector(1, 1))]
    found, _ = suggested(filled(settings, pictures, []), settings)
    assert [row["related_record_id"] for row in found["/1/a"]] == ["/1/c"]


def test_the_first_picture_of_a_record_stands_for_it(settings: Settings) -> None:
    pictures = [
        ("/1/a", "a1", vector(1, 0)),
        ("/1/a", "a2", vector(0, 1)),
        ("/1/b", "b1", vector(0, 1)),
        ("/1/c", "c1", vector(1, 0.1)),
    ]
    found, report = suggested(filled(settings, pictures, []), settings)
    assert report["counts"]["inputs"] == 3
    assert found["/1/a"][0]["related_record_id"] == "/1/c"


def test_a_record_without_neighbours_is_counted_with_its_reason(settings: Settings) -> None:
    found, report = suggested(filled(settings, [("/1/a", "ia", vector(1))], []), settings)
    assert found == {}
    assert report["counts"] == {"inputs": 1, "ok": 0, "reasons": {"no_neighbour": 1}, "extra": {}}


def test_a_run_without_pictures_plans_nothing_and_publishes_an_empty_dataset(settings: Settings) -> None:
    found, report = suggested(filled(settings, [], []), settings)
    assert found == {} and report["datasets"] == {"suggestions": 0, "outcomes/stage=suggestions": 0}


def test_running_again_writes_the_same_bytes(settings: Settings, tmp_path: Path) -> None:
    chance = np.random.default_rng(5)
    pictures = [(f"/1/{number:02d}", f"i{number}", chance.normal(size=WIDTH).tolist()) for number in range(9)]
    digests = []
    for name in ("one", "two"):
        there = settings.model_copy(update={"var_dir": tmp_path / name})
        lake = filled(there, pictures, [])
        suggested(lake, there)
        digests.append([part.sha256 for part in lake.parts(RUN, "suggestions")])
    assert digests[0] == digests[1] and len(digests[0]) == 3
