"""What a run harvests, cut into slices: aligned windows of time, concepts, groups of ids, or everything at once.

A slice is the unit of state: it is done, or goes on where it stopped. Their names do not depend on the run, so that
another run knows what has been done.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.clients.europeana import BY_ID, Query
from pipeline.database.windows import Window, WindowState
from pipeline.datasets.run import Run
from pipeline.domain.scope import ConceptQuery
from pipeline.errors import CriticalError

IDS_PER_QUERY = 50
CHARACTERS_PER_QUERY = 3_500  # of ids in one request; encoded they stay below what servers take as an address
SHORTEST_WINDOW = timedelta(seconds=2)
_ISO = "%Y-%m-%dT%H:%M:%SZ"
# What a half-day's records are found under changes with these: another listing, another state.
_RULES_OF_LISTING = ("service", "images", "technical", "rights")


@dataclass(frozen=True)
class Slice:
    """`start` and `end` bound a window of time; `concept` is one concept query; `ids` are (first, last) in the run's list.

    `again`: harvest it although it is done, to find what has changed or gone.
    """

    name: str
    start: datetime | None = None
    end: datetime | None = None
    concept: ConceptQuery | None = None
    ids: tuple[int, int] | None = None
    again: bool = False

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        times = {name: value.isoformat() if value else None for name, value in (("start", self.start), ("end", self.end))}
        return asdict(self) | times

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Slice":
        """Read back what `to_json` wrote."""
        start, end = (datetime.fromisoformat(value[name]) if value[name] else None for name in ("start", "end"))
        concept = value["concept"]
        return cls(
            value["name"],
            start,
            end,
            ConceptQuery(tuple(concept["all_of"]), concept["cap"]) if concept else None,
            tuple(value["ids"]) if value["ids"] else None,
            value["again"],
        )

    @property
    def is_window(self) -> bool:
        """Is it a window of time, which another run may have done already?"""
        return self.start is not None

    @property
    def cap(self) -> int | None:
        """At most so many records."""
        return self.concept.cap if self.concept else None

    @property
    def sort(self) -> str:
        """By id; a capped one at random, the same way each time, or it would hold the lowest dataset numbers only."""
        seed = int(hashlib.sha256(self.name.encode()).hexdigest()[:4], 16)
        return f"random_{seed},{BY_ID}" if self.cap else BY_ID

    def query(self, run: Run) -> Query:
        """What is asked of the Search API."""
        selection = run.selection
        filters = list(selection.filters)
        if self.start and any(one.startswith("timestamp_update:") for one in filters):
            raise CriticalError("a filter on timestamp_update would widen the window: the server takes either of two (§1.5)")
        if self.concept:
            query = " AND ".join(f"skos_concept:{quoted(current_uri(uri))}" for uri in self.concept.all_of)
        elif selection.kind == "dataset":
            query = f"europeana_id:\\/{selection.value}\\/*"
        elif selection.kind == "query":
            query = selection.value
        else:
            raise CriticalError(f"selection kind {selection.kind} cannot be harvested from Europeana's search")
        if self.start and self.end:
            # Half-open: allowed in qf, not in query; and one range, for two filters of a field are alternatives (§1.5).
            filters.append(f"timestamp_update:[{self.start.strftime(_ISO)} TO {self.end.strftime(_ISO)}}}")
        return Query(query, tuple(filters), selection.reusability)

    def halves(self) -> "tuple[Slice, Slice] | None":
        """The window's two halves, whole seconds each; None for what is no window or too short."""
        if not (self.start and self.end) or self.end - self.start < 2 * SHORTEST_WINDOW:
            return None
        middle = self.start + timedelta(seconds=math.floor((self.end - self.start).total_seconds() / 2))
        return self._from_to(self.start, middle), self._from_to(middle, self.end)

    def _from_to(self, start: datetime, end: datetime) -> "Slice":
        prefix = f"{self.name.partition(' ')[0]} " if self.concept else ""
        return replace(self, name=prefix + window_name(start, end), start=start, end=end)


