"""Steps of the harvest: start a run, plan its windows, harvest one window, publish the records."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import structlog

from pipeline.clients.europeana import SearchClient
from pipeline.datasets.lake import Lake, as_table, open_lake
from pipeline.datasets.run import Run, named_run_id
from pipeline.datasets.schemas import OUTCOMES, RECORDS
from pipeline.datasets.stage import (
    Batch,
    Counts,
    Result,
    merge_results,
    outcomes_dataset,
    plan_stage,
    publish_stage,
    run_batch,
)
from pipeline.domain.outcome import Outcome, OutcomeRow, Reason
from pipeline.domain.record import Record
from pipeline.domain.scope import Scope, Selection
from pipeline.errors import CriticalError
from pipeline.harvest.parse import parse_item
from pipeline.harvest.sources import find_source
from pipeline.quality.gates import check_parts
from pipeline.reporting.progress import Progress
from pipeline.settings import Settings

STAGE = "harvest"
OUTCOMES_OF_STAGE = outcomes_dataset(STAGE)
IDS_PER_QUERY = 50

log = structlog.get_logger()


def start_run(
    *,
    run_id: str,
    source: str,
    scope: Scope,
    created_at: datetime,
    settings: Settings,
    selection: Selection | None = None,
    limit: int | None = None,
    dry_run: bool = False,
) -> str:
    """Write the run's manifest and return its key; a run started again under the same id goes on where it was."""
    run = Run(
        run_id=named_run_id(run_id),
        source=source,
        selection=selection or find_source(settings.sources_dir, source).selection,
        scope=scope,
        created_at=created_at.astimezone(UTC),
        limit=limit,
        dry_run=dry_run,
    )
    return open_lake(settings).save_run(run).key


def plan_harvest(run_key: str, *, settings: Settings) -> list[str]:
    """The queries that make up the run's scope, as batches: one for a window or everything, one per 50 ids."""
    lake = open_lake(settings)
    run = lake.run(run_key)
    return plan_stage(lake, run, STAGE, _queries(run), fingerprint="", max_batches=settings.max_batches)


def harvest_window(batch_key: str, *, settings: Settings) -> str:
    """Pull one query's records, page by page; returns the key of the batch's result."""
    lake = open_lake(settings)
    return run_batch(lake, batch_key, lambda run, batch: _harvest(lake, run, batch, settings))


def publish_records(run_key: str, result_keys: list[str], *, settings: Settings) -> str:
    """Check the harvested records and make them visible; returns the key of the stage's report."""
    lake = open_lake(settings)
    run = lake.run(run_key)
    result = merge_results(lake, STAGE, result_keys)
    checks = check_parts(lake, run, "records", result.parts.get("records", []))
    return publish_stage(lake, run, STAGE, result, ["records", OUTCOMES_OF_STAGE], checks=checks)


def _queries(run: Run) -> list[dict[str, Any]]:
    filters = list(run.selection.filters)
    if run.selection.kind == "query":
        query = run.selection.value
    elif run.selection.kind == "dataset":
        query = f"europeana_id:\\/{run.selection.value}\\/*"
    elif run.selection.kind == "concept":
        query, filters = "*:*", [*filters, f'skos_concept:"{run.selection.value}"']
    else:
        raise CriticalError(f"selection kind {run.selection.kind} cannot be harvested from Europeana's search")
    if run.scope.mode == "pending":
        raise CriticalError("a harvest has no list of what is pending; its scope is a window, ids or full")
    if run.scope.mode == "ids":
        ids = tuple(dict.fromkeys(run.scope.ids))[: run.limit]
        groups = [ids[at : at + IDS_PER_QUERY] for at in range(0, len(ids), IDS_PER_QUERY)]
        # Ids name their records completely: the selection's query must not hide any of them.
        return [{"query": f"europeana_id:({_any_of(group)})", "filters": [], "ids": list(group)} for group in groups]
    if run.scope.mode == "window":
        start, end = (time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for time in _bounds(run.scope))
        filters.append(f"timestamp_update:[{start} TO {end}}}")  # half-open: allowed in qf, not in query (§1.5)
    # The limit stands in the batch: with another one it is another batch.
    return [{"query": query, "filters": filters, "limit": run.limit}]


