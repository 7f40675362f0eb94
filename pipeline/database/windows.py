"""Harvest windows and how far each has come: pending → running → success | partial | failed.

A row is one listing × window × run. What a row names as its pieces is never removed from the lake while it does.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine, and_, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.database.connection import begin_writing
from pipeline.database.tables import harvest_windows
from pipeline.errors import TransientError


class WindowState(StrEnum):
    """Where a window stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    PARTIAL = "partial"  # stopped cleanly by a limit
    FAILED = "failed"


_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
DONE = (WindowState.SUCCESS, WindowState.PARTIAL)


@dataclass
class Window:
    """A row, as the harvest works with it.

    `pieces` are parts as JSON values (dataset, key, rows, size_bytes, sha256); `previous` holds pieces and counts of the
    listing before, as long as this one is not whole.
    """

    listing: str
    name: str
    run_id: str
    source: str
    start: datetime | None
    end: datetime | None
    run_attempt: int
    state: str = WindowState.PENDING
    attempts: int = 0
    owner: str = ""
    generation: int = 0
    cursor: str | None = None
    walk: int = 1
    pieces: list[dict[str, Any]] = field(default_factory=list)
    previous: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    requests: int = 0
    last_error: str = ""
    updated_at: datetime | None = None
    finished_at: datetime | None = None


def plan(engine: Engine, windows: Iterable[Window], *, now: datetime) -> None:
    """Add windows that are not known yet, as pending."""
    rows = [_values(window) | {"created_at": now, "updated_at": now} for window in windows]
    dialect: Any = postgresql if engine.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(harvest_windows).on_conflict_do_nothing(index_elements=["listing", "window", "run_id"])
    with begin_writing(engine) as connection:
        for at in range(0, len(rows), 500):
            connection.execute(statement, rows[at : at + 500])


def take(engine: Engine, window: Window, owner: str, *, now: datetime) -> None:
    """Begin to work at a window: from now on only this owner may write it down."""
    window.owner = owner
    with begin_writing(engine) as connection:
        connection.execute(update(harvest_windows).where(_row(window)).values(**_values(window), updated_at=now))
    window.updated_at = now


def save(engine: Engine, window: Window, *, now: datetime) -> None:
    """Write a window down as it stands: this is its checkpoint.

    Raises TransientError when another process has begun to work at it meanwhile: that one goes on.
    """
    mine = and_(_row(window), harvest_windows.c.owner == window.owner)
    with begin_writing(engine) as connection:
        done = connection.execute(update(harvest_windows).where(mine).values(**_values(window), updated_at=now))
    if done.rowcount != 1:
        raise TransientError(f"window {window.name} of run {window.run_id}: another process has taken it over")
    window.updated_at = now


def _row(window: Window) -> Any:
    table = harvest_windows.c
    return and_(table.listing == window.listing, table.window == window.name, table.run_id == window.run_id)


def of_run(engine: Engine, listing: str, run_id: str, *, names: Sequence[str] | None = None) -> list[Window]:
    """The windows of one run, in order of time."""
    table = harvest_windows
    query = select(table).where(table.c.listing == listing, table.c.run_id == run_id)
    return _read(engine, query if names is None else query.where(table.c.window.in_(names)))


def others(engine: Engine, listing: str, name: str, run_id: str) -> list[Window]:
    """What other runs have done of a window, the newest first: success and partial ones."""
    table = harvest_windows
    query = select(table).where(table.c.listing == listing, table.c.window == name, table.c.state.in_(DONE))
    found = _read(engine, query.where(table.c.run_id != run_id))
    return sorted(found, key=lambda window: (window.finished_at or _NEVER, window.updated_at or _NEVER), reverse=True)


def latest(engine: Engine, listing: str, *, before: datetime) -> list[Window]:
    """The newest row of each window of time that ends before a moment, oldest window first."""
    table = harvest_windows
    newest = select(func.max(table.c.id)).where(table.c.listing == listing).group_by(table.c.window)
    query = select(table).where(table.c.end_at <= before, table.c.id.in_(newest))
    return _read(engine, query)


def of_source(engine: Engine, source: str) -> list[Window]:
    """All rows of a source, oldest window first, for people to look at."""
    return _read(engine, select(harvest_windows).where(harvest_windows.c.source == source))


def keys_in_use(engine: Engine, source: str) -> set[str]:
    """The keys of all parts that some row of a source names."""
    rows = of_source(engine, source)
    return {piece["key"] for row in rows for piece in (*row.pieces, *row.previous.get("pieces", ()))}


def revise(engine: Engine, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change what rows say they have: `change` is given {pieces, counts} of a row's listing, and of the one before."""
    with begin_writing(engine) as connection:
        query = select(harvest_windows.c.id, harvest_windows.c.pieces, harvest_windows.c.counts, harvest_windows.c.previous)
        for row in connection.execute(query).mappings().all():
            now = change({"pieces": row["pieces"], "counts": row["counts"]})
            values = now | {"previous": change(row["previous"]) if row["previous"] else row["previous"]}
            if any(values[name] != row[name] for name in values):
                connection.execute(update(harvest_windows).where(harvest_windows.c.id == row["id"]).values(values))


def _read(engine: Engine, query: Any) -> list[Window]:
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(harvest_windows.c.start_at, harvest_windows.c.id)).mappings().all()
    renamed = {"window": "name", "start_at": "start", "end_at": "end"}
    fields = Window.__dataclass_fields__
    return [
        Window(**{renamed.get(name, name): value for name, value in row.items() if renamed.get(name, name) in fields})
        for row in rows
    ]


def _values(window: Window) -> dict[str, Any]:
    values = {name: value for name, value in window.__dict__.items() if name not in ("name", "start", "end", "updated_at")}
    renamed = {"window": window.name, "start_at": window.start, "end_at": window.end}
    return values | renamed | {"last_error": window.last_error[:1000]}
