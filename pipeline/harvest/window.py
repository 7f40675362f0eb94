"""Harvest one slice: page by page, each id once, with a checkpoint every few thousand records.

A checkpoint is a part in the lake and then the row in `harvest_windows`: whatever is killed when, what the row says is
there, and the part that was being written is written again, under the same name.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import Engine

from pipeline.clients.europeana import Page, UnusableCursorError
from pipeline.clients.metering import Metering
from pipeline.database import windows
from pipeline.database.run_budget import RunBudget
from pipeline.database.windows import Window, WindowState
from pipeline.datasets.lake import Lake, Part
from pipeline.datasets.run import Run
from pipeline.datasets.stage import Counts, groups_of
from pipeline.domain.outcome import OutcomeRow
from pipeline.errors import BudgetSpent, EnrichmentError
from pipeline.harvest.listings import Listing
from pipeline.harvest.prefetch import prefetched
from pipeline.harvest.rows import OUTCOMES_OF_STAGE, Chunk
from pipeline.harvest.seen import SeenIds
from pipeline.harvest.slices import Slice
from pipeline.reporting.progress import Progress

MOST_WALKS = 3
MOST_RESTARTS = 3
IDS_COMPARED = 1_000

log = structlog.get_logger()


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class WindowHarvest:
    """Harvests slices of one batch of a run. `open_listing` gives a slice's pages; `clock` only dates the state."""

    lake: Lake
    run: Run
    number: int
    engine: Engine
    listing_key: str
    open_listing: Callable[[Slice], Listing]
    metering: Metering
    budget: RunBudget
    progress: Progress
    pages_per_part: int
    clock: Callable[[], datetime] = _utc_now
    done_before: int = 0  # slices that were done already, in this run or in another
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
        """The window's row, and whether nothing is left to do; a row that begins anew is emptied."""
        blank = Window(
            self.listing_key, slice_.name, self.run.run_id, self.run.source, slice_.start, slice_.end, self.run.attempt
        )
        windows.plan(self.engine, [blank], now=self.clock())
        (window,) = windows.of_run(self.engine, self.listing_key, self.run.run_id, names=[slice_.name])
        others = [
            other
            for other in windows.finished(self.engine, self.listing_key, slice_.name)
            if other.run_id != self.run.run_id and self._stands(other.pieces)
        ]
        if self._is_done(slice_, window, others):
            return window, True
        fresh = window.state == WindowState.PENDING
        if not fresh and window.state != WindowState.SUCCESS and self._stands(window.pieces):
            pass  # ours: it goes on where it stopped
        elif fresh and others and others[0].state == WindowState.PARTIAL and self._may_trust(slice_):
            window = replace(window, **{name: getattr(others[0], name) for name in ("cursor", "walk", "pieces", "previous")})
        else:
            known = [other.pieces for other in (window, *others) if other.state == WindowState.SUCCESS]
            window = replace(blank, attempts=window.attempts, previous=next(iter(known), window.previous))
        window.attempts += 1
        window.run_attempt = self.run.attempt
        self._save(window, WindowState.RUNNING)
        return window, False

    def _is_done(self, slice_: Slice, window: Window, others: list[Window]) -> bool:
        """Has this run done it, or another one, and is that good enough?"""
        if window.state == WindowState.SUCCESS and self._stands(window.pieces):
            if slice_.is_window and not _is_whole(window):
                return False
            this_time = window.run_attempt == self.run.attempt and bool(window.pieces)
            return this_time or self._may_trust(slice_)
        if not self._may_trust(slice_) or not others or others[0].state != WindowState.SUCCESS or not _is_whole(others[0]):
            return False
        if window.state not in (WindowState.PENDING, WindowState.PARTIAL):
            return False
        window.pieces = [*window.pieces, *(piece for piece in others[0].pieces if piece not in window.pieces)]
        self._save(window, WindowState.SUCCESS)
        return True

    def _may_trust(self, slice_: Slice) -> bool:
        """Windows of time stay what they were; all else, and what is asked for anew, is listed afresh."""
        return slice_.is_window and not self.run.again and not slice_.again

    def _stands(self, pieces: list[dict[str, Any]]) -> bool:
        return all(self.lake.store.exists(piece["key"]) for piece in pieces)

    # Doing it

    def _collect(self, slice_: Slice, window: Window) -> bool:
        """Walk the listing until every id is there; True when there are too many and the window must be halved."""
        listing = self.open_listing(slice_)
        restarts = 0
        with SeenIds() as seen:
            seen.add_all(self._ids_of(window.pieces))
            while True:
                try:
                    last = self._walk(slice_, window, listing, seen, counts_duplicates=window.walk == 1 and not restarts)
                except UnusableCursorError as error:  # begin again; what has been seen is not taken twice
                    restarts += 1
                    if restarts > MOST_RESTARTS:
                        raise
                    log.warning("cursor_unusable", window=window.name, reason=str(error))
                    window.cursor = None
                    continue
                if last is None:
                    return True
                total = last.total if slice_.cap is not None or last.total <= len(seen) else listing.total() or last.total
                if slice_.cap is not None or len(seen) >= total or window.walk >= MOST_WALKS:
                    break
                log.warning("harvest_short", window=window.name, promised=total, collected=len(seen), walk=window.walk)
                window.walk, window.cursor = window.walk + 1, None
            self._finish(slice_, window, listing, seen, total)
        return False

    def _walk(self, slice_: Slice, window: Window, listing: Listing, seen: SeenIds, *, counts_duplicates: bool) -> Page | None:
        """One way through the listing, from the window's cursor on; None when the window has to be halved.

        Returns the last page (one without items for an empty listing).
        """
        chunk, last = Chunk(self.run), Page([], 0, None)
        is_overlap, known, shown = window.cursor is not None, len(seen), self.progress.done
        try:
            for page in prefetched(listing.pages(window.cursor, window.walk)):
                if window.cursor is None and not window.pieces and self._is_too_much(slice_, page):
                    return None
                last = page
                fresh = [result for item in page.items if seen.add(_key(result := listing.read(item)))]
                if counts_duplicates and not is_overlap:
                    chunk.counts.extra["duplicate_ids"] += len(page.items) - len(fresh)
                is_overlap = False
                self._take(slice_, window, chunk, page, fresh, len(seen) - len(fresh))
                self.progress.advance(len(fresh), total=shown - known + min(page.total, slice_.cap or page.total))
                if slice_.cap is not None and len(seen) >= slice_.cap:
                    break
                if chunk.pages >= self.pages_per_part:
                    self._checkpoint(slice_, window, chunk)
                    chunk = Chunk(self.run)
        except (BudgetSpent, UnusableCursorError):
            self._checkpoint(slice_, window, chunk)
            raise
        self._checkpoint(slice_, window, chunk)
        return last

    def _take(self, slice_: Slice, window: Window, chunk: Chunk, page: Page, fresh: list[Any], known: int) -> None:
        """Put a page's new results into the chunk, as many as cap and budget allow; raises BudgetSpent where that ends."""
        wanted = fresh if slice_.cap is None else fresh[: max(0, slice_.cap - known)]
        granted = self.budget.spend_records(len(wanted))
        for result in wanted[:granted]:
            chunk.add(result)
        chunk.promised = page.total
        if granted < len(wanted):
            window.cursor = page.at  # the rest of this page is for the next start
            raise BudgetSpent(self.budget.why_no_records())
        window.cursor = page.cursor
        chunk.pages += 1

    def _is_too_much(self, slice_: Slice, page: Page) -> bool:
        return slice_.cap is None and page.total > self.run.rules.window_hits and slice_.halves() is not None

    def _harvest_halves(self, slice_: Slice, window: Window) -> None:
        """A window with too many hits is the sum of its halves; each has a row, and a state, of its own."""
        halves = slice_.halves()
        assert halves is not None
        log.info("window_split", window=window.name, into=[half.name for half in halves])
        window.counts = {"split": [half.name for half in halves]}
        self._save(window, WindowState.RUNNING)
        done: list[Window] = []
        for half in halves:
            done.append(self.harvest(half))
            window.pieces = [piece for one in done for piece in one.pieces]
            counts: dict[str, Any] = {}
            for one in done:
                counts = _merged(counts, Counts.from_json(one.counts))
            window.counts = counts | {"split": [half.name for half in halves]}
            if done[-1].state != WindowState.SUCCESS:
                raise BudgetSpent(done[-1].last_error)
        self._save(window, WindowState.SUCCESS)

    def _finish(self, slice_: Slice, window: Window, listing: Listing, seen: SeenIds, total: int) -> None:
        """Say whether everything is there, and look after what was there before and is no more."""
        chunk = Chunk(self.run)
        if window.previous:
            lost = self._lost(window, seen)
            for group in groups_of(lost, IDS_COMPARED):
                for row in listing.still_there(group):
                    if row is None:
                        chunk.counts.extra["left_the_listing"] += 1
                    else:
                        chunk.add(row)
        expected = min(total, slice_.cap) if slice_.cap is not None else total
        chunk.counts.extra.update(
            total_results=expected,
            # An index may count for a while what has gone already: that is explained, and not missing.
            missing=max(0, expected - len(seen) - chunk.counts.reasons.total()),
            walks_again=window.walk - 1,
            windows_harvested=1,
        )
        self._checkpoint(slice_, window, chunk, state=WindowState.SUCCESS)

    def _lost(self, window: Window, seen: SeenIds) -> Iterator[str]:
        """Ids of the listing before that are not in this one, each once."""
        with SeenIds() as met:
            for record_id in self._ids_of(window.previous, records_only=True):
                if record_id not in seen and met.add(record_id):
                    yield record_id

    # Keeping it

    def _checkpoint(self, slice_: Slice, window: Window, chunk: Chunk, *, state: WindowState = WindowState.RUNNING) -> None:
        """Write the rows as parts, and then down how far the window has come."""
        made = int(window.counts.get("chunks", 0))
        parts = chunk.write(self.lake, self.number, f"{slice_.piece}-{made:04d}")
        window.pieces = [*window.pieces, *(self._piece(dataset, part) for dataset, part in parts.items())]
        requests = self.metering.requests - self._requests_written
        self._requests_written += requests
        chunk.counts.extra["requests"] += requests
        promised = chunk.promised if chunk.promised is not None else window.counts.get("promised")
        window.counts = _merged(window.counts, chunk.counts) | {"chunks": made + bool(parts), "promised": promised}
        window.requests += requests
        if state == WindowState.SUCCESS:
            window.previous = []
        self._save(window, state)

    def _piece(self, dataset: str, part: Part) -> dict[str, Any]:
        return {"run_id": self.run.run_id, "dataset": dataset, **part.__dict__}

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


def _is_whole(window: Window) -> bool:
    """Was it listed after its end? What was listed before lacks whatever changed since."""
    return window.end is None or (window.finished_at is not None and window.finished_at >= window.end)


def _key(result: Any) -> str:
    """What an input is told apart by: its id, and without one, all that is known of it."""
    if isinstance(result, OutcomeRow):
        return _row_key(result.__dict__)
    return str(result.record_id)


def _row_key(row: dict[str, Any]) -> str:
    if row["record_id"]:
        return str(row["record_id"])
    return f"{row['input_id']}|{row['raw'] or row['detail']}"


def _merged(known: dict[str, Any], more: Counts) -> dict[str, Any]:
    """Counts of a window so far, as JSON values."""
    total = Counts.from_json(known) if "inputs" in known else Counts()
    total.merge(more)
    return total.to_json()
