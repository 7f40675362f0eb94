"""The publication ledger: one row per record × concept × target, and the only way its state changes.

planned → sending → sent | duplicate | refused. A row in `sending` after a crash is resolved by asking the
platform, never by sending again blindly. `held` rows may not be sent for now; what stands on the platform is changed
(`updating`), taken back by a later decision (`retracting`, then held) or by a person (`withdrawing`, then withdrawn).
These three may be done twice without harm, so a crash needs no more than doing them again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, and_, bindparam, case, delete, func, null, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.database.connection import begin_writing
from pipeline.database.tables import ledger
from pipeline.errors import CriticalError

CHUNK = 500


class State(StrEnum):
    """Where a statement stands on its way to the platform."""

    PLANNED = "planned"
    SENDING = "sending"
    SENT = "sent"
    DUPLICATE = "duplicate"  # someone else has already said the same; theirs is never touched
    REFUSED = "refused"
    HELD = "held"  # not there, and not to be sent for now; a later run may send it
    UPDATING = "updating"  # there, to be changed
    RETRACTING = "retracting"  # there, to be deleted because a later decision is another one
    WITHDRAWING = "withdrawing"  # there, to be deleted because a person said so
    WITHDRAWN = "withdrawn"  # taken back by a person: not sent again unless a person says so
    GONE = "gone"  # somebody else has removed it there: not sent again


OPEN = (State.PLANNED, State.SENDING, State.UPDATING, State.RETRACTING)  # what a run's batches work at
THERE = (State.SENDING, State.SENT, State.UPDATING, State.RETRACTING, State.WITHDRAWING)  # may stand on the platform
# What we do not stand by (any more), or what somebody else has taken away.
NOT_STATED = (State.REFUSED, State.HELD, State.RETRACTING, State.WITHDRAWING, State.WITHDRAWN, State.GONE)
# From which states a plan may bring a row into a state; a row in any other stays as it is.
_BEFORE = {
    State.PLANNED: (State.PLANNED, State.HELD),
    State.HELD: (State.PLANNED, State.HELD),
    State.SENT: (State.SENT,),
    State.UPDATING: (State.SENT, State.UPDATING),
    State.RETRACTING: (State.SENDING, State.SENT, State.UPDATING, State.RETRACTING),
}
Item = TypeVar("Item")


@dataclass(frozen=True)
class Statement:
    """One row to be. `provider` and `data_provider` are the record's aggregator and institution."""

    record_id: str
    concept_uri: str
    target: str
    body_uri: str
    canonical: str
    score: float
    model_name: str
    model_version: str
    run_id: str
    provider: str = ""
    data_provider: str = ""


# What a row takes over from a newer statement; the row of one that is retracted still says who had made it.
_RESTATED = ("body_uri", "score", "model_name", "model_version", "run_id", "provider", "data_provider")


def plan(engine: Engine, statements: Iterable[Statement], *, now: datetime) -> tuple[int, int]:
    """Add the statements that are not in the ledger yet; returns (new, already known). Idempotent."""
    with engine.connect() as connection:
        before = connection.scalar(select(func.count()).select_from(ledger)) or 0
    total = bring(engine, State.PLANNED, ((statement, "") for statement in statements), now=now)
    with engine.connect() as connection:
        new = (connection.scalar(select(func.count()).select_from(ledger)) or 0) - before
    return new, total - new


def bring(engine: Engine, state: State, statements: Iterable[tuple[Statement, str]], *, now: datetime) -> int:
    """Bring statements, each with its reason, into a state that a plan may give them; returns how many were handed in.

    What is not in the ledger is added; a row in a state from which there is no way stays as it is.
    """
    total = 0
    for chunk in _chunks(statements, CHUNK):
        rows = [
            {
                **statement.__dict__,
                "state": state,
                "attempts": 0,
                "last_error": why[:500],
                "created_at": now,
                "updated_at": now,
            }
            for statement, why in chunk
        ]
        with begin_writing(engine) as connection:
            connection.execute(_upsert(connection, state), rows)
        total += len(rows)
    return total


