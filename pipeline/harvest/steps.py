"""Steps of the harvest: start a run, plan its windows, harvest a batch of them, publish the records."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from pipeline.clients.europeana import SearchClient
from pipeline.clients.metering import Metering
from pipeline.clients.with_platform import WithClient
from pipeline.database import connect, tombstones, windows
from pipeline.database.quota import SharedQuota
from pipeline.database.run_budget import RunBudget
from pipeline.database.windows import Window, WindowState
from pipeline.datasets.lake import Lake, open_lake
from pipeline.datasets.run import Run, named_run_id
from pipeline.datasets.stage import Batch, Counts, Result, groups_of, merge_results, plan_stage, publish_stage, run_batch
from pipeline.domain.harvest_rules import HarvestRules, Limits
from pipeline.domain.scope import Scope, Selection, scope_to_json
from pipeline.errors import CriticalError, TransientError
from pipeline.harvest.duplicates import drop_duplicates
from pipeline.harvest.id_list import ids_of_run, store_id_list
from pipeline.harvest.listings import FolderListing, IdsListing, Listing, QueryListing, WithListing
from pipeline.harvest.parse import STAGE
from pipeline.harvest.rows import OUTCOMES_OF_STAGE
from pipeline.harvest.slices import Slice, due_again, listing_key, slices_of
from pipeline.harvest.sources import find_source
from pipeline.harvest.window import WindowHarvest, parts_of
from pipeline.quality.gates import check_parts
from pipeline.reporting.progress import Progress
from pipeline.settings import Settings

log = structlog.get_logger()


def start_run(
    *,
    run_id: str,
    source: str,
    scope: Scope | None,
    created_at: datetime,
    settings: Settings,
    selection: Selection | None = None,
    rules: HarvestRules | None = None,
    ids_file: Path | None = None,
    dry_run: bool = False,
    again: bool = False,
) -> str:
    """Write the run's manifest and return its key; a run started again under the same id goes on where it was.

    Without `selection` and `rules` they are the source's. `ids_file` stands for a scope of ids: a file with one a line,
    of any length. `again`: harvest windows anew that are done. Raises CriticalError for what cannot be a run.
    """
    lake = open_lake(settings)
    if selection is None or rules is None:
        found = find_source(settings.sources_dir, source)
        selection, rules = selection or found.selection, rules or found.rules
    name = named_run_id(run_id)
    if not name:
        raise CriticalError(f"{run_id!r} cannot be a run's name: it needs letters or digits")
    if ids_file is not None:
        scope = Scope("ids", ids_sha256=store_id_list(lake, f"runs/run={name}", ids_file))
    if scope is None:
        raise CriticalError("a run needs a scope: a window, ids, a file of ids, or full")
    run = Run(
        run_id=name,
        source=source,
        selection=selection,
        scope=scope,
        created_at=created_at.astimezone(UTC),
        rules=rules,
        dry_run=dry_run,
        again=again,
    )
    return lake.save_run(run, is_done=lambda known: _is_harvested(lake, known)).key


def _is_harvested(lake: Lake, run: Run) -> bool:
    """Has this very attempt come to the end of its harvest?"""
    key = f"{run.folder}/{STAGE}.json"
    if not lake.store.exists(key):
        return False
    report = lake.read_json(key)
    return bool(report["attempt"] == run.attempt and report["harvest"]["state"] != "partial")


def plan_harvest(run_key: str, *, settings: Settings) -> list[str]:
    """The slices that make up the run's scope, as batches; of a window also old windows that are due once more.

    The plan of a run is made once: what is due must not change under a run that was cut off, or is done once more.
    """
    lake = open_lake(settings)
    run = lake.run(run_key)
    slices = _planned(lake, run, settings)
    size = max(1, -(-len(slices) // settings.max_batches))
    groups = [[slice_.to_json() for slice_ in group] for group in groups_of(slices, size)]
    return plan_stage(lake, run, STAGE, groups, fingerprint=str(run.starts), max_batches=settings.max_batches)


def harvest_window(batch_key: str, *, settings: Settings) -> str:
    """Harvest a batch's slices, page by page; returns the key of the batch's result."""
    lake = open_lake(settings)
    return run_batch(lake, batch_key, lambda run, batch: _harvest(lake, run, batch, settings))


def publish_records(run_key: str, result_keys: list[str], *, settings: Settings) -> str:
    """Check the harvested records and make them visible; returns the key of the stage's report.

    The report's `harvest` says whether the run is complete, and if not, how many are missing and why.
    """
    lake = open_lake(settings)
    run = lake.run(run_key)
    engine = connect(settings)
    known = {row.name: row for row in windows.of_run(engine, key_of_listing(run, settings), run.run_id)}
    rows = [known[slice_.name] for slice_ in _planned(lake, run, settings)]
    result = _result_of(rows, merge_results(lake, STAGE, result_keys))
    if len(rows) > 1 or "split" in rows[0].counts:
        drop_duplicates(lake, run, result)
    checks = check_parts(lake, run, "records", result.parts.get("records", []), settings=settings)
    return publish_stage(
        lake,
        run,
        STAGE,
        result,
        ["records", OUTCOMES_OF_STAGE],
        keep=windows.keys_in_use(engine, run.source),
        checks=checks,
        harvest=_state(rows, result),
        attempt=run.attempt,
    )


def key_of_listing(run: Run, settings: Settings) -> str:
    """What the run's windows are windows of."""
    return listing_key(run, _platform(run, settings), settings.storage_root)


def _platform(run: Run, settings: Settings) -> str:
    return {"europeana": settings.europeana_api_url, "with": settings.with_api_url}.get(run.rules.service, "")


