"""Steps of publication: plan statements in the ledger, send them, write down what a run's statements became."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from sqlalchemy import Engine

from pipeline.database import connect, ledger
from pipeline.database.ledger import Settled, State, Statement
from pipeline.datasets.lake import Lake, as_table, open_lake
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import ANNOTATIONS, OUTCOMES
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
from pipeline.domain.identifiers import annotation_canonical
from pipeline.domain.label import Decision
from pipeline.domain.outcome import Outcome, OutcomeRow, Reason
from pipeline.errors import CriticalError
from pipeline.publish import europeana, with_hidden
from pipeline.publish.europeana import EuropeanaTarget
from pipeline.publish.with_hidden import WithTarget
from pipeline.reporting.progress import Progress
from pipeline.settings import Settings
from pipeline.vocabulary import Vocabulary, load_vocabulary

STAGE = "publish"
OUTCOMES_OF_STAGE = outcomes_dataset(STAGE)
CLAIM = 256  # rows taken and settled together: what a crash leaves to be asked about is at most so much
# Reasons for which a hidden label does not even go to WITH.
_STAYS_HERE = frozenset({Reason.EXCLUDED, Reason.NO_PUBLIC_URI, Reason.RIGHTS_RESTRICTED})
_LABEL_COLUMNS = (
    "record_id",
    "concept_uri",
    "label",
    "max_score",
    "decision",
    "why",
    "model_name",
    "model_version",
    "model_sha256",
    "preprocessing_version",
    "vocabulary_version",
)


def plan_publication(run_key: str, *, settings: Settings, now: datetime) -> list[str]:
    """Put the run's statements in the ledger; batches are ranges of rows that still have to go out, by target.

    A dry run plans nothing: it leaves no trace outside its own reports.
    """
    lake = open_lake(settings)
    run = lake.run(run_key)
    if run.dry_run:
        return []
    engine = connect(settings)
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    ranges = []
    for target in _targets(settings):
        statements = (_statement(run, row, target, vocabulary) for row in _labels_for(target, lake, run))
        ledger.plan(engine, statements, now=now)
        ranges += _ranges(engine, target, settings)
    # The time is part of the plan: what an earlier plan of the same run has sent says nothing about this one.
    return plan_stage(lake, run, STAGE, ranges, fingerprint=now.isoformat(), max_batches=settings.max_batches)


def _targets(settings: Settings) -> list[str]:
    """Where labels go: Europeana always, WITH once an account is set."""
    return [europeana.NAME, with_hidden.NAME] if settings.with_username else [europeana.NAME]


def _ranges(engine: Engine, target: str, settings: Settings) -> list[dict[str, Any]]:
    open_ids = ledger.open_ids(engine, target)
    size = max(settings.publications_per_batch, -(-len(open_ids) // (settings.max_batches // 2)))
    return [{"target": target, "first": group[0], "last": group[-1]} for group in groups_of(open_ids, size)]


def publish_batch(batch_key: str, *, settings: Settings, now: datetime) -> str:
    """Send one range of ledger rows; returns the key of the batch's result."""
    lake = open_lake(settings)
    return run_batch(lake, batch_key, lambda _, batch: _send(batch, settings, now))


def publish_annotations(run_key: str, result_keys: list[str], *, settings: Settings) -> str:
    """Write the `annotations` dataset: every statement of the run and where it stands; returns the report's key."""
    lake = open_lake(settings)
    run = lake.run(run_key)
    sent = merge_results(lake, STAGE, result_keys)
    engine = connect(settings)
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    counts, refused = Counts(), list[dict[str, Any]]()

    def tables() -> Iterator[pa.Table]:
        for group in groups_of(_labels_for(europeana.NAME, lake, run), ledger.CHUNK):
            rows = list(_annotation_rows(run, group, engine, vocabulary))
            for row in rows:
                reason = _reason(row["state"])
                counts.add(reason)
                refused.extend([_outcome(row, reason) | run.columns()] if reason else [])
            yield as_table("annotations", rows)

    part = lake.write_part(run, "annotations", 0, tables(), ANNOTATIONS)
    outcomes = lake.write_part(run, OUTCOMES_OF_STAGE, 0, [as_table("outcomes", refused)], OUTCOMES)
    result = Result(counts, {"annotations": [part], OUTCOMES_OF_STAGE: [outcomes]}, sent.seconds)
    return publish_stage(
        lake,
        run,
        STAGE,
        result,
        ["annotations", OUTCOMES_OF_STAGE],
        sent_now=sent.counts.extra[f"sent_{europeana.NAME}"],
        hidden_sent_now=sent.counts.extra[f"sent_{with_hidden.NAME}"],
        sending=sent.counts.to_json(),
        dry_run=run.dry_run,
    )


def _labels_for(target: str, lake: Lake, run: Run) -> Iterator[dict[str, Any]]:
    """The record labels that a target gets: Europeana what is published, WITH what stays hidden but may leave."""
    wanted = Decision.PUBLISH if target == europeana.NAME else Decision.HIDDEN
    for batch in lake.rows(run, "record_labels", _LABEL_COLUMNS):
        yield from (row for row in batch.to_pylist() if row["decision"] == wanted and row["why"] not in _STAYS_HERE)


