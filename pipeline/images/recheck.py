"""Steps of the re-check: visit image addresses again, less and less often, and write down how they stand.

An address that has not changed costs a conditional request. What has changed is looked at, not stored: the next
enrichment of its record fetches it. A re-check is a run of its own over the addresses that are due (scope `pending`).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from pipeline.database import connect, links
from pipeline.database.links import Link, LinkState, lake_id, state_of
from pipeline.datasets.lake import Lake, as_table, open_lake
from pipeline.datasets.run import Run, named_run_id
from pipeline.datasets.schemas import LINK_CHECKS
from pipeline.datasets.stage import Batch, Counts, Result, groups_of, merge_results, plan_stage, publish_stage, run_batch
from pipeline.domain.outcome import Reason
from pipeline.domain.scope import Scope, Selection
from pipeline.images.addresses import Address, FetchedAs
from pipeline.images.fetch import Attempt, Fetcher, Job
from pipeline.quality.gates import check_parts
from pipeline.reporting.progress import Progress
from pipeline.settings import Settings

STAGE = "recheck"
DATASET = "link_checks"


def start_recheck(*, run_id: str, now: datetime, settings: Settings) -> str:
    """Write the manifest of a re-check that visits what is due at `now`; returns its key."""
    run = Run(
        run_id=named_run_id(run_id), source="links", selection=Selection("links", "due"), scope=Scope("pending"), created_at=now
    )
    return open_lake(settings).save_run(run).key


def plan_recheck(run_key: str, *, settings: Settings) -> list[str]:
    """Batches of addresses that are due, those that have waited longest first, at most RECHECKS_PER_RUN."""
    lake = open_lake(settings)
    run = lake.run(run_key)
    due = links.due(connect(settings), lake_id(lake.root), now=run.created_at, most=settings.rechecks_per_run)
    groups = groups_of(({"id": key, "state": state} for key, state in due), settings.images_per_batch)
    return plan_stage(lake, run, STAGE, groups, fingerprint="", max_batches=settings.max_batches)


def recheck_batch(batch_key: str, *, settings: Settings) -> str:
    """Visit a batch's addresses; returns the key of its result."""
    lake = open_lake(settings)
    return run_batch(lake, batch_key, lambda run, batch: _recheck(lake, run, batch, settings))


def publish_recheck(run_key: str, result_keys: list[str], *, settings: Settings) -> str:
    """Check the dataset `link_checks` and make it visible; returns the key of the report, which counts states by host."""
    lake = open_lake(settings)
    run = lake.run(run_key)
    result = merge_results(lake, STAGE, result_keys)
    checks = check_parts(lake, run, DATASET, result.parts.get(DATASET, []), settings=settings)
    states: dict[str, Counter[str]] = {}
    for host, state, count in links.states(connect(settings), lake_id(lake.root)):
        states.setdefault(host, Counter())[state] += count
    report = publish_stage(lake, run, STAGE, result, [DATASET], checks=checks, states=states)
    lake.write_json(run.finished_key, result.counts.to_json())
    return report


@dataclass(frozen=True)
class _Seen:
    """One address, before and after."""

    before: Link
    after: Link
    changed: bool
    reason: str | None
    detail: str
    status: int | None

    def row(self) -> dict[str, Any]:
        after = self.after
        return {
            "record_id": after.record_id,
            "image_url": after.url,
            "host": after.host,
            "state_before": self.before.state,
            "state": after.state,
            "changed": self.changed,
            "reason": self.reason,
            "detail": self.detail,
            "status": self.status,
            "final_url": after.final_url,
        }


def _recheck(lake: Lake, run: Run, batch: Batch, settings: Settings) -> Result:
    started, engine = time.monotonic(), connect(settings)
    known = links.known(engine, [item["id"] for item in batch.items])
    seen = sorted(asyncio.run(_visit(list(_jobs(batch, known)), engine, lake, run, settings)), key=lambda one: one.after.id)
    counts = Counts()
    for one in seen:
        counts.add(one.reason)
        counts.extra[f"now_{one.after.state}"] += 1
        counts.extra["changed"] += one.changed
    rows = [one.row() | run.columns() for one in seen]
    part = lake.write_part(run, DATASET, batch.number, [as_table(DATASET, rows)], LINK_CHECKS)
    links.save(engine, [one.after for one in seen])
    return Result(counts, {DATASET: [part]}, time.monotonic() - started)


def _jobs(batch: Batch, known: dict[str, Link]) -> Iterator[Job]:
    for position, item in enumerate(batch.items):
        if (link := known.get(item["id"])) is not None:
            link = replace(link, state=item["state"])  # as planned: a batch that is done again says the same
            address = Address(link.url, link.visited, FetchedAs(link.fetched_as), 0, "", "unknown")
            yield Job(position, {"record_id": link.record_id, "link": link}, [address], {link.url: link})


async def _visit(jobs: list[Job], engine: Engine, lake: Lake, run: Run, settings: Settings) -> list[_Seen]:
    seen: list[_Seen] = []
    placeholders = frozenset(links.placeholders(engine, lake_id(lake.root)))
    with (
        Progress(STAGE, "addresses", settings=settings, total=len(jobs)) as progress,
        Fetcher(settings, placeholders=placeholders, whatever_rules=True) as fetcher,
    ):

        def done(job: Job) -> None:
            assert job.last is not None
            seen.append(_compared(job.record["link"], job.last, run.created_at))
            progress.advance()

        await fetcher.run(jobs, done)
    return seen


def _compared(before: Link, attempt: Attempt, now: datetime) -> _Seen:
    """How the address stands now. The version that we have stays the one that is asked about, until it is fetched anew."""
    outcome, reason, detail = attempt.verdict
    download = attempt.download
    changed = attempt.image_id is not None and attempt.image_id != before.image_id
    state = state_of(outcome, reason, download.status, moved=download.moved)
    if reason is Reason.BUDGET:
        state = LinkState(before.state)
    # The verdict on the picture that we have stays: only its next enrichment, which stores what it sees, may change it.
    after = replace(before, state=state, final_url=download.final_url or before.final_url, checked_at=now)
    status = before.status if download.not_modified else download.status
    if changed:
        after = replace(after, etag=None, last_modified=None)
    return _Seen(before, after, changed, str(reason) if reason else None, " ".join(detail.split())[:500], status)