def assign(
    engine: Engine, keys: Iterable[tuple[str, str]], *, target: str, run_id: str, size: int, lease: timedelta, now: datetime
) -> list[str]:
    """Hand the open statements among `keys` (record, concept) to batches of this run; returns the batches' names.

    A statement that another run holds is left to it until its lease has run out, so that no two workers ever send
    the same one; what the same run held before (it was cut off) is taken over. Both are asked again in the very moment of
    taking: meanwhile another run may have taken it, or a person may have withdrawn it.
    """
    batches: list[str] = []
    ours = ledger.c.batch.startswith(f"{run_id}|", autoescape=True)
    free = or_(ledger.c.batch.is_(None), ours, ledger.c.updated_at <= now - lease)
    for group in _chunks(_takeable(engine, keys, target, run_id, now - lease), size):
        name = f"{run_id}|{now.isoformat()}|{target}|{len(batches)}"
        with begin_writing(engine) as connection:
            for ids in _chunks(group, CHUNK):
                takeable = and_(ledger.c.id.in_(ids), ledger.c.state.in_(OPEN), free)
                connection.execute(update(ledger).where(takeable).values(batch=name, updated_at=now))
        batches.append(name)
    return batches


def open_records(engine: Engine, batch: str) -> list[str]:
    """The records of a batch that still have something to send."""
    query = select(ledger.c.record_id).distinct().where(ledger.c.batch == batch, ledger.c.state.in_(OPEN))
    with engine.connect() as connection:
        return list(connection.scalars(query.order_by(ledger.c.record_id)))


def count(engine: Engine, batch: str, states: Sequence[State]) -> int:
    """How many rows of a batch are in some states."""
    query = select(func.count()).where(ledger.c.batch == batch, ledger.c.state.in_(states))
    with engine.connect() as connection:
        return connection.scalar(query) or 0


def in_states(
    engine: Engine, batch: str, states: Sequence[State], *, after: int = 0, limit: int | None = None
) -> list[dict[str, Any]]:
    """Rows of a batch (ids > `after`) in some states."""
    query = select(ledger).where(ledger.c.batch == batch, ledger.c.state.in_(states), ledger.c.id > after)
    return _rows(engine, query.order_by(ledger.c.id).limit(limit))


def interrupted(engine: Engine, batch: str) -> list[dict[str, Any]]:
    """Rows of a batch that a crash, or a lost reply, left in `sending`."""
    return in_states(engine, batch, (State.SENDING,))


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
    """What became of a row; `created` says whether the platform has stored it just now."""

    id: int
    state: State
    remote_id: str | None = None
    error: str = ""
    created: bool = False


def settle(
    engine: Engine, batch: str, outcomes: Sequence[Settled], *, now: datetime, before: Sequence[State] = (State.SENDING,)
) -> list[Settled]:
    """Write down what became of rows that were in one of the states `before`, in one transaction.

    Rows that are not the batch's any more, or whose state somebody has changed meanwhile, stay as they are; their outcomes
    are returned.
    """
    numbers = [outcome.id for outcome in outcomes]
    mine = and_(ledger.c.id.in_(numbers), ledger.c.batch == batch, ledger.c.state.in_(before))
    with begin_writing(engine) as connection:
        remote_ids = {
            number: remote_id
            for number, remote_id in connection.execute(select(ledger.c.id, ledger.c.remote_id).where(mine).with_for_update())
        }
        values = [
            {
                "number": outcome.id,
                "state": outcome.state,
                "last_error": outcome.error[:500],
                "updated_at": now,
                "batch": batch if outcome.state in (*OPEN, State.WITHDRAWING) else None,  # done: nobody holds it
                "remote_id": None
                if outcome.state in (State.HELD, State.WITHDRAWN, State.GONE)  # where it stands now: nowhere
                else outcome.remote_id or remote_ids[outcome.id],
            }
            for outcome in outcomes
            if outcome.id in remote_ids
        ]
        if values:
            connection.execute(update(ledger).where(ledger.c.id == bindparam("number")), values)
    return [outcome for outcome in outcomes if outcome.id not in remote_ids]


