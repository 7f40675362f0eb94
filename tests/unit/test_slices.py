"""Slices of a harvest: aligned windows, concepts, lists of ids, and what old windows are due once more."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.database.windows import Window
from pipeline.datasets.run import Run
from pipeline.domain.harvest_rules import HarvestRules
from pipeline.domain.scope import ConceptQuery, Scope, Selection
from pipeline.errors import CriticalError
from pipeline.harvest.decide import Step, next_step
from pipeline.harvest.slices import (
    CHARACTERS_PER_QUERY,
    IDS_PER_QUERY,
    Slice,
    aligned_windows,
    any_of,
    concept_name,
    due_again,
    id_groups,
    listing_key,
    slices_of,
)

DAY = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
PAINTING, PHOTOGRAPH = "http://data.europeana.eu/concept/47", "http://data.europeana.eu/concept/48"


def run(selection: Selection | None = None, scope: Scope | None = None, **rules) -> Run:
    chosen = selection or Selection("query", "*:*", ("TYPE:IMAGE",))
    return Run("r", "source", chosen, scope or Scope("full"), DAY, HarvestRules(**rules))


def window(start: datetime, hours: int = 24, state: str = "success", listed: datetime | None = None) -> Window:
    end = start + hours * HOUR
    name = f"{start:%Y-%m-%dT%H:%M:%SZ}/{end:%Y-%m-%dT%H:%M:%SZ}"
    found = Window("listing", name, "r", "source", start, end, 1, state=state)
    found.finished_at = found.updated_at = listed or end
    return found


@given(
    st.integers(0, 10_000),
    st.integers(1, 20_000),
    st.sampled_from([1, 6, 12, 24, 168]),
)
def test_windows_cover_their_span_without_gap_or_overlap_and_have_fixed_borders(offset, minutes, hours):
    start = DAY + timedelta(minutes=offset)
    end = start + timedelta(minutes=minutes)
    found = list(aligned_windows(start, end, hours=hours))
    assert (found[0].start, found[-1].end) == (start, end)
    assert all(one.end == two.start for one, two in zip(found, found[1:], strict=False))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert all((one.end - epoch) % (hours * HOUR) == timedelta(0) for one in found[:-1])


def test_the_same_hour_lies_in_the_same_window_whatever_the_run_asks_for():
    names = [one.name for one in aligned_windows(DAY, DAY + 48 * HOUR, hours=6)]
    assert [one.name for one in aligned_windows(DAY + 6 * HOUR, DAY + 18 * HOUR, hours=6)] == names[1:3]


def test_a_window_is_a_half_open_filter_and_never_part_of_the_query():
    (first, *_) = slices_of(run(scope=Scope("window", start=DAY, end=DAY + 24 * HOUR)), 0)
    asked = first.query(run())
    assert asked.query == "*:*"
    assert asked.filters == ("TYPE:IMAGE", "timestamp_update:[2026-01-01T00:00:00Z TO 2026-01-02T00:00:00Z}")


def test_concepts_that_must_all_hold_stand_in_the_query_for_filters_of_one_field_are_alternatives():
    old = PHOTOGRAPH.replace("/concept/", "/concept/base/")
    selection = Selection("concept", f"{PAINTING} {old}", ("TYPE:IMAGE",))
    (only,) = slices_of(run(selection), 0)
    asked = only.query(run(selection))
    assert asked.query == f'skos_concept:"{PAINTING}" AND skos_concept:"{PHOTOGRAPH}"'
    assert asked.filters == ("TYPE:IMAGE",)


def test_each_concept_query_is_a_slice_and_a_capped_one_is_drawn_at_random_the_same_way_each_time():
    concepts = (ConceptQuery((PAINTING,), 100), ConceptQuery((PAINTING, PHOTOGRAPH)))
    first, second = slices_of(run(Selection("concept", "two", concepts=concepts)), 0)
    assert first.sort.startswith("random_") and first.sort.endswith(",europeana_id asc")
    assert second.sort == "europeana_id asc"
    assert first.sort == next(slices_of(run(Selection("concept", "two", concepts=concepts)), 0)).sort
    assert (first.cap, second.cap, first.halves()) == (100, None, None)


@pytest.mark.parametrize("service", ["with", "folder"])
def test_services_without_a_time_of_change_are_listed_whole(service):
    scope = Scope("window", start=DAY, end=DAY + 24 * HOUR)
    assert [one.name for one in slices_of(run(Selection("folder", "/x"), scope, service=service), 0)] == ["full"]


def test_a_harvest_has_no_list_of_what_is_pending():
    with pytest.raises(CriticalError, match="pending"):
        list(slices_of(run(scope=Scope("pending")), 0))


def test_many_ids_are_cut_into_slices_that_airflow_can_map():
    found = list(slices_of(run(scope=Scope("ids", ids_sha256="ab" * 32)), 1_234_567))
    assert len(found) <= 500
    assert [one.ids[0] for one in found[1:]] == [one.ids[1] for one in found[:-1]]
    assert (found[0].ids[0], found[-1].ids[1]) == (0, 1_234_567)


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=400), max_size=200))
def test_groups_of_ids_keep_all_of_them_in_order_and_fit_into_a_request(ids):
    groups = list(id_groups(ids))
    assert [one for group in groups for one in group] == ids
    assert all(0 < len(group) <= IDS_PER_QUERY for group in groups)
    assert all(len(group) == 1 or sum(map(len, group)) <= CHARACTERS_PER_QUERY for group in groups)


def test_quotes_and_backslashes_of_ids_are_escaped():
    assert any_of(['/1/a"b', "/1/c\\d"]) == 'europeana_id:("/1/a\\"b" OR "/1/c\\\\d")'


def test_halves_are_whole_seconds_and_end_with_the_shortest_window():
    whole = Slice("x", DAY, DAY + timedelta(seconds=7))
    first, second = whole.halves()
    assert (first.start, first.end, second.end) == (DAY, DAY + timedelta(seconds=3), whole.end)
    assert first.name == "2026-01-01T00:00:00Z/2026-01-01T00:00:03Z"
    assert first.halves() is None
    assert Slice("full").halves() is None


def test_a_slice_survives_being_written_down():
    concept = ConceptQuery((PAINTING, PHOTOGRAPH), 5)
    for one in (Slice("a", DAY, DAY + HOUR, again=True), Slice("b", concept=concept), Slice("c", ids=(3, 9)), Slice("full")):
        assert Slice.from_json(one.to_json()) == one


def test_a_window_is_due_at_each_age_once_and_then_never_again():
    night, first = run(revisit_days=(7, 30)), DAY + 24 * HOUR
    assert due_again(night, [window(DAY)], now=first + timedelta(days=6)) == []
    (due,) = due_again(night, [window(DAY)], now=first + timedelta(days=8))
    assert due.again and due.start == DAY
    listed = first + timedelta(days=8)
    assert due_again(night, [window(DAY, listed=listed)], now=first + timedelta(days=29)) == []
    assert len(due_again(night, [window(DAY, listed=listed)], now=first + timedelta(days=31))) == 1
    assert due_again(night, [window(DAY, listed=first + timedelta(days=31))], now=first + timedelta(days=4000)) == []


def test_unfinished_windows_come_first_then_those_that_have_waited_longest():
    now = DAY + timedelta(days=40)
    known = [window(DAY), window(DAY + 240 * HOUR), window(DAY + 480 * HOUR, state="partial"), window(DAY + 24 * HOUR)]
    assert [(one.start - DAY).days for one in due_again(run(revisit_days=(7,)), known, now=now)] == [20, 0, 1, 10]


def test_a_window_that_somebody_works_at_and_the_halves_of_another_are_left_alone():
    now = DAY + timedelta(days=10)
    busy = window(DAY, state="running", listed=now - HOUR)
    died = window(DAY + 24 * HOUR, state="running", listed=now - 20 * HOUR)
    half = window(DAY + 48 * HOUR, hours=12, state="partial")
    whole = window(DAY + 48 * HOUR, state="partial")
    assert [one.name for one in due_again(run(), [busy, died, half, whole], now=now)] == [died.name, whole.name]


def test_another_platform_lake_source_or_way_of_asking_is_another_listing():
    keys = {
        listing_key(run(), "https://a", "file:///x"),
        listing_key(run(), "https://b", "file:///x"),
        listing_key(run(), "https://a", "file:///y"),
        listing_key(run(Selection("query", "x")), "https://a", "file:///x"),
        listing_key(run(images="all"), "https://a", "file:///x"),
    }
    assert len(keys) == 5
    assert listing_key(run(window_hits=5), "https://a", "file:///x") in keys  # limits change no listing


def test_an_unfinished_second_listing_stays_one_and_a_window_listed_before_its_end_is_due_at_once():
    again = window(DAY, state="failed")
    again.previous = {"pieces": [], "counts": {}}
    early = window(DAY + 24 * HOUR, listed=DAY + 30 * HOUR)
    now = DAY + 72 * HOUR
    assert [(one.name, one.again) for one in due_again(run(), [again, early], now=now)] == [
        (again.name, True),
        (early.name, True),
    ]


def test_windows_of_concepts_are_due_too_as_long_as_the_source_has_the_concept():
    concept = ConceptQuery((PAINTING,))
    found = window(DAY, state="partial")
    found.name = f"{concept_name(concept)} {found.name}"
    (due,) = due_again(run(Selection("concept", PAINTING)), [found], now=DAY + 72 * HOUR)
    assert (due.concept, due.name) == (concept, found.name)
    assert due_again(run(), [found], now=DAY + 72 * HOUR) == []


def test_a_filter_that_would_widen_a_window_is_refused():
    selection = Selection("query", "*:*", ("timestamp_update:[* TO NOW]",))
    asked = run(selection, Scope("window", start=DAY, end=DAY + HOUR))
    with pytest.raises(CriticalError, match="would widen the window"):
        next(slices_of(asked, 0)).query(asked)


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        ("pending", None, Step.ANEW),
        ("pending", "success", Step.ADOPT),
        ("pending", "partial", Step.TAKE_OVER),
        ("running", None, Step.GO_ON),
        ("failed", "partial", Step.GO_ON),
        ("partial", "success", Step.ADOPT),
        ("success", "success", Step.NOTHING),
    ],
)
def test_what_is_done_is_not_done_again_and_what_was_begun_goes_on(own, other, expected):
    mine, others = window(DAY, state=own), [window(DAY, state=other)] if other else []
    slice_ = Slice(mine.name, mine.start, mine.end)
    assert next_step(slice_, mine, others, run(), now=DAY) == expected


def test_what_is_asked_for_again_or_came_short_or_was_listed_too_early_is_begun_anew():
    done = window(DAY)
    slice_ = Slice(done.name, done.start, done.end)
    again = replace(run(), again=True, attempt=2)
    assert next_step(slice_, done, [window(DAY)], again, now=DAY) == Step.ANEW
    assert next_step(replace(slice_, again=True), window(DAY, state="pending"), [window(DAY)], run(), now=DAY) == Step.ANEW
    short = window(DAY)
    short.counts = {"extra": {"missing": 3}}
    assert next_step(slice_, short, [], run(), now=DAY) == Step.ANEW
    assert next_step(slice_, window(DAY, listed=DAY + HOUR), [], run(), now=DAY) == Step.ANEW


def test_what_a_limit_left_of_a_whole_listing_is_taken_over_for_a_week():
    left = window(DAY, state="partial")
    left.end = left.start = None
    pending = replace(left, state="pending")
    assert next_step(Slice("full"), pending, [left], run(), now=DAY + timedelta(days=6)) == Step.TAKE_OVER
    assert next_step(Slice("full"), pending, [left], run(), now=DAY + timedelta(days=9)) == Step.ANEW
