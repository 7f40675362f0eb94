"""Harvest windows and how far each has come: pending → running → success | partial | failed.

A row is one listing × window × run. A window that another run has finished is done; one that another run left partial
goes on where that run stopped; whatever else another run has left is begun anew, for it may never have been published.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine, and_, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.database.connection import begin_writing
from pipeline.database.tables import harvest_windows


class WindowState(StrEnum):
    """Where a window stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    PARTIAL = "partial"  # stopped cleanly by a limit
    FAILED = "failed"


DONE = (WindowState.SUCCESS, WindowState.PARTIAL)


@dataclass
class Window:
    """A row, as the harvest works with it. `pieces` and `previous` are parts as JSON values (dataset, key, run, rows …)."""

    listing: str
    name: str
    run_id: str
    source: str
    start: datetime | None
    end: datetime | None
    run_attempt: int
    state: str = WindowState.PENDING
    attempts: int = 0
    cursor: str | None = None
    walk: int = 1
    pieces: list[dict[str, Any]] = field(default_factory=list)
    previous: list[dict[str, Any]] = field(default_factory=list)
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


def save(engine: Engine, window: Window, *, now: datetime) -> None:
    """Write a window down as it stands: this is its checkpoint."""
    table = harvest_windows
    mine = and_(table.c.listing == window.listing, table.c.window == window.name, table.c.run_id == window.run_id)
    with begin_writing(engine) as connection:
        connection.execute(update(table).where(mine).values(**_values(window), updated_at=now))
    window.updated_at = now


def of_run(engine: Engine, listing: str, run_id: str, *, names: Sequence[str] | None = None) -> list[Window]:
    """The windows of one run, in order of time."""
    table = harvest_windows
    query = select(table).where(table.c.listing == listing, table.c.run_id == run_id)
    return _read(engine, query if names is None else query.where(table.c.window.in_(names)))


def finished(engine: Engine, listing: str, name: str) -> list[Window]:
    """What runs have done of a window, the newest first: success and partial ones."""
    table = harvest_windows
    query = select(table).where(table.c.listing == listing, table.c.window == name, table.c.state.in_(DONE))
    return sorted(_read(engine, query), key=lambda window: window.finished_at or window.updated_at, reverse=True)  # type: ignore[arg-type,return-value]


def latest(engine: Engine, listing: str, *, before: datetime) -> list[Window]:
    """The newest row of each window of time that ends before a moment, oldest window first."""
    table = harvest_windows
    newest = select(func.max(table.c.id)).where(table.c.listing == listing).group_by(table.c.window)
    query = select(table).where(table.c.end_at <= before, table.c.id.in_(newest))
    by_name = {window.name: window for window in sorted(_read(engine, query), key=lambda window: window.updated_at or before)}
    return sorted(by_name.values(), key=lambda window: (window.start or before, window.name))


def of_source(engine: Engine, source: str) -> list[Window]:
    """All rows of a source, oldest window first, for people to look at."""
    return _read(engine, select(harvest_windows).where(harvest_windows.c.source == source))


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
