"""The publication ledger: one row per record × concept × target, and the only way its state changes.

planned → sending → sent | duplicate | refused. A row in `sending` after a crash is resolved by asking the
platform, never by sending again blindly.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.database.tables import ledger

CHUNK = 500


class State(StrEnum):
    """Where a statement stands on its way to the platform."""

    PLANNED = "planned"
    SENDING = "sending"
    SENT = "sent"
    DUPLICATE = "duplicate"  # someone else has already said the same; theirs is never touched
    REFUSED = "refused"


OPEN = (State.PLANNED, State.SENDING)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Statement:
    """One row to be."""

    record_id: str
    concept_uri: str
    target: str
    body_uri: str
    canonical: str
    score: float
    model_name: str
    model_version: str
    run_id: str


def plan(engine: Engine, statements: Iterable[Statement], *, now: datetime) -> tuple[int, int]:
    """Add the statements that are not in the ledger yet; returns (new, already known). Idempotent."""
    total = 0
    with engine.begin() as connection:
        before = connection.scalar(select(func.count()).select_from(ledger)) or 0
        for chunk in _chunks(statements, CHUNK):
            rows = [
                {
                    **statement.__dict__,
                    "state": State.PLANNED,
                    "attempts": 0,
                    "last_error": "",
                    "created_at": now,
                    "updated_at": now,
                }
                for statement in chunk
            ]
            connection.execute(_insert_missing(connection), rows)
            total += len(rows)
        new = (connection.scalar(select(func.count()).select_from(ledger)) or 0) - before
    return new, total - new


def assign(
    engine: Engine, keys: Iterable[tuple[str, str]], *, target: str, run_id: str, size: int, lease: timedelta, now: datetime
) -> list[str]:
    """Hand the open statements among `keys` (record, concept) to batches of this run; returns the batches' names.

    A statement that another run holds is left to it until its lease has run out, so that no two workers ever send
    the same one; what the same run held before (it was cut off) is taken over.
    """
    batches: list[str] = []
    for group in _chunks(_takeable(engine, keys, target, run_id, now - lease), size):
        name = f"{run_id}|{now.isoformat()}|{target}|{len(batches)}"
        with engine.begin() as connection:
            for ids in _chunks(group, CHUNK):
                connection.execute(update(ledger).where(ledger.c.id.in_(ids)).values(batch=name, updated_at=now))
        batches.append(name)
    return batches


def open_records(engine: Engine, batch: str) -> list[str]:
    """The records of a batch that still have something to send."""
    query = select(ledger.c.record_id).distinct().where(ledger.c.batch == batch, ledger.c.state.in_(OPEN))
    with engine.connect() as connection:
        return list(connection.scalars(query.order_by(ledger.c.record_id)))


def interrupted(engine: Engine, batch: str) -> list[dict[str, Any]]:
    """Rows of a batch that a crash left in `sending`."""
    query = select(ledger).where(ledger.c.batch == batch, ledger.c.state == State.SENDING).order_by(ledger.c.id)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def claim(engine: Engine, batch: str, *, after: int, limit: int, now: datetime) -> list[dict[str, Any]]:
    """Take the next planned rows of a batch (ids > `after`) and mark them `sending`; no two workers get the same row."""
    wanted = select(ledger).where(ledger.c.batch == batch, ledger.c.state == State.PLANNED, ledger.c.id > after)
    query = wanted.order_by(ledger.c.id).limit(limit)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            query = query.with_for_update(skip_locked=True)
        else:
            # SQLite has one writer: taking its place first makes the read and the write below one step.
            connection.execute(update(ledger).where(ledger.c.id == -1).values(state=State.PLANNED))
        rows = [dict(row) for row in connection.execute(query).mappings()]
        ids = [row["id"] for row in rows]
        values = {"state": State.SENDING, "attempts": ledger.c.attempts + 1, "updated_at": now}
        connection.execute(update(ledger).where(ledger.c.id.in_(ids)).values(values))
    return rows


@dataclass(frozen=True)
class Settled:
    """What became of a claimed row; `created` says whether the platform has stored it just now."""

    id: int
    state: State
    remote_id: str | None = None
    error: str = ""
    created: bool = False


def settle(engine: Engine, batch: str, outcomes: Sequence[Settled], *, now: datetime) -> None:
    """Write down what became of claimed rows, in one transaction; rows that are not the batch's any more stay as they are."""
    with engine.begin() as connection:
        for outcome in outcomes:
            values: dict[str, Any] = {"state": outcome.state, "last_error": outcome.error[:500], "updated_at": now}
            if outcome.remote_id:
                values["remote_id"] = outcome.remote_id
            connection.execute(update(ledger).where(ledger.c.id == outcome.id, ledger.c.batch == batch).values(values))


def find(engine: Engine, target: str, record_ids: Sequence[str]) -> list[dict[str, Any]]:
    """All rows of some records (at most a few hundred at a time)."""
    query = select(ledger).where(ledger.c.target == target, ledger.c.record_id.in_(record_ids)).order_by(ledger.c.id)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def _takeable(engine: Engine, keys: Iterable[tuple[str, str]], target: str, run_id: str, expired: datetime) -> Iterator[int]:
    """Ids of open rows that nobody else holds."""
    for chunk in _chunks(keys, CHUNK):
        wanted = set(chunk)
        for row in find(engine, target, sorted({record_id for record_id, _ in chunk})):
            held = row["batch"] is not None and not row["batch"].startswith(f"{run_id}|") and row["updated_at"] > expired
            if row["state"] in OPEN and (row["record_id"], row["concept_uri"]) in wanted and not held:
                yield row["id"]


def _insert_missing(connection: Connection) -> Any:
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(ledger).on_conflict_do_nothing(index_elements=["record_id", "concept_uri", "target"])


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
