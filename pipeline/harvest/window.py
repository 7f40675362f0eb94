"""Harvest one slice: page by page, each id once, with a checkpoint every few thousand records.

A checkpoint is a part in the lake and then the row in `harvest_windows`: whatever is killed when, what the row says is
there, and the part that was being written is written again, under the same name.
"""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import Engine

from pipeline.clients.europeana import Page, UnusableCursorError
from pipeline.clients.metering import Metering
from pipeline.database import windows
from pipeline.database.run_budget import RunBudget
from pipeline.database.tombstones import Tombstones
from pipeline.database.windows import Window, WindowState
from pipeline.datasets.lake import Lake, Part
from pipeline.datasets.run import Run
from pipeline.datasets.stage import Counts, groups_of
from pipeline.domain.outcome import Outcome, OutcomeRow, Reason
from pipeline.domain.record import Record
from pipeline.errors import BudgetSpent, EnrichmentError
from pipeline.harvest.decide import Step, next_step
from pipeline.harvest.listings import Listing, Result
from pipeline.harvest.parse import STAGE
from pipeline.harvest.prefetch import prefetched
from pipeline.harvest.rows import OUTCOMES_OF_STAGE, Chunk
from pipeline.harvest.seen import SeenIds
from pipeline.harvest.slices import Slice
from pipeline.reporting.progress import Progress

MOST_WALKS = 3
MOST_RESTARTS = 3
IDS_COMPARED = 1_000
# What a row takes from another run's: how far it has come, and what it has.
_TAKEN = ("cursor", "walk", "pieces", "previous", "counts", "finished_at")