def _statement(run: Run, row: dict[str, Any], target: str, vocabulary: Vocabulary) -> Statement:
    body_uri = vocabulary.by_slug[row["label"]].body_uri
    if body_uri is None:
        raise CriticalError(f"{row['label']} was to be sent but has no public URI any more; label the run again")
    return Statement(
        record_id=row["record_id"],
        concept_uri=row["concept_uri"],
        target=target,
        body_uri=body_uri,
        canonical=annotation_canonical(row["record_id"], row["concept_uri"], target),
        score=row["max_score"],
        model_name=row["model_name"],
        model_version=row["model_version"],
        run_id=run.run_id,
    )


def _send(batch: Batch, settings: Settings, now: datetime) -> Result:
    started = time.monotonic()
    engine, counts = connect(settings), Counts()
    target = EuropeanaTarget(settings) if batch.items["target"] == europeana.NAME else WithTarget(settings)
    first, last = batch.items["first"], batch.items["last"]
    with (
        ThreadPoolExecutor(settings.publish_concurrency) as threads,
        Progress(f"{STAGE} {target.name}", "annotations", settings=settings, total=last - first + 1) as progress,
    ):
        target.prepare(ledger.open_records(engine, target.name, first, last))
        interrupted = ledger.interrupted(engine, target.name, first, last)
        for outcome in _settled(engine, threads, target.resolve, interrupted, now):
            if outcome.state != State.PLANNED:  # a row that never arrived is counted when it is sent, below
                _count(counts, target.name, outcome)
                counts.extra["recovered"] += 1
        once: set[int] = set()
        while rows := ledger.claim(engine, target.name, first, last, limit=CLAIM, now=now):
            outcomes = _settled(engine, threads, target.send, rows, now)
            progress.advance(len(rows))
            back = {outcome.id for outcome in outcomes if outcome.state == State.PLANNED}
            for outcome in outcomes:
                if outcome.id not in back or outcome.id in once:
                    _count(counts, target.name, outcome)
            if back & once:  # put off twice, by a lock or a full quota: the next run takes them up
                break
            once |= back
    return Result(counts, {}, time.monotonic() - started, final=not counts.reasons.keys() & {State.PLANNED, State.SENDING})


def _count(counts: Counts, target: str, outcome: Settled) -> None:
    counts.add(None if outcome.state == State.SENT else outcome.state)
    counts.extra[f"sent_{target}"] += outcome.state == State.SENT


def _settled(
    engine: Engine,
    threads: Executor,
    work: Callable[[Mapping[str, Any]], Settled],
    rows: Sequence[Mapping[str, Any]],
    now: datetime,
) -> list[Settled]:
    """Do the work for all rows and write down every outcome, before a CriticalError among them goes up."""
    futures = [threads.submit(work, row) for row in rows]
    outcomes = [future.result() for future in futures if future.exception() is None]
    if outcomes:
        ledger.settle(engine, outcomes, now=now)
    for future in futures:
        future.result()
    return outcomes


def _annotation_rows(
    run: Run, labels: Sequence[dict[str, Any]], engine: Engine, vocabulary: Vocabulary
) -> Iterator[dict[str, Any]]:
    known = {
        (row["record_id"], row["concept_uri"]): row
        for row in ledger.find(engine, europeana.NAME, sorted({label["record_id"] for label in labels}))
    }
    for label in labels:
        row = known.get((label["record_id"], label["concept_uri"]))
        yield {
            "record_id": label["record_id"],
            "concept_uri": label["concept_uri"],
            "body_uri": vocabulary.by_slug[label["label"]].body_uri,
            "target": europeana.NAME,
            "state": row["state"] if row else Reason.NOT_SENT,
            "remote_id": row["remote_id"] if row else None,
            "canonical": annotation_canonical(label["record_id"], label["concept_uri"], europeana.NAME),
            "score": label["max_score"],
            "stated_at": _utc(row["created_at"]) if row else run.created_at,
            "stated_by_run": row["run_id"] if row else run.run_id,
            "detail": row["last_error"] if row else "",
            **{name: label[name] for name in _LABEL_COLUMNS if name.startswith(("model_", "preprocessing", "vocabulary"))},
            **run.columns(),
        }


def _reason(state: str) -> Reason | None:
    """Why a statement does not stand on the platform; None when it does."""
    if state in (State.SENT, State.DUPLICATE):
        return None
    return Reason.REFUSED if state == State.REFUSED else Reason.NOT_SENT


def _outcome(row: dict[str, Any], reason: Reason) -> dict[str, Any]:
    outcome = Outcome.REJECTED if reason is Reason.REFUSED else Outcome.SKIPPED
    return asdict(OutcomeRow(STAGE, row["canonical"], row["record_id"], outcome, reason, row["detail"]))


def _utc(time: datetime) -> datetime:
    """SQLite forgets the zone of what was stored in UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time
