"""Windows: aligned, done once, resumed where they stopped, halved when too large, listed again to find what has gone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.database import connect, windows
from pipeline.datasets.lake import open_lake
from pipeline.datasets.stage import Batch
from pipeline.domain.scope import Scope, Selection
from pipeline.harvest.steps import harvest_window, key_of_listing, plan_harvest
from pipeline.sandbox.process import SandboxProcess
from pipeline.settings import Settings
from tests.integration.archive import (
    COUNTER,
    DAY,
    NEXT_DAY,
    harvest,
    outcome_rows,
    record_ids,
    requests_counted,
    serve_archive,
    settings_for,
    start,
    true_ids,
)

RECORDS = 1_230
WINDOW = Scope("window", start=DAY, end=NEXT_DAY)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with serve_archive(tmp_path_factory.mktemp("archive"), RECORDS) as platform:
        yield platform


@pytest.fixture
def platform(archive: SandboxProcess) -> Iterator[SandboxProcess]:
    """Without faults at the beginning, and with a counter of searches."""
    archive.faults(COUNTER)
    yield archive
    archive.faults()


@pytest.fixture
def settings(platform: SandboxProcess, tmp_path: Path) -> Settings:
    return settings_for(platform, tmp_path / "var")


def rows(settings: Settings, key: str) -> list[windows.Window]:
    run = open_lake(settings).run(key)
    return windows.of_run(connect(settings), key_of_listing(run, settings), run.run_id)


def test_a_window_is_cut_at_fixed_borders_and_every_record_comes_once(settings, platform):
    key = start(settings, scope=WINDOW, window_hours=6)
    report = harvest(settings, key)
    assert report["harvest"]["state"] == "complete"
    assert [row.name for row in rows(settings, key)] == [
        f"2026-01-01T{hour:02d}:00:00Z/2026-01-0{1 + (hour == 18)}T{(hour + 6) % 24:02d}:00:00Z" for hour in (0, 6, 12, 18)
    ]
    assert {row.state for row in rows(settings, key)} == {"success"}
    found = record_ids(settings, key)
    assert set(found) == true_ids(platform) and max(found.values()) == 1
    assert report["counts"]["extra"]["total_results"] == report["counts"]["inputs"] == RECORDS


def test_windows_that_are_done_are_not_asked_for_again_and_another_run_has_their_records_too(settings, platform):
    key = start(settings, scope=WINDOW, window_hours=6)
    first = harvest(settings, key)
    asked = requests_counted(platform)
    again = harvest(settings, start(settings, scope=WINDOW, window_hours=6))
    other = start(settings, run_id="other", scope=Scope("window", start=DAY, end=DAY + timedelta(hours=12)), window_hours=6)
    report = harvest(settings, other)
    assert requests_counted(platform) == asked
    assert again["counts"]["inputs"] == first["counts"]["inputs"] == RECORDS
    assert again["counts"]["extra"]["windows_done_before"] == 4
    assert set(record_ids(settings, key)) == true_ids(platform)
    half = rows(settings, key)[:2]
    assert report["counts"]["inputs"] == sum(row.counts["inputs"] for row in half) == sum(record_ids(settings, other).values())
    assert (report["counts"]["extra"]["windows_done_before"], report["harvest"]["promised"]) == (2, report["counts"]["inputs"])


def test_again_harvests_them_anew_without_disturbing_what_readers_see_meanwhile(settings, platform):
    key = start(settings, scope=WINDOW)
    harvest(settings, key)
    before = set(record_ids(settings, key))
    key = start(settings, scope=WINDOW, again=True)
    results = [harvest_window(batch, settings=settings) for batch in plan_harvest(key, settings=settings)]
    assert set(record_ids(settings, key)) == before  # the manifest still lists the parts of the attempt before
    assert results
    report = harvest(settings, key)
    assert report["counts"]["inputs"] == RECORDS and set(record_ids(settings, key)) == before


def test_a_window_listed_before_its_end_does_not_count_as_done(settings, platform):
    far = datetime.now(UTC) + timedelta(days=2)
    open_ended = Scope("window", start=DAY, end=far.replace(hour=0, minute=0, second=0, microsecond=0))
    key = start(settings, scope=open_ended, window_hours=24 * 400)
    assert harvest(settings, key)["counts"]["inputs"] == RECORDS
    asked = requests_counted(platform)
    harvest(settings, start(settings, scope=open_ended, window_hours=24 * 400))
    assert requests_counted(platform) > asked


def test_a_limit_of_requests_stops_cleanly_and_the_next_start_goes_on_where_it_stopped(settings, platform):
    key = start(settings, scope=WINDOW, max_requests=5)
    report = harvest(settings, key)
    assert (report["harvest"]["state"], requests_counted(platform)) == ("partial", 5)
    assert "max_requests (5)" in report["harvest"]["why"]
    assert report["harvest"]["promised"] == RECORDS
    assert [(row.state, row.counts["inputs"]) for row in rows(settings, key)] == [("partial", 500)]
    assert len(record_ids(settings, key)) == 500  # what there is can be read
    harvest(settings, start(settings, scope=WINDOW, max_requests=5))
    report = harvest(settings, start(settings, scope=WINDOW))
    assert report["harvest"]["state"] == "complete"
    assert requests_counted(platform) <= -(-RECORDS // 100) + 2  # no page was fetched twice
    found = record_ids(settings, key)
    assert set(found) == true_ids(platform) and max(found.values()) == 1
    assert report["counts"]["extra"]["duplicate_ids"] == 0


def test_another_run_goes_on_with_a_window_that_a_limit_left_partial(settings, platform):
    first = start(settings, scope=WINDOW, max_requests=5)
    harvest(settings, first)
    second = start(settings, run_id="second", scope=WINDOW)
    report = harvest(settings, second)
    assert report["harvest"]["state"] == "complete"
    asked = requests_counted(platform)
    assert asked <= -(-RECORDS // 100) + 2  # no page was fetched twice
    third = start(settings, run_id="third", scope=WINDOW)
    harvest(settings, third)
    assert requests_counted(platform) == asked
    assert len(record_ids(settings, first)) == 500  # what the first run has published stays what it was
    for key in (second, third):
        found = record_ids(settings, key)
        assert set(found) == true_ids(platform) and max(found.values()) == 1


@pytest.mark.parametrize("limit", [1, 250, 700])
def test_a_limit_of_records_is_kept_to_the_record_and_nothing_is_lost_in_between(settings, platform, limit):
    key = start(settings, max_records=limit)
    report = harvest(settings, key)
    assert report["counts"]["inputs"] == limit and report["harvest"]["state"] == "partial"
    report = harvest(settings, start(settings, max_records=limit))
    assert report["counts"]["inputs"] == min(RECORDS, 2 * limit)
    report = harvest(settings, start(settings))
    found = record_ids(settings, key)
    assert set(found) == true_ids(platform) and max(found.values()) == 1
    assert report["counts"]["extra"]["duplicate_ids"] == 0


def test_max_hours_ends_a_run_that_would_wait_for_the_quota_and_the_quota_is_never_overrun(tmp_path):
    with serve_archive(tmp_path, RECORDS, quota=7, quota_window_s=3600) as platform:
        platform.faults(COUNTER)
        settings = settings_for(platform, tmp_path / "var")
        key = start(settings, max_hours=0.001)
        report = harvest(settings, key)
        assert report["harvest"]["state"] == "partial" and "max_hours" in report["harvest"]["why"]
        assert requests_counted(platform) <= 7
        assert len(record_ids(settings, key)) == 100 * requests_counted(platform)


def test_a_quota_that_is_used_up_is_waited_for_and_the_harvest_is_whole(tmp_path):
    with serve_archive(tmp_path, RECORDS, quota=6, quota_window_s=2) as platform:
        settings = settings_for(platform, tmp_path / "var")
        key = start(settings)
        assert harvest(settings, key)["harvest"]["state"] == "complete"
        assert set(record_ids(settings, key)) == true_ids_slowly(settings, key)


def true_ids_slowly(settings: Settings, key: str) -> set[str]:
    """The computed archive's ids: the quota leaves no room to ask for them."""
    return {f"/10000/V{number:08d}" for number in range(RECORDS)}


