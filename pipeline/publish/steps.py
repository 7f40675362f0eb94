"""Steps of publication: plan statements in the ledger, send them, write down what a run's statements became."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from sqlalchemy import Engine

from pipeline.database import connect, ledger
from pipeline.database.ledger import State, Statement
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
from pipeline.domain.outcome import Outcome, OutcomeRow, Reason
from pipeline.publish import container, europeana, with_hidden
from pipeline.publish.proposals import LABEL_COLUMNS, Action, Planner, is_sendable, planners, updates_leave
from pipeline.publish.sender import open_sender
from pipeline.settings import Settings
from pipeline.vocabulary import Vocabulary, load_vocabulary

STAGE = "publish"
OUTCOMES_OF_STAGE = outcomes_dataset(STAGE)
# Why a statement does not stand on the platform; it does in the other states.
_REASONS: dict[str, Reason] = {
    State.REFUSED: Reason.REFUSED,
    State.HELD: Reason.HELD_BACK,
    State.RETRACTING: Reason.HELD_BACK,
    State.WITHDRAWING: Reason.WITHDRAWN,
    State.WITHDRAWN: Reason.WITHDRAWN,
    State.GONE: Reason.GONE,
    State.PLANNED: Reason.NOT_SENT,
    State.SENDING: Reason.NOT_SENT,
    Reason.NOT_SENT: Reason.NOT_SENT,  # a dry run: the ledger knows nothing
}


def plan_publication(run_key: str, *, settings: Settings, now: datetime, approved: bool = False) -> list[str]:
    """Put the run's statements in the ledger, and those about which something is to be done into batches, by target.

    Only the run's own statements are worked at: what an earlier run left open goes out when a run says it again, and so
    only if today's decision still is to publish it. A dry run plans nothing and leaves no trace outside its reports.
    `approved`: a person has agreed to this run's statements, however many (PUBLISH_APPROVAL_ABOVE).
    """
    lake = open_lake(settings)
    run = lake.run(run_key)
    if run.dry_run:
        return []
    engine = connect(settings)
    batches = []
    for planner in planners(lake, run, engine, settings, approved=approved):
        _bring(planner, settings, now)
        names = ledger.assign(
            engine,
            (one.key for one in planner.proposals() if one.action is not Action.HOLD),
            target=planner.target,
            run_id=run.run_id,
            size=settings.publications_per_batch,
            lease=timedelta(seconds=settings.publish_lease_s),
            now=now,
        )
        batches += [{"kind": planner.kind, "ledger_batch": name} for name in names]
    # The time is part of the plan: what an earlier plan of the same run has sent says nothing about this one.
    return plan_stage(lake, run, STAGE, batches, fingerprint=now.isoformat(), max_batches=settings.max_batches)


def plan_approved(run_key: str, *, settings: Settings, now: datetime) -> list[str]:
    """`plan_publication` once a person has agreed."""
    return plan_publication(run_key, settings=settings, now=now, approved=True)


def _bring(planner: Planner, settings: Settings, now: datetime) -> None:
    """Write the proposals into the ledger."""
    updated = State.UPDATING if updates_leave(planner.kind, settings) else State.SENT
    states = {
        Action.SEND: State.PLANNED,
        Action.HOLD: State.HELD,
        Action.RETRACT: State.RETRACTING,
        Action.UPDATE: updated,
    }
    for group in groups_of(planner.proposals(), ledger.CHUNK):
        by_state: dict[State, list[tuple[Statement, str]]] = defaultdict(list)
        for one in group:
            by_state[states[one.action]].append((one.statement, one.why))
        for state, statements in by_state.items():
            ledger.bring(planner.engine, state, statements, now=now)


def publish_batch(batch_key: str, *, settings: Settings) -> str:
    """Send one batch of ledger rows; returns the key of the batch's result."""
    lake = open_lake(settings)
    return run_batch(lake, batch_key, lambda _, batch: _send(batch, settings))


def publish_annotations(run_key: str, result_keys: list[str], *, settings: Settings) -> str:
    """Write the `annotations` dataset: every statement of the run and where it stands; returns the report's key."""
    lake = open_lake(settings)
    run = lake.run(run_key)
    sent = merge_results(lake, STAGE, result_keys)
    engine = connect(settings)
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    counts, refused = Counts(), list[dict[str, Any]]()

    def tables() -> Iterator[pa.Table]:
        for group in groups_of(_published_labels(lake, run), ledger.CHUNK):
            rows = list(_annotation_rows(run, group, europeana.target_name(settings), engine, vocabulary))
            for row in rows:
                reason = _REASONS.get(row["state"])
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
        container_sent_now=sent.counts.extra[f"created_{container.KIND}"],
        hidden_sent_now=sent.counts.extra[f"created_{with_hidden.KIND}"],
        sending=sent.counts.to_json(),
        dry_run=run.dry_run,
    )


def _published_labels(lake: Lake, run: Run) -> Iterator[dict[str, Any]]:
    for batch in lake.rows(run, "record_labels", LABEL_COLUMNS):
        yield from (row for row in batch.to_pylist() if is_sendable(europeana.KIND, row))


def _send(batch: Batch, settings: Settings) -> Result:
    started = time.monotonic()
    kind, name = batch.items["kind"], batch.items["ledger_batch"]
    engine = connect(settings)
    with open_sender(engine, name, kind, settings, what=STAGE) as sender:
        sender.work()
    final = not ledger.in_states(engine, name, ledger.OPEN, limit=1)
    return Result(sender.counts, {}, time.monotonic() - started, final)


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
            **{name: label[name] for name in LABEL_COLUMNS if name.startswith(("model_", "preprocessing", "vocabulary"))},
            **run.columns(),
        }


def _outcome(row: dict[str, Any], reason: Reason) -> dict[str, Any]:
    outcome = Outcome.SKIPPED if reason is Reason.NOT_SENT else Outcome.REJECTED
    return asdict(OutcomeRow(STAGE, row["canonical"], row["record_id"], outcome, reason, row["detail"]))