def search_client(settings: Settings, budget: RunBudget | None = None) -> SearchClient:
    """A client whose requests count against the rate limit that all processes share."""
    key = settings.europeana_api_key.get_secret_value()
    quota = SharedQuota(connect(settings), settings.europeana_api_url, key)
    return SearchClient(settings, metering=Metering(quota, budget))


def _planned(lake: Lake, run: Run, settings: Settings) -> list[Slice]:
    rules = replace(run.rules, limits=Limits())  # another start may go further
    asked = json.dumps([asdict(run.selection), scope_to_json(run.scope), asdict(rules)], sort_keys=True, default=str)
    key = f"{run.folder}/{STAGE}/slices-{hashlib.sha256(asked.encode()).hexdigest()[:12]}.json"
    if lake.store.exists(key):
        return [Slice.from_json(value) for value in lake.read_json(key)]
    engine, listing = connect(settings), key_of_listing(run, settings)
    count = sum(1 for _ in ids_of_run(lake, run)) if run.scope.mode == "ids" else 0
    slices = list(slices_of(run, count))
    if run.scope.mode == "window" and slices[0].start is not None and run.rules.revisit_windows:
        known = windows.latest(engine, listing, before=slices[0].start)
        slices = [*due_again(run, known, now=run.created_at)[: run.rules.revisit_windows], *slices]
    rows = [Window(listing, one.name, run.run_id, run.source, one.start, one.end, run.attempt) for one in slices]
    windows.plan(engine, rows, now=datetime.now(UTC))
    lake.write_json(key, [slice_.to_json() for slice_ in slices])
    return slices


def _harvest(lake: Lake, run: Run, batch: Batch, settings: Settings) -> Result:
    """Harvest a batch's slices, as far as the budget goes. What they hold is told by their rows, when it is published."""
    started = time.monotonic()
    engine, listing = connect(settings), key_of_listing(run, settings)
    budget = RunBudget(engine, f"{listing[:12]}|{run.run_id}|{run.starts}", run.rules.limits)
    result, final = Counts(), True
    with Progress(STAGE, "records", settings=settings) as progress:
        open_listing, metering = _listings(lake, run, settings, budget)
        work = WindowHarvest(
            lake=lake,
            run=run,
            number=batch.number,
            engine=engine,
            listing_key=listing,
            mark=listing_key(run, _platform(run, settings), ""),  # the same in every lake
            open_listing=open_listing,
            metering=metering,
            budget=budget,
            progress=progress,
            pages_per_part=settings.harvest_pages_per_part,
            tombstones=tombstones.standing(engine),
        )
        for value in batch.items:
            slice_ = Slice.from_json(value)
            try:
                window = work.harvest(slice_)
            except TransientError as error:
                if not _is_left_over(slice_, run):
                    raise
                log.warning("old_window_failed", window=slice_.name, reason=str(error))  # the night itself goes on
                final = False
                continue
            if window.state != WindowState.SUCCESS:
                final = False
                break
        result.extra["windows_done_before"] = work.done_before
    return Result(result, {}, time.monotonic() - started, final)


def _is_left_over(slice_: Slice, run: Run) -> bool:
    """Is it a window from before the run's own ones, which is only taken along?"""
    return slice_.end is not None and run.scope.start is not None and slice_.end <= run.scope.start


def _result_of(rows: Sequence[Window], work: Result) -> Result:
    """Parts and counts of all the run's windows, in their order; of those that are not whole, what can be read."""
    result = Result(Counts(), {}, work.seconds)
    for row in rows:
        parts, counts = parts_of(row)
        if "inputs" in counts:
            result.counts.merge(Counts.from_json(counts))
        result.counts.extra[f"windows_{row.state}"] += 1
        for dataset, found in parts.items():
            result.parts.setdefault(dataset, []).extend(found)
    result.counts.extra["windows_done_before"] = work.counts.extra["windows_done_before"]
    return result


def _listings(lake: Lake, run: Run, settings: Settings, budget: RunBudget) -> "tuple[Any, Metering]":
    """How to open a slice's listing, and what counts its requests."""
    rules, selection = run.rules, run.selection
    if rules.service == "folder":
        return (lambda slice_: FolderListing(Path(selection.value))), Metering()
    if rules.service == "with":
        metering = Metering(budget=budget)
        client = WithClient(settings, metering=metering)
        name = f"{settings.with_collection} {run.source} {hashlib.sha256(selection.value.encode()).hexdigest()[:8]}"
        # WITH is told to import no more than all starts so far may take.
        most = rules.limits.max_records and rules.limits.max_records * run.starts
        return (lambda slice_: WithListing(client, selection, name, most)), metering
    search = search_client(settings, budget)

    def europeana(slice_: Slice) -> Listing:
        if slice_.ids is not None:
            first, last = slice_.ids
            return IdsListing(search, lambda: ids_of_run(lake, run, first, last), last - first, rules.needs_record_api)
        return QueryListing(search, slice_.query(run), slice_.sort, rules.needs_record_api)

    return europeana, search.metering


def _state(rows: Sequence[Window], result: Result) -> dict[str, Any]:
    """Complete, or what is missing and why; with the windows by state."""
    states = Counter(row.state for row in rows)
    missing = result.counts.extra["missing"]
    found = {"windows": dict(states), "promised": sum(int(row.counts.get("promised") or 0) for row in rows)}
    if states.keys() - {WindowState.SUCCESS}:
        stopped = next((row.last_error for row in rows if row.last_error), "")
        return found | {"state": "partial", "why": stopped or "windows are left"}
    if missing:
        why = f"{missing} records that the source counts did not come in {1 + result.counts.extra['walks_again']} walks"
        return found | {"state": "short", "why": why}
    return found | {"state": "complete", "why": ""}