log = structlog.get_logger()


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class WindowHarvest:
    """Harvests slices of one batch of a run. `open_listing` gives a slice's pages; `clock` only dates the state.

    `mark` stands in the names of parts: what else than the run's selection and scope decides about their rows.
    """

    lake: Lake
    run: Run
    number: int
    engine: Engine
    listing_key: str
    mark: str
    open_listing: Callable[[Slice], Listing]
    metering: Metering
    budget: RunBudget
    progress: Progress
    pages_per_part: int
    tombstones: Tombstones = field(default_factory=Tombstones)
    clock: Callable[[], datetime] = _utc_now
    done_before: int = 0  # slices that were done already, by this run or by another
    _owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    _requests_written: int = 0

    def harvest(self, slice_: Slice) -> Window:
        """Bring a slice to its end, or as far as the budget goes (state `partial`); what is done is not done again.

        Raises what the API's or the disk's trouble means; the window is then `failed`, and goes on at its checkpoint.
        """
        window, is_done = self._claim(slice_)
        if is_done:
            self.done_before += 1
            return window
        try:
            if window.counts.get("split") or self._collect(slice_, window):
                self._harvest_halves(slice_, window)
        except BudgetSpent as error:
            log.info("harvest_partial", window=window.name, reason=str(error))
            self._save(window, WindowState.PARTIAL, error=str(error))
        except (EnrichmentError, OSError) as error:
            self._save(window, WindowState.FAILED, error=str(error))
            raise
        return window

    # What is to be done

    def _claim(self, slice_: Slice) -> tuple[Window, bool]:
        """The window's row, and whether nothing is left to do."""
        run = self.run
        blank = Window(self.listing_key, slice_.name, run.run_id, run.source, slice_.start, slice_.end, run.attempt)
        windows.plan(self.engine, [blank], now=self.clock())
        (window,) = windows.of_run(self.engine, self.listing_key, run.run_id, names=[slice_.name])
        others = [
            other
            for other in windows.others(self.engine, self.listing_key, slice_.name, run.run_id)
            if self._stands(other.pieces)
        ]
        usable = window if self._stands(window.pieces) else replace(window, state=WindowState.PENDING)
        step = next_step(slice_, usable, others, run, now=self.clock())
        if step == Step.NOTHING:
            return window, True
        if step in (Step.ADOPT, Step.TAKE_OVER):
            window = replace(window, **{name: getattr(others[0], name) for name in _TAKEN})
        elif step == Step.ANEW:
            before = next((one for one in (window, *others) if one.state == WindowState.SUCCESS), None)
            previous = {"pieces": before.pieces, "counts": before.counts} if before else window.previous
            # Each attempt of a run has part names of its own; within one, each new beginning has.
            generation = window.generation + 1 if window.run_attempt == run.attempt else 1
            window = replace(blank, attempts=window.attempts, generation=generation, previous=self._standing(previous))
        window.run_attempt = run.attempt
        if step == Step.ADOPT:
            window.state, window.last_error = WindowState.SUCCESS, ""
            windows.take(self.engine, window, self._owner, now=self.clock())
            return window, True
        window.attempts += 1
        window.state, window.last_error, window.finished_at = WindowState.RUNNING, "", None
        windows.take(self.engine, window, self._owner, now=self.clock())
        return window, False

    def _stands(self, pieces: list[dict[str, Any]]) -> bool:
        return all(self.lake.store.exists(piece["key"]) for piece in pieces)

    def _standing(self, previous: dict[str, Any]) -> dict[str, Any]:
        """The listing before, unless somebody has removed its parts: then there is none."""
        return previous if previous and self._stands(previous["pieces"]) else {}

    # Doing it

    def _collect(self, slice_: Slice, window: Window) -> bool:
        """Walk the listing until every id is there; True when there are too many and the window must be halved."""
        listing = self.open_listing(slice_)
        restarts = 0
        with SeenIds() as seen:
            seen.add_all(self._ids_of(window.pieces))
            while True:
                try:
                    is_halved = self._walk(slice_, window, listing, seen, counts_duplicates=window.walk == 1 and not restarts)
                except UnusableCursorError as error:  # begin again; what has been seen is not taken twice
                    restarts += 1
                    if restarts > MOST_RESTARTS:
                        raise
                    log.warning("cursor_unusable", window=window.name, reason=str(error))
                    window.cursor = None
                    continue
                if is_halved:
                    return True
                collected = _collected(window, seen)
                total = self._promised(slice_, window, listing, collected)
                if slice_.ids is not None or collected >= total or window.walk >= MOST_WALKS:
                    break
                log.warning("harvest_short", window=window.name, promised=total, collected=collected, walk=window.walk)
                window.walk, window.cursor = window.walk + 1, None
                self._save(window, WindowState.RUNNING)
            self._finish(slice_, window, listing, seen, total)
        return False

    def _promised(self, slice_: Slice, window: Window, listing: Listing, collected: int) -> int:
        """How many records there should be; asked for once more where they are not all there: a total may be wrong."""
        total = int(window.counts.get("promised") or 0)
        if slice_.cap is not None:
            return min(total, slice_.cap)
        if total and total <= collected:
            return total
        again = listing.total()
        return total if again is None else again

    def _walk(self, slice_: Slice, window: Window, listing: Listing, seen: SeenIds, *, counts_duplicates: bool) -> bool:
        """One way through the listing, from the window's cursor on; True when the window has to be halved instead."""
        chunk = Chunk(self.run)
        is_overlap, known, shown = window.cursor is not None, len(seen), self.progress.done
        try:
            for page in prefetched(listing.pages(window.cursor, window.walk)):
                if window.cursor is None and not window.pieces and self._is_too_much(slice_, page):
                    return True
                fresh = [result for item in page.items if seen.add(_key(result := self._let_in(listing.read(item))))]
                if counts_duplicates and not is_overlap:
                    chunk.counts.extra["duplicate_ids"] += len(page.items) - len(fresh)
                is_overlap = False
                self._take(slice_, window, chunk, page, fresh, listing, seen)
                self.progress.advance(len(fresh), total=shown - known + min(page.total, slice_.cap or page.total))
                if slice_.cap is not None and len(seen) >= slice_.cap:
                    break
                if chunk.pages >= self.pages_per_part:
                    full, chunk = chunk, Chunk(self.run)
                    self._checkpoint(window, full)
        except EnrichmentError:
            self._checkpoint(window, chunk)
            raise
        self._checkpoint(window, chunk)
        return False

    def _take(
        self,
        slice_: Slice,
        window: Window,
        chunk: Chunk,
        page: Page,
        fresh: list[Result],
        listing: Listing,
        seen: SeenIds,
    ) -> None:
        """Put a page's new results into the chunk, as many as cap and budget allow; raises BudgetSpent where that ends."""
        known = len(seen) - len(fresh)
        wanted = fresh if slice_.cap is None else fresh[: max(0, slice_.cap - known)]
        granted = self.budget.spend_records(len(wanted))
        for asked, results in zip(wanted, listing.details(wanted[:granted]), strict=False):
            for result in map(self._let_in, results):
                if _key(result) == _key(asked):
                    chunk.add(result)
                elif seen.add(_key(result)):  # it has moved; under its new id it may have come already
                    chunk.add(result)
                    chunk.counts.extra["under_new_id"] += 1
        chunk.promised = page.total
        if granted < len(wanted):
            window.cursor = page.at  # the rest of this page is for the next start
            raise BudgetSpent(self.budget.why_no_records())
        window.cursor = page.cursor
        chunk.pages += 1

    def _let_in(self, result: Result) -> Result:
        """A record that was taken down is a row that does not name it, though always the same one."""
        if isinstance(result, Record):
            held = self.tombstones.holds(result.record_id, result.provider, result.data_provider)
        else:
            held = result.record_id is not None and self.tombstones.holds(result.record_id)
        if not held:
            return result
        mark = hashlib.sha256(f"{result.record_id}".encode()).hexdigest()[:16]
        return OutcomeRow(STAGE, f"taken-down-{mark}", None, Outcome.REJECTED, Reason.TAKEN_DOWN)

    def _is_too_much(self, slice_: Slice, page: Page) -> bool:
        return slice_.cap is None and page.total > self.run.rules.window_hits and slice_.halves() is not None

    def _harvest_halves(self, slice_: Slice, window: Window) -> None:
        """A window with too many hits is the sum of its halves; each has a row, and a state, of its own."""
        halves = slice_.halves()
        assert halves is not None
        names = [half.name for half in halves]
        log.info("window_split", window=window.name, into=names)
        window.counts = {"split": names}
        self._save(window, WindowState.RUNNING)
        done: list[Window] = []
        for half in halves:
            done.append(self.harvest(half))
            window.pieces = [piece for one in done for piece in one.pieces]
            counts: dict[str, Any] = {}
            for one in done:
                counts = _merged(counts, Counts.from_json(one.counts))
            window.counts = counts | {"split": names, "promised": sum(one.counts.get("promised") or 0 for one in done)}
            if done[-1].state != WindowState.SUCCESS:
                raise BudgetSpent(done[-1].last_error)
        window.previous = {}
        self._save(window, WindowState.SUCCESS)

    def _finish(self, slice_: Slice, window: Window, listing: Listing, seen: SeenIds, total: int) -> None:
        """Say whether everything is there, and look after what was there before and is no more."""
        chunk, missing = Chunk(self.run), max(0, total - _collected(window, seen))
        lost = self._lost(window.previous.get("pieces", []), seen)
        for group in groups_of(lost, IDS_COMPARED):
            for results in listing.still_there(group):
                for result in map(self._let_in, results):
                    if isinstance(result, OutcomeRow) or seen.add(_key(result)):
                        chunk.add(result)
        # An index may count for a while what has gone already: that is explained, and not missing.
        missing = max(0, missing - chunk.counts.reasons[Reason.GONE])
        # Whoever asks by id is told of each of them.
        missing = 0 if slice_.ids is not None else missing
        chunk.counts.extra.update(total_results=total, missing=missing, walks_again=window.walk - 1)
        chunk.promised = total
        window.previous = {}
        self._checkpoint(window, chunk, WindowState.SUCCESS)

    def _lost(self, previous: list[dict[str, Any]], seen: SeenIds) -> Iterator[str]:
        """Ids of the listing before that are not in this one, each once."""
        with SeenIds() as looked_for:
            for record_id in self._ids_of(previous, records_only=True):
                if record_id not in seen and looked_for.add(record_id):
                    yield record_id

    # Keeping it

    def _checkpoint(self, window: Window, chunk: Chunk, state: WindowState = WindowState.RUNNING) -> None:
        """Write the rows as parts, and then down how far the window has come."""
        made = int(window.counts.get("chunks", 0))
        window_mark = uuid.uuid5(uuid.NAMESPACE_OID, f"{self.mark}|{window.name}").hex[:8]
        name = f"{window_mark}-{window.generation:02d}-{made:04d}"
        parts = chunk.write(self.lake, self.number, name)
        window.pieces = [*window.pieces, *({"dataset": dataset, **part.__dict__} for dataset, part in parts.items())]
        requests = self.metering.requests - self._requests_written
        self._requests_written += requests
        chunk.counts.extra["requests"] += requests
        promised = chunk.promised if chunk.promised is not None else window.counts.get("promised")
        window.counts = _merged(window.counts, chunk.counts) | {"chunks": made + bool(parts), "promised": promised}
        window.requests += requests
        self._save(window, state)

    def _save(self, window: Window, state: WindowState, *, error: str = "") -> None:
        now = self.clock()
        window.state, window.last_error = state, error
        window.finished_at = now if state in windows.DONE else None
        windows.save(self.engine, window, now=now)

    def _ids_of(self, pieces: list[dict[str, Any]], *, records_only: bool = False) -> Iterator[str]:
        """The ids in some parts, streamed; those of outcome rows too, for they are not to come twice either."""
        for piece in pieces:
            if piece["dataset"] == "records":
                for batch in self.lake.part_rows(piece["key"], ["record_id"]):
                    yield from batch.column("record_id").to_pylist()
            elif piece["dataset"] == OUTCOMES_OF_STAGE and not records_only:
                for batch in self.lake.part_rows(piece["key"], ["input_id", "record_id", "raw", "detail"]):
                    yield from (_row_key(row) for row in batch.to_pylist())