def row(engine: Engine, identity: int) -> dict[str, Any] | None:
    """One row by its number; None when it has been forgotten."""
    return next(iter(_rows(engine, select(ledger).where(ledger.c.id == identity))), None)


def take_back(engine: Engine, identity: int, remote_id: str | None, batch: str, *, now: datetime) -> State | None:
    """Write down that a statement stands there which was taken back while it was sent: it is to be deleted, by this batch.

    Returns its new state; None, and nothing is changed, where nobody has taken it back.
    """
    for state, done in ((State.WITHDRAWING, State.WITHDRAWN), (State.RETRACTING, State.HELD)):
        taken_back = and_(ledger.c.id == identity, ledger.c.state.in_((state, done)))
        values = {"state": state, "remote_id": remote_id, "batch": batch, "updated_at": now}
        with begin_writing(engine) as connection:
            if connection.execute(update(ledger).where(taken_back).values(values)).rowcount:
                return state
    return None


def find(engine: Engine, target: str, record_ids: Sequence[str]) -> list[dict[str, Any]]:
    """All rows of some records (at most a few hundred at a time)."""
    return _rows(
        engine, select(ledger).where(ledger.c.target == target, ledger.c.record_id.in_(record_ids)).order_by(ledger.c.id)
    )


def with_remote(engine: Engine, target: str, *, after: int = 0, limit: int = CHUNK) -> list[dict[str, Any]]:
    """Rows (ids > `after`) that stand somewhere at a target."""
    query = select(ledger).where(ledger.c.target == target, ledger.c.id > after, ledger.c.remote_id.is_not(None))
    return _rows(engine, query.order_by(ledger.c.id).limit(limit))


def of_remote(engine: Engine, target: str, remote_ids: Sequence[str]) -> set[str]:
    """Those of the ids (at most a few hundred) that some row names."""
    query = select(ledger.c.remote_id).where(ledger.c.target == target, ledger.c.remote_id.in_(remote_ids))
    with engine.connect() as connection:
        return set(connection.scalars(query))


def correct(
    engine: Engine, identity: int, state: State, remote_id: str | None, *, before: State, why: str, now: datetime
) -> bool:
    """Make a row say what the platform says, unless somebody else has changed it meanwhile (False)."""
    values = {"state": state, "remote_id": remote_id, "batch": None, "last_error": why[:500], "updated_at": now}
    with begin_writing(engine) as connection:
        mine = and_(ledger.c.id == identity, ledger.c.state == before)
        return connection.execute(update(ledger).where(mine).values(values)).rowcount == 1


# --- Taking back ---


@dataclass(frozen=True)
class Choice:
    """Which statements: those for which everything holds that is said. `provider` is an aggregator or an institution."""

    model_name: str = ""
    model_version: str = ""
    concept_uri: str = ""
    provider: str = ""
    record_id: str = ""
    run_id: str = ""

    def __post_init__(self) -> None:
        if not any(self.__dict__.values()):
            raise CriticalError("say which statements: a model, a concept, a provider, a record or a run")
        if self.model_version and not self.model_name:
            raise CriticalError("a version needs the name of its model")

    @property
    def where(self) -> Any:
        """The condition on the ledger's rows."""
        columns = ("model_name", "model_version", "concept_uri", "record_id", "run_id")
        said = [ledger.c[name] == getattr(self, name) for name in columns if getattr(self, name)]
        if self.provider:
            said.append(or_(ledger.c.provider == self.provider, ledger.c.data_provider == self.provider))
        return and_(*said)

    def __str__(self) -> str:
        return ", ".join(
            f"{name.removesuffix('_uri').replace('_', ' ')} {value}" for name, value in self.__dict__.items() if value
        )


def tally(engine: Engine, choice: Choice) -> list[dict[str, Any]]:
    """How many statements stand how, by target, concept, institution and state."""
    by = (ledger.c.target, ledger.c.concept_uri, ledger.c.data_provider, ledger.c.state)
    query = select(*by, func.count().label("statements")).where(choice.where).group_by(*by).order_by(*by)
    return _rows(engine, query)