def slices_of(run: Run, ids_count: int) -> Iterator[Slice]:
    """The slices of a run's scope, in order. `ids_count`: how long its list of ids is."""
    scope = run.scope
    if scope.mode == "ids":
        digest = scope.ids_sha256 or hashlib.sha256("\n".join(scope.ids).encode()).hexdigest()
        size = max(IDS_PER_QUERY * 20, -(-ids_count // 500))
        for at in range(0, ids_count, size):
            yield Slice(f"ids-{digest[:12]}-{at}", ids=(at, min(at + size, ids_count)))
    elif scope.mode == "pending":
        raise CriticalError("a harvest has no list of what is pending; its scope is a window, ids or full")
    elif run.selection.kind == "concept":
        for concept in run.selection.concepts:
            if scope.mode == "window":
                start, end = _bounds(run)
                yield Slice(f"{concept_name(concept)} {window_name(start, end)}", start, end, concept)
            else:
                yield Slice(concept_name(concept), concept=concept)
    elif scope.mode == "full" or run.rules.service != "europeana":
        yield Slice("full")  # WITH and folders know no time of change: a night lists them whole
    else:
        yield from aligned_windows(*_bounds(run), hours=run.rules.window_hours)


def aligned_windows(start: datetime, end: datetime, *, hours: int) -> Iterator[Slice]:
    """Windows whose borders are whole multiples of their width since 1970, cut at `start` and `end`.

    The same hour is always in the same window, whatever a run asks for, as long as it asks for whole ones.
    """
    width = timedelta(hours=hours)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    at = start.astimezone(UTC)
    end = end.astimezone(UTC)
    while at < end:
        border = epoch + ((at - epoch) // width + 1) * width
        upto = min(border, end)
        yield Slice(window_name(at, upto), at, upto)
        at = upto


def concept_name(concept: ConceptQuery) -> str:
    """A short name that follows from URIs and cap."""
    return f"concept-{hashlib.sha256(json.dumps(asdict(concept)).encode()).hexdigest()[:12]}"


def window_name(start: datetime, end: datetime) -> str:
    """`2026-01-01T00:00:00Z/2026-01-02T00:00:00Z`: an ISO 8601 interval."""
    return f"{start.strftime(_ISO)}/{end.strftime(_ISO)}"


def due_again(run: Run, known: Iterable[Window], *, now: datetime) -> list[Slice]:
    """Finished windows that are old enough to be listed once more, and unfinished ones; the longest due first.

    A window is due when one of the source's ages has passed since it was last listed: with 7, 30, 90 it is listed in its
    second week, its second month, its fourth, and never again. At its end it is due, too: one that was listed before
    lacks what changed since.
    """
    concepts = {concept_name(concept): concept for concept in run.selection.concepts}
    due: list[tuple[float, Slice]] = []
    for window, start, end in _outermost(known):
        concept = concepts.get(window.name.partition(" ")[0])
        if window.name.startswith("concept-") and concept is None:
            continue
        if window.state == WindowState.SUCCESS:
            listed = window.finished_at or now
            ages = [end + timedelta(days=age) for age in (0, *run.rules.revisit_days)]
            if passed := [age for age in ages if listed < age <= now]:
                due.append(((now - passed[0]).total_seconds(), Slice(window.name, start, end, concept, again=True)))
        elif not _is_at_work(window, now):
            due.append((math.inf, Slice(window.name, start, end, concept, again=bool(window.previous))))
    return [slice_ for _, slice_ in sorted(due, key=lambda pair: (-pair[0], pair[1].name))]


def _outermost(known: Iterable[Window]) -> Iterator[tuple[Window, datetime, datetime]]:
    """Windows of time that are no half of another one, with their borders."""
    reached: dict[str, datetime] = {}
    timed = [(one, one.start, one.end) for one in known if one.start and one.end]
    for window, start, end in sorted(timed, key=lambda found: (found[1], -found[2].timestamp())):
        concept = window.name.rpartition(" ")[0]
        if concept not in reached or end > reached[concept]:
            reached[concept] = end
            yield window, start, end


def _is_at_work(window: Window, now: datetime) -> bool:
    """Has somebody checked in lately, so that it is not for us to take over?"""
    waiting = window.state in (WindowState.RUNNING, WindowState.PENDING)
    return waiting and window.updated_at is not None and now - window.updated_at < timedelta(hours=6)


def listing_key(run: Run, platform: str, lake_root: str) -> str:
    """What windows are windows of: the same source and selection, at the same platform, in the same lake."""
    rules = asdict(run.rules)
    parts = [
        platform,
        lake_root,
        run.source,
        asdict(run.selection),
        {name: rules[name] for name in _RULES_OF_LISTING},
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def id_groups(ids: Iterable[str]) -> Iterator[list[str]]:
    """Ids in groups that fit into one request."""
    group: list[str] = []
    characters = 0
    for record_id in ids:
        if group and (len(group) == IDS_PER_QUERY or characters + len(record_id) > CHARACTERS_PER_QUERY):
            yield group
            group, characters = [], 0
        group.append(record_id)
        characters += len(record_id)
    if group:
        yield group


def any_of(ids: Iterable[str]) -> str:
    """A query for some records by id."""
    return f"europeana_id:({' OR '.join(map(quoted, ids))})"


def quoted(text: str) -> str:
    """A text as a phrase of the query language: inside quotes only the quote and the backslash count (§1.5)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def current_uri(uri: str) -> str:
    """Concept URIs of Europeana were shortened; the old form finds nothing any more (§1.5)."""
    return uri.replace("https://data.europeana.eu/", "http://data.europeana.eu/").replace("/concept/base/", "/concept/")


def _bounds(run: Run) -> tuple[datetime, datetime]:
    if run.scope.start is None or run.scope.end is None:
        raise CriticalError("a window scope without start and end")
    return run.scope.start.astimezone(UTC), run.scope.end.astimezone(UTC)
