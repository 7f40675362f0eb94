"""Steps of publication: plan statements in the ledger, send them, write down what a run's statements became."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
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
from pipeline.domain.identifiers import annotation_canonical, is_item
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
    """Put the run's statements in the ledger, and those that still have to go out into batches, by target.

    Only the run's own statements are sent: what an earlier run left open goes out when a run says it again, and so
    only if today's decision still is to publish it. A dry run plans nothing and leaves no trace outside its reports.
    """
    lake = open_lake(settings)
    run = lake.run(run_key)
    if run.dry_run:
        return []
    engine = connect(settings)
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    batches = []
    for kind, target in _targets(settings).items():
        statements = (_statement(run, row, target, vocabulary) for row in _sendable(kind, lake, run))
        ledger.plan(engine, statements, now=now)
        names = ledger.assign(
            engine,
            ((row["record_id"], row["concept_uri"]) for row in _sendable(kind, lake, run)),
            target=target,
            run_id=run.run_id,
            size=settings.publications_per_batch,
            lease=timedelta(seconds=settings.publish_lease_s),
            now=now,
        )
        batches += [{"kind": kind, "ledger_batch": name} for name in names]
    # The time is part of the plan: what an earlier plan of the same run has sent says nothing about this one.
    return plan_stage(lake, run, STAGE, batches, fingerprint=now.isoformat(), max_batches=settings.max_batches)


def _targets(settings: Settings) -> dict[str, str]:
    """Where labels go, as {kind: name in the ledger}: Europeana always, WITH once an account is set."""
    targets = {europeana.KIND: europeana.target_name(settings)}
    return targets | ({with_hidden.KIND: with_hidden.target_name(settings)} if settings.with_username else {})


def publish_batch(batch_key: str, *, settings: Settings, now: datetime) -> str:
    """Send one batch of ledger rows; returns the key of the batch's result."""
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
        for group in groups_of(_labels_for(europeana.KIND, lake, run), ledger.CHUNK):
            rows = list(_annotation_rows(run, group, europeana.target_name(settings), engine, vocabulary))
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
        sent_now=sent.counts.extra[f"created_{europeana.KIND}"],
        hidden_sent_now=sent.counts.extra[f"created_{with_hidden.KIND}"],
        sending=sent.counts.to_json(),
        dry_run=run.dry_run,
    )


def _labels_for(kind: str, lake: Lake, run: Run) -> Iterator[dict[str, Any]]:
    """The record labels that a target gets: Europeana what is published, WITH what stays hidden but may leave."""
    wanted = Decision.PUBLISH if kind == europeana.KIND else Decision.HIDDEN
    for batch in lake.rows(run, "record_labels", _LABEL_COLUMNS):
        yield from (row for row in batch.to_pylist() if row["decision"] == wanted and row["why"] not in _STAYS_HERE)


def _sendable(kind: str, lake: Lake, run: Run) -> Iterator[dict[str, Any]]:
    """Those of a record that can be the target of an annotation; the others end as `refused`, unsent."""
    return (row for row in _labels_for(kind, lake, run) if is_item(row["record_id"]))


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
    kind, name = batch.items["kind"], batch.items["ledger_batch"]
    target = EuropeanaTarget(settings) if kind == europeana.KIND else WithTarget(settings)
    with (
        ThreadPoolExecutor(settings.publish_concurrency) as threads,
        Progress(f"{STAGE} {kind}", "annotations", settings=settings) as progress,
    ):
        sender = _Sender(connect(settings), name, kind, threads, progress, now)
        target.prepare(ledger.open_records(sender.engine, name))
        sender.resolve(target.resolve)
        put_off = sender.send(target.send)
        if put_off:  # a lock or a full quota: once more after a pause, then a later run takes them up
            time.sleep(settings.publish_pause_s)
            put_off = sender.send(target.send)
    for _ in range(put_off):
        sender.counts.add(State.PLANNED)
    final = not sender.counts.reasons.keys() & {State.PLANNED, State.SENDING}
    return Result(sender.counts, {}, time.monotonic() - started, final)


@dataclass
class _Sender:
    """Moves the rows of one ledger batch through a target, and counts what became of them."""

    engine: Engine
    batch: str
    kind: str
    threads: Executor
    progress: Progress
    now: datetime
    counts: Counts = field(default_factory=Counts)

    def resolve(self, work: Callable[[Mapping[str, Any]], Settled]) -> None:
        """Ask about the rows whose sending was cut off."""
        for outcome in self._settled(work, ledger.interrupted(self.engine, self.batch)):
            if outcome.state != State.PLANNED:  # a row that never arrived is counted when it is sent
                self._count(outcome)
                self.counts.extra["recovered"] += 1

    def send(self, work: Callable[[Mapping[str, Any]], Settled]) -> int:
        """Send every planned row once; returns how many were put off by the platform."""
        after = put_off = 0
        while rows := ledger.claim(self.engine, self.batch, after=after, limit=CLAIM, now=self.now):
            after = rows[-1]["id"]
            for outcome in self._settled(work, rows):
                if outcome.state == State.PLANNED:
                    put_off += 1
                else:
                    self._count(outcome)
            self.progress.advance(len(rows))
        return put_off

    def _count(self, outcome: Settled) -> None:
        self.counts.add(None if outcome.state in (State.SENT, State.DUPLICATE) else outcome.state)
        self.counts.extra[f"created_{self.kind}"] += outcome.created
        self.counts.extra["duplicates"] += outcome.state == State.DUPLICATE

    def _settled(self, work: Callable[[Mapping[str, Any]], Settled], rows: Sequence[Mapping[str, Any]]) -> list[Settled]:
        """Do the work for all rows and write down every outcome, before a CriticalError among them goes up."""
        futures = [self.threads.submit(work, row) for row in rows]
        outcomes = [future.result() for future in futures if future.exception() is None]
        if outcomes:
            ledger.settle(self.engine, self.batch, outcomes, now=self.now)
        for future in futures:
            future.result()
        return outcomes


def _annotation_rows(
    run: Run, labels: Sequence[dict[str, Any]], target: str, engine: Engine, vocabulary: Vocabulary
) -> Iterator[dict[str, Any]]:
    known = {
        (row["record_id"], row["concept_uri"]): row
        for row in ledger.find(engine, target, sorted({label["record_id"] for label in labels}))
    }
    for label in labels:
        row = known.get((label["record_id"], label["concept_uri"]))
        yield {
            "record_id": label["record_id"],
            "concept_uri": label["concept_uri"],
            "body_uri": vocabulary.by_slug[label["label"]].body_uri,
            "target": target,
            "state": row["state"] if row else (Reason.NOT_SENT if is_item(label["record_id"]) else State.REFUSED),
            "remote_id": row["remote_id"] if row else None,
            "canonical": annotation_canonical(label["record_id"], label["concept_uri"], target),
            "score": label["max_score"],
            "stated_at": row["created_at"] if row else run.created_at,
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