def records_of(engine: Engine, choice: Choice) -> list[str]:
    """The records of the choice's statements."""
    with engine.connect() as connection:
        return list(connection.scalars(select(ledger.c.record_id).distinct().where(choice.where)))


def known_records(engine: Engine, records: Iterable[str]) -> set[str]:
    """Those of the records about which there are statements."""
    found: set[str] = set()
    with engine.connect() as connection:
        for chunk in _chunks(records, CHUNK):
            found |= set(connection.scalars(select(ledger.c.record_id).distinct().where(ledger.c.record_id.in_(chunk))))
    return found


def begin_withdrawal(
    engine: Engine, choice: Choice, targets: Sequence[str], *, batch: str, why: str, now: datetime
) -> tuple[int, int]:
    """Take back the choice's statements at these targets: (those that may stand there and are to be deleted, the others).

    Whoever was about to send one of them loses it to `batch`. What was never sent is withdrawn at once.
    """
    ours = and_(choice.where, ledger.c.target.in_(targets))
    values = {"last_error": why[:500], "updated_at": now}
    there = and_(ours, ledger.c.state.in_(THERE))
    waiting = and_(ours, ledger.c.state.in_((State.PLANNED, State.HELD)))
    with begin_writing(engine) as connection:
        # The waiting ones first: what is claimed between the two is found by the second.
        never_sent = connection.execute(
            update(ledger).where(waiting).values(**values, state=State.WITHDRAWN, batch=None)
        ).rowcount
        sent = connection.execute(update(ledger).where(there).values(**values, state=State.WITHDRAWING, batch=batch)).rowcount
    return sent, never_sent


def allow_again(engine: Engine, choice: Choice, *, now: datetime) -> int:
    """Withdrawn statements may be sent again by the next run that makes them; returns how many."""
    withdrawn = and_(choice.where, ledger.c.state == State.WITHDRAWN)
    values = {"state": State.HELD, "last_error": "was withdrawn, may be sent again", "updated_at": now}
    with begin_writing(engine) as connection:
        return connection.execute(update(ledger).where(withdrawn).values(values)).rowcount


def forget(engine: Engine, choice: Choice) -> int:
    """Remove the choice's rows that do not stand on any platform of ours any more; returns how many are left."""
    with begin_writing(engine) as connection:
        connection.execute(delete(ledger).where(choice.where, ledger.c.state.not_in(THERE)))
        return connection.scalar(select(func.count()).select_from(ledger).where(choice.where)) or 0


def _takeable(engine: Engine, keys: Iterable[tuple[str, str]], target: str, run_id: str, expired: datetime) -> Iterator[int]:
    """Ids of open rows that nobody else holds."""
    for chunk in _chunks(keys, CHUNK):
        wanted = set(chunk)
        for row in find(engine, target, sorted({record_id for record_id, _ in chunk})):
            held = row["batch"] is not None and not row["batch"].startswith(f"{run_id}|") and row["updated_at"] > expired
            if row["state"] in OPEN and (row["record_id"], row["concept_uri"]) in wanted and not held:
                yield row["id"]


def _upsert(connection: Connection, state: State) -> Any:
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(ledger)
    new: Mapping[str, Any] = insert.excluded
    changed = {name: new[name] for name in ("state", "last_error")}
    if state == State.HELD:
        changed["batch"] = null()
    if state != State.RETRACTING:
        changed |= {name: new[name] for name in _RESTATED}
    # A lease runs from the last thing that happened to a row; being planned once more is nothing.
    changed["updated_at"] = case((ledger.c.state == state, ledger.c.updated_at), else_=new["updated_at"])
    from_here = or_(*(ledger.c.state == one for one in _BEFORE[state]))  # a list cannot be bound for many rows at once
    return insert.on_conflict_do_update(index_elements=["record_id", "concept_uri", "target"], set_=changed, where=from_here)


def _rows(engine: Engine, query: Any) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
