"""One slice, from a listing that misbehaves: short walks, lost cursors, doubled ids, caps, budgets."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from pipeline.clients.europeana import Page, UnusableCursorError
from pipeline.clients.metering import Metering
from pipeline.database import connect, windows
from pipeline.database.run_budget import RunBudget
from pipeline.database.tables import harvest_windows
from pipeline.datasets.lake import open_lake
from pipeline.datasets.run import Run
from pipeline.domain.harvest_rules import HarvestRules, Limits
from pipeline.domain.outcome import Outcome, OutcomeRow, Reason
from pipeline.domain.scope import ConceptQuery, Scope, Selection
from pipeline.errors import TransientError
from pipeline.harvest.parse import parse_item
from pipeline.harvest.parse_record import gone
from pipeline.harvest.slices import Slice
from pipeline.harvest.window import WindowHarvest, parts_of
from pipeline.reporting.progress import Progress
from pipeline.settings import Settings

NOW = datetime(2026, 1, 2, tzinfo=UTC)
FULL = Slice("full")


def items(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": f"/1/r{number:03d}", "edmIsShownBy": [f"http://x.org/{number}.jpg"]} for number in numbers]


class Scripted:
    """Pages by walk; a page may be an error. `totals` are what it answers when it is asked again."""

    def __init__(self, *walks: list[Any], total: int, totals: Iterable[int] = ()) -> None:
        self.walks, self.promised, self.totals = list(walks), total, list(totals)
        self.asked: list[str | None] = []
        self.looked_for: list[str] = []
        self.lost: dict[str, list[Any]] = {}

    def pages(self, cursor: str | None, walk: int) -> Iterator[Page]:
        self.asked.append(cursor)
        script = self.walks[min(walk, len(self.walks)) - 1]
        for number in range(int(cursor or 0), len(script)):
            page = script[number]
            if isinstance(page, Exception):
                script[number] = []
                raise page
            yield Page(page, self.promised, str(number + 1), str(number))

    def read(self, item: Any) -> Any:
        return item if isinstance(item, OutcomeRow) else parse_item(item)

    def details(self, results: Sequence[Any]) -> Iterator[list[Any]]:
        yield from ([result] for result in results)

    def total(self) -> int | None:
        return self.totals.pop(0) if self.totals else self.promised

    def still_there(self, record_ids: Sequence[str]) -> Iterator[list[Any]]:
        for record_id in record_ids:
            self.looked_for.append(record_id)
            yield self.lost.get(record_id, [])


@pytest.fixture
def work(tmp_path):
    """Harvest a slice of a scripted listing; returns the window and the ids in the lake."""
    settings = Settings(_env_file=None, var_dir=tmp_path)

    def harvest(listing: Scripted, slice_: Slice = FULL, *, run_id: str = "r", starts: int = 1, **said: Any):
        pages_per_part, again, attempt = said.pop("pages_per_part", 2), said.pop("again", False), said.pop("attempt", 1)
        selection, rules = Selection("query", "*:*"), HarvestRules(**said)
        run = Run(run_id, "s", selection, Scope("full"), NOW, rules, starts=starts, attempt=attempt, again=again)
        lake, engine = open_lake(settings), connect(settings)
        with Progress("harvest", "records", settings=settings) as progress:
            harvester = WindowHarvest(
                lake=lake,
                run=run,
                number=0,
                engine=engine,
                listing_key="listing",
                mark="mark",
                open_listing=lambda _: listing,
                metering=Metering(),
                budget=RunBudget(engine, f"{run_id}|{starts}", run.rules.limits),
                progress=progress,
                pages_per_part=pages_per_part,
            )
            window = harvester.harvest(slice_)
        ids = [
            row["record_id"]
            for piece in window.pieces
            if piece["dataset"] == "records"
            for batch in lake.part_rows(piece["key"], ["record_id"])
            for row in batch.to_pylist()
        ]
        return window, ids

    harvest.settings = settings
    return harvest


def extra(window: windows.Window, name: str) -> int:
    return window.counts["extra"].get(name, 0)


def test_a_walk_that_misses_records_is_done_again_and_only_what_is_new_is_taken(work):
    listing = Scripted([items(1, 2), items(5)], [items(1, 2), items(3, 4), items(5)], total=5)
    window, ids = work(listing)
    assert sorted(ids) == [f"/1/r{number:03d}" for number in range(1, 6)]
    assert (window.state, extra(window, "missing"), extra(window, "walks_again")) == ("success", 0, 1)
    assert extra(window, "duplicate_ids") == 0


def test_what_still_does_not_come_is_counted_as_missing(work):
    window, ids = work(Scripted([items(1, 2), items(3)], total=7))
    assert len(ids) == 3
    assert (window.state, extra(window, "missing"), extra(window, "walks_again")) == ("success", 4, 2)


def test_a_total_that_was_wrong_for_a_moment_is_asked_for_once_more_before_anything_is_walked_again(work):
    listing = Scripted([items(1, 2)], total=5, totals=[2])
    window, _ = work(listing)
    assert (extra(window, "missing"), extra(window, "walks_again"), listing.asked) == (0, 0, [None])


def test_ids_that_come_twice_are_dropped_and_counted(work):
    window, ids = work(Scripted([items(1, 2), items(2, 3, 3), items(1)], total=3))
    assert len(ids) == 3
    assert (extra(window, "duplicate_ids"), extra(window, "missing")) == (3, 0)


def test_items_without_an_id_are_told_apart_by_what_they_hold_and_kept(work):
    window, ids = work(Scripted([[{"title": ["a"]}, {"title": ["b"]}, {"title": ["a"]}, *items(1)]], total=3))
    assert ids == ["/1/r001"]
    assert window.counts["reasons"] == {"missing_field": 2}
    assert extra(window, "duplicate_ids") == 1


def test_a_cursor_that_is_not_understood_begins_anew_and_nothing_is_taken_twice(work):
    listing = Scripted([items(1, 2), items(3), UnusableCursorError("400-SC"), items(4)], total=4)
    window, ids = work(listing)
    assert sorted(ids) == [f"/1/r{number:03d}" for number in range(1, 5)]
    assert (window.state, extra(window, "duplicate_ids"), listing.asked) == ("success", 0, [None, None])


def test_a_failure_is_written_down_and_the_next_start_goes_on_at_the_last_checkpoint(work):
    listing = Scripted([items(1), items(2), items(3), TransientError("the server is away"), items(4)], total=4)
    with pytest.raises(TransientError):
        work(listing)
    (window,) = windows.of_source(connect(work.settings), "s")
    assert (window.state, window.cursor, window.counts["inputs"]) == ("failed", "3", 3)
    assert "the server is away" in window.last_error
    window, ids = work(listing, starts=2)
    assert (window.state, window.attempts, listing.asked) == ("success", 2, [None, "3"])
    assert sorted(ids) == ["/1/r001", "/1/r002", "/1/r003", "/1/r004"] and window.counts["inputs"] == 4
    assert window.last_error == ""


def test_a_limit_of_records_cuts_a_page_and_the_rest_of_it_comes_next_time(work):
    listing = Scripted([items(1, 2, 3), items(4, 5)], total=5)
    window, ids = work(listing, limits=Limits(max_records=2))
    assert (window.state, len(ids)) == ("partial", 2) and "max_records (2)" in window.last_error
    window, ids = work(listing, starts=2, limits=Limits(max_records=2))
    assert (window.state, sorted(ids)) == ("partial", [f"/1/r{number:03d}" for number in range(1, 5)])
    window, ids = work(listing, starts=3)
    assert (window.state, len(ids), extra(window, "duplicate_ids")) == ("success", 5, 0)


def test_a_cap_ends_a_slice_well(work):
    capped = Slice("concept-x", concept=ConceptQuery(("http://data.europeana.eu/concept/47",), cap=3))
    window, ids = work(Scripted([items(1, 2), items(3, 4), items(5)], total=5), capped)
    assert (window.state, len(ids), extra(window, "total_results"), extra(window, "missing")) == ("success", 3, 3, 0)


def test_an_empty_listing_is_a_success_and_is_asked_again_by_the_next_run_of_the_same_name(work):
    listing = Scripted([[]], total=0)
    window, ids = work(listing)
    assert (window.state, ids, window.counts["inputs"]) == ("success", [], 0)
    work(listing, starts=2)
    assert listing.asked == [None, None]


def test_records_of_other_rights_than_the_source_takes_are_rows(work):
    window, ids = work(Scripted([items(1, 2)], total=2), rights=("open",))
    assert ids == [] and window.counts["reasons"] == {"rights_restricted": 2}


def test_a_stop_after_the_last_page_does_not_make_a_short_listing_complete(work):
    """The budget ends, or the process is killed, when the cursor stands at the end already."""
    listing = Scripted([items(1, 2), items(5)], [items(1, 2), items(3, 4), items(5)], total=5)
    work(listing, limits=Limits(max_records=3))  # all that the first walk has
    _set(work, state="running", cursor="2")
    window, ids = work(listing, starts=2)
    assert sorted(ids) == [f"/1/r{number:03d}" for number in range(1, 6)]
    assert (window.state, extra(window, "missing"), extra(window, "total_results")) == ("success", 0, 5)


def test_a_kill_in_the_second_walk_goes_on_in_the_second_walk(work):
    listing = Scripted([items(1)], [items(1), TransientError("killed"), items(2)], total=2)
    with pytest.raises(TransientError):
        work(listing, pages_per_part=1)
    window, ids = work(listing, starts=2, pages_per_part=1)
    assert sorted(ids) == ["/1/r001", "/1/r002"] and (window.walk, window.state) == (2, "success")


def test_a_listing_that_came_short_is_asked_again_by_whoever_comes_next(work):
    window, _ = work(Scripted([items(1)], total=3))
    assert extra(window, "missing") == 2
    recovered = Scripted([items(1, 2, 3)], total=3)
    window, ids = work(recovered, starts=2)
    assert len(ids) == 3 and extra(window, "missing") == 0


def test_as_long_as_a_new_listing_is_not_whole_the_one_before_can_be_read(work):
    work(Scripted([items(1, 2, 3, 4)], total=4))
    window, _ = work(Scripted([items(1, 2, 3, 4)], total=4), attempt=2, again=True, limits=Limits(max_records=1))
    assert window.state == "partial"
    parts, counts = parts_of(window)
    assert sum(part.rows for part in parts["records"]) == 4 == counts["inputs"]
    window, ids = work(Scripted([items(1, 2, 3, 4)], total=4), attempt=2, starts=2, again=True)
    parts, counts = parts_of(window)
    assert window.state == "success" and window.previous == {} and len(ids) == 4
    assert sum(part.rows for part in parts["records"]) == 4


def test_another_run_has_the_parts_of_a_window_that_one_run_has_done(work):
    day = Slice("day", NOW - timedelta(days=1), NOW)
    first, _ = work(Scripted([items(1, 2)], total=2), day)
    nobody = Scripted([items(9)], total=1)
    second, ids = work(nobody, day, run_id="other")
    assert nobody.asked == [] and ids == ["/1/r001", "/1/r002"]
    assert (second.state, second.finished_at, second.counts["inputs"]) == ("success", first.finished_at, 2)


def test_another_run_takes_over_what_a_limit_left_of_any_listing_while_it_is_fresh(work):
    listing = Scripted([items(1, 2), items(3), items(4)], total=4)
    work(listing, limits=Limits(max_records=2))
    _, ids = work(listing, run_id="other", limits=Limits(max_records=1))
    assert sorted(ids) == ["/1/r001", "/1/r002", "/1/r003"]
    window, ids = work(listing, run_id="third")
    assert sorted(ids) == [f"/1/r{number:03d}" for number in range(1, 5)] and window.counts["inputs"] == 4


def test_what_has_gone_or_moved_since_the_listing_before_is_told_and_a_moved_record_taken(work):
    work(Scripted([items(1, 2, 3, 4)], total=4))
    listing = Scripted([items(1)], total=1)
    (moved_to,) = items(9)
    listing.lost = {
        "/1/r002": [gone("/1/r002", "404")],
        "/1/r003": [
            parse_item(moved_to),
            OutcomeRow("harvest", "/1/r003", "/1/r003", Outcome.SKIPPED, Reason.MOVED, "the record answers as /1/r009 now"),
        ],
    }
    window, ids = work(listing, run_id="later")
    assert listing.looked_for == ["/1/r002", "/1/r003", "/1/r004"]  # the last one lives, and has left the listing
    assert sorted(ids) == ["/1/r001", "/1/r009"]
    assert window.counts["reasons"] == {"gone": 1, "moved": 1} and extra(window, "missing") == 0


def test_a_process_that_was_overtaken_by_another_one_writes_nothing_down_any_more(work):
    class Overtaken(Scripted):
        def read(self, item: Any) -> Any:
            _set(work, owner="another process")
            return super().read(item)

    with pytest.raises(TransientError, match="another process has taken it over"):
        work(Overtaken([items(1)], total=1))
    (window,) = windows.of_source(connect(work.settings), "s")
    assert (window.owner, window.pieces) == ("another process", [])


def test_a_record_that_comes_under_an_id_met_before_is_taken_once(work):
    class Detailed(Scripted):
        def details(self, results: Sequence[Any]) -> Iterator[list[Any]]:
            for result in results:
                yield [parse_item(items(1)[0])] if result.record_id == "/1/r002" else [result]

    _, ids = work(Detailed([items(1, 2, 3)], total=3))
    assert ids == ["/1/r001", "/1/r003"]


def _set(work, **values: Any) -> None:
    with connect(work.settings).begin() as connection:
        connection.execute(update(harvest_windows).values(**values))