def test_a_window_with_too_many_hits_is_halved_until_the_halves_fit(settings, platform):
    key = start(settings, scope=WINDOW, window_hits=400)
    report = harvest(settings, key)
    assert report["harvest"]["state"] == "complete" and report["counts"]["inputs"] == RECORDS
    found = record_ids(settings, key)
    assert set(found) == true_ids(platform) and max(found.values()) == 1
    known = rows(settings, key)
    assert len(known) >= 5 and {row.state for row in known} == {"success"}
    whole = next(row for row in known if row.end - row.start == timedelta(days=1))
    assert len(whole.counts["split"]) == 2
    assert all(row.counts["promised"] <= 400 for row in known if "split" not in row.counts)
    asked = requests_counted(platform)
    harvest(settings, start(settings, scope=WINDOW, window_hits=400))
    assert requests_counted(platform) == asked


def test_a_halved_window_that_a_limit_stopped_goes_on_with_the_half_it_was_in(settings, platform):
    key = start(settings, scope=WINDOW, window_hits=400, max_requests=9)
    assert harvest(settings, key)["harvest"]["state"] == "partial"
    report = harvest(settings, start(settings, scope=WINDOW, window_hits=400))
    assert report["harvest"]["state"] == "complete"
    found = record_ids(settings, key)
    assert set(found) == true_ids(platform) and max(found.values()) == 1
    assert report["counts"]["inputs"] == RECORDS