def _any_of(ids: Sequence[str]) -> str:
    return " OR ".join('"' + record_id.replace("\\", "\\\\").replace('"', '\\"') + '"' for record_id in ids)


def _bounds(scope: Scope) -> tuple[datetime, datetime]:
    if scope.start is None or scope.end is None:
        raise CriticalError("a window scope without start and end")
    return scope.start, scope.end


def _harvest(lake: Lake, run: Run, batch: Batch, settings: Settings) -> Result:
    started = time.monotonic()
    counts, rejected, found = Counts(), list[OutcomeRow](), set[str]()
    items = _items(run, batch, settings, counts.extra)
    tables = _record_tables(run, items, counts, rejected, found)
    records = lake.write_part(run, "records", batch.number, tables, RECORDS)
    for record_id in sorted(set(batch.items.get("ids", ())) - found):
        rejected.append(_not_found(record_id))
        counts.add(Reason.GONE)
    rows = [asdict(row) | run.columns() for row in rejected]
    outcomes = lake.write_part(run, OUTCOMES_OF_STAGE, batch.number, [as_table("outcomes", rows)], OUTCOMES)
    return Result(counts, {"records": [records], OUTCOMES_OF_STAGE: [outcomes]}, time.monotonic() - started)


def _items(run: Run, batch: Batch, settings: Settings, extra: Counter[str]) -> Iterator[list[Any]]:
    """Pages of items, each id once; says in `extra` what the server promised and what came twice."""
    client = SearchClient(settings)
    seen: set[str] = set()
    with Progress("harvest", "records", settings=settings) as progress:
        for page in client.pages(batch.items["query"], batch.items["filters"], reusability=run.selection.reusability):
            fresh = _unseen(page.items, seen)
            extra["duplicate_ids"] += len(page.items) - len(fresh)
            limit = batch.items.get("limit")
            if limit is not None:
                fresh = fresh[: max(0, limit - len(seen))]
            seen.update(_id(item) for item in fresh)
            extra["total_results"] = page.total
            progress.advance(len(fresh), total=min(page.total, limit or page.total))
            yield fresh
            if limit is not None and len(seen) >= limit:
                extra["cut_by_limit"] = 1
                return
    if missing := extra["total_results"] - len(seen):
        log.warning("harvest_incomplete", promised=extra["total_results"], collected=len(seen))
        extra["missing"] = missing


def _unseen(items: list[Any], seen: set[str]) -> list[Any]:
    """The items whose id has not come before, neither on this page nor on an earlier one."""
    fresh = {_id(item): item for item in items if _id(item) not in seen}
    return list(fresh.values())


def _id(item: Any) -> str:
    """What an item is told apart by; one without an id, by its whole content."""
    found = item.get("id") if isinstance(item, dict) else None
    return found if isinstance(found, str) else repr(item)


def _record_tables(
    run: Run, pages: Iterator[list[Any]], counts: Counts, rejected: list[OutcomeRow], found: set[str]
) -> Iterator[pa.Table]:
    for page in pages:
        rows = []
        for item in page:
            parsed = parse_item(item)
            if isinstance(parsed, OutcomeRow):
                rejected.append(parsed)
                counts.add(parsed.reason)
                continue
            rows.append(_row(parsed) | run.columns())
            found.add(parsed.record_id)
            if parsed.image_url is None:
                rejected.append(_no_image(parsed))
            counts.add(None if parsed.image_url else Reason.NO_IMAGE)
        yield as_table("records", rows)


def _row(record: Record) -> dict[str, Any]:
    """The record as a Parquet row: maps as lists of pairs, tuples as lists."""
    row = {name: list(value) if isinstance(value, tuple) else value for name, value in record.__dict__.items()}
    return row | {"titles": list(record.titles.items()), "descriptions": list(record.descriptions.items())}


def _not_found(record_id: str) -> OutcomeRow:
    """An id that was asked for and is not there: gone, or never a record's id."""
    detail = "the source has no record with this id"
    return OutcomeRow(STAGE, record_id, record_id, Outcome.GONE, Reason.GONE, detail)


def _no_image(record: Record) -> OutcomeRow:
    return OutcomeRow(
        stage=STAGE,
        input_id=record.record_id,
        record_id=record.record_id,
        outcome=Outcome.SKIPPED,
        reason=Reason.NO_IMAGE,
        detail="the record names no image (edmIsShownBy)",
    )
