"""The publication ledger: one row per record × concept × target, and the only way its state changes.

planned → sending → sent | duplicate | refused. A row in `sending` after a crash is resolved by asking the
platform, never by sending again blindly.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

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
        for chunk in _chunks(statements):
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


def open_ids(engine: Engine, target: str) -> list[int]:
    """Rows that still have to go out, or whose sending was cut off, in order."""
    query = select(ledger.c.id).where(ledger.c.target == target, ledger.c.state.in_((State.PLANNED, State.SENDING)))
    with engine.connect() as connection:
        return list(connection.scalars(query.order_by(ledger.c.id)))


def open_records(engine: Engine, target: str, first: int, last: int) -> list[str]:
    """The records of an id range that still have something to send."""
    query = select(ledger.c.record_id).distinct().where(ledger.c.target == target, ledger.c.id.between(first, last))
    with engine.connect() as connection:
        open_rows = query.where(ledger.c.state.in_((State.PLANNED, State.SENDING)))
        return list(connection.scalars(open_rows.order_by(ledger.c.record_id)))


def interrupted(engine: Engine, target: str, first: int, last: int) -> list[dict[str, Any]]:
    """Rows of an id range that a crash left in `sending`."""
    with engine.connect() as connection:
        query = _range(target, first, last).where(ledger.c.state == State.SENDING)
        return [dict(row) for row in connection.execute(query).mappings()]


def claim(engine: Engine, target: str, first: int, last: int, *, limit: int, now: datetime) -> list[dict[str, Any]]:
    """Take up to `limit` planned rows of an id range and mark them `sending`; no two workers get the same row."""
    query = _range(target, first, last).where(ledger.c.state == State.PLANNED).limit(limit)
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
    """What became of a claimed row."""

    id: int
    state: State
    remote_id: str | None = None
    error: str = ""


def settle(engine: Engine, outcomes: Sequence[Settled], *, now: datetime) -> None:
    """Write down what became of claimed rows, in one transaction."""
    with engine.begin() as connection:
        for outcome in outcomes:
            values: dict[str, Any] = {"state": outcome.state, "last_error": outcome.error[:500], "updated_at": now}
            if outcome.remote_id:
                values["remote_id"] = outcome.remote_id
            connection.execute(update(ledger).where(ledger.c.id == outcome.id).values(values))


def find(engine: Engine, target: str, record_ids: Sequence[str]) -> list[dict[str, Any]]:
    """All rows of some records (at most a few hundred at a time)."""
    query = select(ledger).where(ledger.c.target == target, ledger.c.record_id.in_(record_ids)).order_by(ledger.c.id)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def _range(target: str, first: int, last: int) -> Any:
    return select(ledger).where(ledger.c.target == target, ledger.c.id.between(first, last)).order_by(ledger.c.id)


def _insert_missing(connection: Connection) -> Any:
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(ledger).on_conflict_do_nothing(index_elements=["record_id", "concept_uri", "target"])


def _chunks(statements: Iterable[Statement]) -> Iterable[list[Statement]]:
    chunk: list[Statement] = []
    for statement in statements:
        chunk.append(statement)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