def test_records_that_have_gone_from_a_listing_become_rows_once_the_record_api_confirms_it(settings, platform):
    harvest(settings, start(settings))
    lost = sorted(true_ids(platform))[3:9]
    platform.faults(COUNTER, {"route": "/", "fault": "tombstone", "ids": lost})
    key = start(settings, run_id="later")
    report = harvest(settings, key)
    assert report["harvest"]["state"] == "complete"
    assert [row["record_id"] for row in outcome_rows(settings, key) if row["reason"] == "gone"] == lost
    assert {row["outcome"] for row in outcome_rows(settings, key) if row["reason"] == "gone"} == {"gone"}
    assert report["counts"]["reasons"]["gone"] == len(lost)
    assert report["counts"]["inputs"] == RECORDS
    assert not set(lost) & set(record_ids(settings, key))


def test_old_windows_are_listed_again_at_the_ages_of_the_source_and_what_has_gone_is_found(settings, platform):
    rules = {"revisit_days": (7, 30), "revisit_windows": 5}
    harvest(settings, start(settings, run_id="night-1", scope=WINDOW, **rules))
    _listed_at(settings, "night-1", NEXT_DAY + timedelta(hours=1))
    lost = sorted(true_ids(platform))[:2]
    platform.faults(COUNTER, {"route": "/", "fault": "tombstone", "ids": lost})

    def night(day: int) -> str:
        begin = DAY + timedelta(days=day)
        scope = Scope("window", start=begin, end=begin + timedelta(days=1))
        return start(settings, run_id=f"night-{day + 1}", scope=scope, created_at=begin + timedelta(days=1), **rules)

    assert len(plan_windows(settings, night(3))) == 1  # too young to be listed again
    key = night(8)
    assert plan_windows(settings, key) == [
        "2026-01-01T00:00:00Z/2026-01-02T00:00:00Z",
        "2026-01-09T00:00:00Z/2026-01-10T00:00:00Z",
    ]
    report = harvest(settings, key)
    assert [row["record_id"] for row in outcome_rows(settings, key) if row["reason"] == "gone"] == lost
    assert report["counts"]["inputs"] == RECORDS
    assert len(plan_windows(settings, key)) == 2  # the plan of a run does not change under it


def test_a_nightly_run_takes_up_a_window_that_a_limit_left_behind(settings, platform):
    first = start(settings, run_id="night-1", scope=WINDOW, max_requests=5)
    harvest(settings, first)
    following = Scope("window", start=NEXT_DAY, end=NEXT_DAY + timedelta(days=1))
    second = start(settings, run_id="night-2", scope=following, created_at=NEXT_DAY + timedelta(days=1))
    assert harvest(settings, second)["harvest"]["state"] == "complete"
    assert set(record_ids(settings, second)) == true_ids(platform)  # the old window as a whole, the new one is empty


def test_a_record_of_two_concepts_or_of_two_windows_stands_in_the_run_once(settings, platform, monkeypatch):
    """The archive has no concepts: two concept queries are told to find overlapping halves of it."""
    from pipeline.clients.europeana import Query
    from pipeline.domain.scope import ConceptQuery
    from pipeline.harvest.slices import Slice

    uris = ["http://data.europeana.eu/concept/47", "http://data.europeana.eu/concept/48"]
    halves = {uris[0]: "YEAR:* OR *:*", uris[1]: "europeana_id:\\/10000\\/V000000*"}
    monkeypatch.setattr(Slice, "query", lambda self, run: Query(halves[self.concept.all_of[0]]))
    selection = Selection("concept", "both", concepts=tuple(ConceptQuery((uri,)) for uri in uris))
    key = start(settings, selection=selection)
    report = harvest(settings, key)
    found = record_ids(settings, key)
    assert set(found) == true_ids(platform) and max(found.values()) == 1
    assert report["counts"]["extra"]["repeated_across_windows"] == 100
    assert report["counts"]["inputs"] == RECORDS == report["counts"]["reasons"]["no_image"]
    assert len(outcome_rows(settings, key)) == RECORDS  # none of them has an image: a row each, once


