"""The lake and its batches: whole runs only, the same bytes again, and nothing that is done is done twice."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.lake import Lake, Part, as_table, open_lake
from pipeline.datasets.run import Run, named_run_id
from pipeline.datasets.schemas import OUTCOMES, SCHEMAS, features_schema
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
from pipeline.domain.harvest_rules import HarvestRules, Limits
from pipeline.domain.scope import Scope, Selection
from pipeline.errors import CriticalError, PoisonedResultError
from pipeline.settings import Settings

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUN = Run(
    "night-1",
    "default",
    Selection("query", "*:*", ("TYPE:IMAGE",)),
    Scope("full"),
    NOON,
    HarvestRules(limits=Limits(max_records=10)),
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(Settings(_env_file=None, var_dir=tmp_path))


def outcome(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "stage": "images",
        "input_id": f"/1/{number}",
        "record_id": f"/1/{number}",
        "outcome": "failed",
        "reason": "timeout",
        "detail": "",
        "attempt": 1,
        **RUN.columns(),
    } | changes


def table(*numbers: int) -> pa.Table:
    return as_table("outcomes", [outcome(number) for number in numbers])


def written(lake: Lake, number: int, *numbers: int, run: Run = RUN) -> Part:
    return lake.write_part(run, "outcomes", number, [table(*numbers)], OUTCOMES)


def read(lake: Lake, run: Run = RUN) -> list[str]:
    return [row["input_id"] for batch in lake.rows(run, "outcomes") for row in batch.to_pylist()]


# --- Parts and publication ---


def test_a_part_is_invisible_until_it_is_published(lake: Lake) -> None:
    part = written(lake, 0, 1, 2)
    assert lake.store.exists(part.key)
    with pytest.raises(CriticalError, match="no published outcomes"):
        read(lake)
    lake.publish(RUN, "outcomes", [part])
    assert read(lake) == ["/1/1", "/1/2"]


def test_publishing_shows_exactly_the_named_parts_in_order_and_removes_leftovers_of_an_earlier_try(lake: Lake) -> None:
    first, second, leftover = written(lake, 0, 1), written(lake, 1, 2), written(lake, 2, 3)
    lake.publish(RUN, "outcomes", [second, first])
    assert read(lake) == ["/1/1", "/1/2"]
    assert not lake.store.exists(leftover.key)
    assert lake.parts(RUN, "outcomes") == [first, second]


def test_publishing_leaves_other_runs_and_datasets_alone(lake: Lake) -> None:
    other = replace(RUN, run_id="night-2")
    kept = written(lake, 5, 9, run=other)
    records = lake.write_part(RUN, "outcomes/stage=x", 3, [table(4)], OUTCOMES)
    lake.publish(RUN, "outcomes", [written(lake, 0, 1)])
    assert lake.store.exists(kept.key) and lake.store.exists(records.key)


def test_a_dataset_without_parts_can_be_published_and_read(lake: Lake) -> None:
    lake.publish(RUN, "outcomes", [])
    assert read(lake) == []


def test_the_manifest_tells_rows_and_digests(lake: Lake) -> None:
    part = written(lake, 0, 1, 2, 3)
    lake.publish(RUN, "outcomes", [part])
    manifest = lake.read_json(f"{RUN.dataset_folder('outcomes')}/_manifest.json")
    assert (manifest["rows"], manifest["run_id"], manifest["parts"][0]["sha256"]) == (3, "night-1", part.sha256)


def test_writing_the_same_rows_twice_gives_the_same_bytes(lake: Lake, tmp_path: Path) -> None:
    part = written(lake, 0, *range(1000))
    before = lake.store.get_bytes(part.key)
    again = written(lake, 0, *range(1000))
    elsewhere = open_lake(Settings(_env_file=None, var_dir=tmp_path / "elsewhere"))
    there = written(elsewhere, 0, *range(1000))
    assert part == again == there
    assert lake.store.get_bytes(part.key) == before == elsewhere.store.get_bytes(there.key)


def test_rows_come_back_in_batches_of_bounded_size(lake: Lake) -> None:
    rows = [table(*range(at, at + 10_000)) for at in range(0, 40_000, 10_000)]
    lake.publish(RUN, "outcomes", [lake.write_part(RUN, "outcomes", 0, rows, OUTCOMES)])
    batches = list(lake.rows(RUN, "outcomes", ("input_id",)))
    assert sum(batch.num_rows for batch in batches) == 40_000
    assert max(batch.num_rows for batch in batches) <= 16_384
    assert batches[0].schema.names == ["input_id"]


@pytest.mark.parametrize("column", ["stage", "input_id", "outcome", "reason", "attempt", "run_id", "created_at"])
def test_a_required_column_that_is_empty_somewhere_poisons_the_part(lake: Lake, column: str) -> None:
    rows = as_table("outcomes", [outcome(1), outcome(2, **{column: None})])
    with pytest.raises(PoisonedResultError, match=column):
        lake.write_part(RUN, "outcomes", 0, [rows], OUTCOMES)
    assert list(lake.store.list("outcomes/")) == []


def test_a_missing_column_poisons_the_part(lake: Lake) -> None:
    rows = table(1).drop_columns(["detail"])
    with pytest.raises(PoisonedResultError, match="columns"):
        lake.write_part(RUN, "outcomes", 0, [rows], OUTCOMES)


def test_a_bad_batch_after_good_ones_leaves_no_part(lake: Lake) -> None:
    batches = [table(1), as_table("outcomes", [outcome(2, stage=None)])]
    with pytest.raises(PoisonedResultError):
        lake.write_part(RUN, "outcomes", 0, iter(batches), OUTCOMES)
    assert list(lake.store.list("")) == []


def test_a_nullable_column_may_be_empty(lake: Lake) -> None:
    rows = as_table("outcomes", [outcome(1, record_id=None)])
    assert lake.write_part(RUN, "outcomes", 0, [rows], OUTCOMES).rows == 1


@pytest.mark.parametrize("changes", [{"attempt": "many"}, {"attempt": 2**40}, {"created_at": "noon"}, {"stage": 3}])
def test_values_of_the_wrong_type_are_poison(changes: dict[str, Any]) -> None:
    with pytest.raises(PoisonedResultError):
        as_table("outcomes", [outcome(1, **changes)])


def test_an_embedding_of_the_wrong_width_is_poison() -> None:
    with pytest.raises(PoisonedResultError):
        as_table("features", [{"embedding": [0.0, 1.0, 2.0]}], schema=features_schema(4, concepts=1))


@pytest.mark.parametrize("dataset", SCHEMAS)
def test_every_dataset_carries_its_run_and_a_schema_version(dataset: str) -> None:
    schema = SCHEMAS[dataset]
    assert not schema.field("run_id").nullable and not schema.field("created_at").nullable
    assert int(schema.metadata[b"schema_version"]) >= 1
    if dataset in ("labels", "record_labels", "suggestions", "annotations"):
        wanted = {"model_name", "model_version", "model_sha256", "preprocessing_version", "vocabulary_version"}
        assert wanted <= set(schema.names)


# --- Runs ---


def test_a_run_survives_the_way_through_its_manifest() -> None:
    window = Scope("window", start=NOON, end=NOON + timedelta(1))
    run = replace(RUN, scope=window, dry_run=True, attempt=3)
    assert Run.from_json(run.to_json()) == run


def test_the_place_of_a_dataset_follows_from_source_scope_and_run_alone() -> None:
    folder = RUN.dataset_folder("images")
    assert folder.startswith("images/source=default/scope=") and folder.endswith("/run=night-1")
    assert replace(RUN, created_at=NOON + timedelta(1), attempt=2, dry_run=True).dataset_folder("images") == folder
    assert replace(RUN, scope=Scope("pending")).dataset_folder("images") != folder


def test_a_run_that_was_cut_off_keeps_its_planned_time_and_attempt(lake: Lake) -> None:
    lake.save_run(RUN)
    again = lake.save_run(replace(RUN, created_at=NOON + timedelta(hours=3)))
    assert (again.created_at, again.attempt) == (NOON, 1)
    assert lake.run(RUN.key) == again


def test_a_finished_run_that_is_started_again_is_a_new_attempt_at_the_same_planned_time(lake: Lake) -> None:
    run = lake.save_run(RUN)
    for attempt in (2, 3):
        lake.write_json(run.finished_key, {})
        run = lake.save_run(replace(RUN, created_at=NOON + timedelta(hours=3)))
        assert (run.created_at, run.attempt) == (NOON, attempt)


def test_a_run_with_another_scope_under_the_same_id_gets_its_own_time(lake: Lake) -> None:
    lake.save_run(RUN)
    later = NOON + timedelta(hours=3)
    assert lake.save_run(replace(RUN, scope=Scope("pending"), created_at=later)).created_at == later


def test_an_unknown_run_is_one_clear_message(lake: Lake) -> None:
    with pytest.raises(CriticalError, match="no such run"):
        lake.run("runs/run=nothing/run.json")


def test_a_run_id_of_airflow_becomes_one_path_segment() -> None:
    assert named_run_id("scheduled__2026-01-01T00:00:00+00:00") == "scheduled__2026-01-01T00-00-00-00-00"


# --- Stages ---


class Work:
    """Writes one part a batch and counts how often it is asked to."""

    def __init__(self, lake: Lake, *, final: bool = True) -> None:
        self.lake, self.final, self.calls = lake, final, 0

    def __call__(self, run: Run, batch: Batch) -> Result:
        self.calls += 1
        part = written(self.lake, batch.number, *batch.items)
        return Result(Counts(len(batch.items), len(batch.items)), {"outcomes": [part]}, 0.1, final=self.final)


def planned(lake: Lake, *batches: list[int], run: Run = RUN, fingerprint: str = "v1", most: int = 100) -> list[str]:
    run = lake.save_run(run)
    return plan_stage(lake, run, "images", batches, fingerprint=fingerprint, max_batches=most)


def test_a_finished_batch_is_not_done_again(lake: Lake) -> None:
    work = Work(lake)
    keys = [run_batch(lake, planned(lake, [1, 2])[0], work) for _ in range(3)]
    assert work.calls == 1 and len(set(keys)) == 1


@pytest.mark.parametrize("changes", [{"items": [1, 3]}, {"fingerprint": "v2"}])
def test_a_batch_with_other_items_or_settings_is_done_again(lake: Lake, changes: dict[str, Any]) -> None:
    work = Work(lake)
    run_batch(lake, planned(lake, [1, 2])[0], work)
    run_batch(lake, planned(lake, changes.get("items", [1, 2]), fingerprint=changes.get("fingerprint", "v1"))[0], work)
    assert work.calls == 2


def test_a_finished_run_that_is_started_again_does_its_batches_again(lake: Lake) -> None:
    work = Work(lake)
    run_batch(lake, planned(lake, [1, 2])[0], work)
    lake.write_json(RUN.finished_key, {})
    run_batch(lake, planned(lake, [1, 2])[0], work)
    assert work.calls == 2


def test_a_batch_that_a_retry_might_better_is_done_again(lake: Lake) -> None:
    work = Work(lake, final=False)
    run_batch(lake, planned(lake, [1])[0], work)
    work.final = True
    run_batch(lake, planned(lake, [1])[0], work)
    run_batch(lake, planned(lake, [1])[0], work)
    assert work.calls == 2


def test_a_batch_whose_part_has_vanished_is_done_again(lake: Lake) -> None:
    work = Work(lake)
    result = lake.read_json(run_batch(lake, planned(lake, [1])[0], work))
    lake.store.delete(result["parts"]["outcomes"][0]["key"])
    run_batch(lake, planned(lake, [1])[0], work)
    assert work.calls == 2


def test_a_batch_that_fails_leaves_no_result_behind(lake: Lake) -> None:
    key = planned(lake, [1])[0]

    def broken(run: Run, batch: Batch) -> Result:
        raise PoisonedResultError("NaN")

    with pytest.raises(PoisonedResultError):
        run_batch(lake, key, broken)
    work = Work(lake)
    run_batch(lake, key, work)
    assert work.calls == 1


def test_counts_that_do_not_add_up_fail_the_batch_before_its_result_is_written(lake: Lake) -> None:
    key = planned(lake, [1])[0]
    with pytest.raises(PoisonedResultError, match="a row is lost"):
        run_batch(lake, key, lambda run, batch: Result(Counts(inputs=3, ok=1, reasons=Counter(gone=1))))
    assert not [found for found in lake.store.list(RUN.folder) if "result-" in found]


def test_a_plan_of_more_batches_than_can_be_mapped_is_refused(lake: Lake) -> None:
    assert len(planned(lake, [1], [2], [3], most=3)) == 3
    with pytest.raises(CriticalError, match="more than 3 batches"):
        planned(lake, [1], [2], [3], [4], most=3)


def test_results_of_batches_are_added_and_published_together(lake: Lake) -> None:
    work = Work(lake)
    results = [run_batch(lake, key, work) for key in planned(lake, [1, 2], [3])]
    merged = merge_results(lake, "images", results)
    assert (merged.counts.inputs, merged.counts.ok) == (3, 3)
    report = lake.read_json(publish_stage(lake, RUN, "images", merged, ["outcomes"], licence="CC0"))
    assert (report["datasets"], report["licence"]) == ({"outcomes": 3}, "CC0")
    assert read(lake) == ["/1/1", "/1/2", "/1/3"]


def test_a_stage_without_batches_still_publishes_its_empty_datasets(lake: Lake) -> None:
    merged = merge_results(lake, "images", [])
    publish_stage(lake, lake.save_run(RUN), "images", merged, ["outcomes", outcomes_dataset("images")])
    assert read(lake) == []


_REASONS = st.lists(st.one_of(st.none(), st.sampled_from(["gone", "timeout", "corrupt"])), max_size=30)


@given(_REASONS, _REASONS)
def test_counts_always_add_up_and_survive_merging_and_json(one: list[str | None], other: list[str | None]) -> None:
    counts, more = Counts(), Counts()
    for reason in one:
        counts.add(reason)
    for reason in other:
        more.add(reason)
    counts.merge(more)
    counts.check("test")
    assert counts.inputs == len(one) + len(other)
    assert counts.ok == [*one, *other].count(None)
    assert Counts.from_json(json.loads(json.dumps(counts.to_json()))) == counts


@given(st.lists(st.integers(), max_size=50), st.integers(1, 12))
def test_groups_keep_every_item_in_order_and_none_is_empty(items: list[int], size: int) -> None:
    groups = list(groups_of(items, size))
    assert [item for group in groups for item in group] == items
    assert all(len(group) == size for group in groups[:-1]) and all(groups)