def parts_of(window: Window) -> tuple[dict[str, list[Part]], dict[str, Any]]:
    """What readers may see of a window, with its counts: as long as a new listing is not whole, the one before."""
    source = window.__dict__
    if window.state != WindowState.SUCCESS and window.previous:
        source = window.previous
    parts: dict[str, list[Part]] = {}
    for piece in source["pieces"]:
        part = Part(*(piece[name] for name in ("key", "rows", "size_bytes", "sha256")))
        parts.setdefault(piece["dataset"], []).append(part)
    return parts, source["counts"]


def _collected(window: Window, seen: SeenIds) -> int:
    """How many of the listing's ids have come; a record that has moved came under a second one."""
    return len(seen) - int(window.counts.get("extra", {}).get("under_new_id", 0))


def _key(result: Result) -> str:
    """What an input is told apart by: its id, and without one, all that is known of it."""
    if isinstance(result, Record):
        return result.record_id
    return _row_key(result.__dict__)


def _row_key(row: dict[str, Any]) -> str:
    if row["record_id"]:
        return str(row["record_id"])
    return f"{row['input_id']}|{row['raw'] or row['detail']}"


def _merged(known: dict[str, Any], more: Counts) -> dict[str, Any]:
    """Counts of a window so far, as JSON values."""
    total = Counts.from_json(known) if "inputs" in known else Counts()
    total.merge(more)
    return total.to_json()