def test_a_cap_takes_so_many_of_a_concept_drawn_over_the_whole_listing(settings, platform, monkeypatch):
    from pipeline.clients.europeana import Query
    from pipeline.domain.scope import ConceptQuery
    from pipeline.harvest.slices import Slice

    monkeypatch.setattr(Slice, "query", lambda self, run: Query("*:*"))
    uri = "http://data.europeana.eu/concept/47"
    key = start(settings, selection=Selection("concept", uri, concepts=(ConceptQuery((uri,), cap=150),)))
    report = harvest(settings, key)
    assert (report["counts"]["inputs"], report["harvest"]["state"]) == (150, "complete")
    numbers = sorted(int(record_id[-8:]) for record_id in record_ids(settings, key))
    assert numbers[0] < RECORDS / 4 and numbers[-1] > 3 * RECORDS / 4  # not the first 150 by id


def test_again_with_a_limit_takes_nothing_from_readers_and_comes_to_its_end(settings, platform):
    harvest(settings, start(settings))
    key = start(settings, again=True, max_records=250)
    report = harvest(settings, key)
    assert report["harvest"]["state"] == "partial"
    assert set(record_ids(settings, key)) == true_ids(platform) and report["counts"]["inputs"] == RECORDS
    asked = requests_counted(platform)
    report = harvest(settings, start(settings, again=True))  # the same wish once more: it goes on
    assert report["harvest"]["state"] == "complete" and requests_counted(platform) - asked <= 13
    found = record_ids(settings, key)
    assert set(found) == true_ids(platform) and max(found.values()) == 1


def test_a_run_that_failed_before_it_could_publish_leaves_no_hole_for_the_next_one(settings, platform):
    """The first of two windows was done, the second failed, nothing was published; another run asks for both."""
    both = Scope("window", start=DAY, end=NEXT_DAY)
    key = start(settings, scope=both, window_hours=12)
    first, _ = plan_harvest(key, settings=settings)
    harvest_window(first, settings=settings)
    other = start(settings, run_id="other", scope=both, window_hours=12)
    report = harvest(settings, other)
    assert set(record_ids(settings, other)) == true_ids(platform)
    assert (report["harvest"]["state"], report["counts"]["inputs"]) == ("complete", RECORDS)


def test_the_same_name_for_another_scope_is_another_plan(settings, platform):
    harvest(settings, start(settings, scope=Scope("ids", ids=("/10000/V00000001",))))
    key = start(settings, scope=Scope("ids", ids=("/10000/V00000001", "/10000/V00000002")))
    assert harvest(settings, key)["counts"]["inputs"] == 2


def test_other_rules_under_the_same_name_leave_each_other_alone(settings, platform):
    everything = harvest(settings, start(settings, scope=WINDOW))
    open_only = harvest(settings, start(settings, scope=WINDOW, rights=("open",)))
    assert open_only["datasets"]["records"] == 0
    again = harvest(settings, start(settings, scope=WINDOW))
    assert again["datasets"] == everything["datasets"]
    assert set(record_ids(settings, "runs/run=run/run.json")) == true_ids(platform)


def plan_windows(settings: Settings, key: str) -> list[str]:
    lake = open_lake(settings)
    batches = [Batch.from_bytes(lake.store.get_bytes(batch)) for batch in plan_harvest(key, settings=settings)]
    return [item["name"] for batch in batches for item in batch.items]


def _listed_at(settings: Settings, run_id: str, when: datetime) -> None:
    """Turn the clock of what has been done back."""
    from sqlalchemy import update

    from pipeline.database.tables import harvest_windows

    with connect(settings).begin() as connection:
        values = {"finished_at": when, "updated_at": when}
        connection.execute(update(harvest_windows).where(harvest_windows.c.run_id == run_id).values(values))
