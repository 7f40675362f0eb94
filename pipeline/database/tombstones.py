"""What was taken down at somebody's wish: records and whole providers of which nothing is harvested or published again."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, RowMapping, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.database.connection import begin_writing
from pipeline.database.tables import tombstones

RECORD, PROVIDER = "record", "provider"


@dataclass(frozen=True)
class Tombstones:
    """All of them, for quick asking."""

    records: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()

    def holds(self, record_id: str, *providers: str) -> bool:
        """Was this record, or all of one of these providers, taken down?"""
        return record_id in self.records or not self.providers.isdisjoint(providers)


def put(engine: Engine, kind: str, name: str, *, why: str, now: datetime) -> None:
    """Set a tombstone for a record or a provider; one that stands already stays as it is."""
    dialect: Any = postgresql if engine.dialect.name == "postgresql" else sqlite
    values = {"kind": kind, "name": name, "why": why, "created_at": now}
    with begin_writing(engine) as connection:
        statement = dialect.insert(tombstones).values(values)
        connection.execute(statement.on_conflict_do_nothing(index_elements=["kind", "name"]))


def put_provider(engine: Engine, name: str, record_ids: Iterable[str], *, why: str, now: datetime) -> None:
    """Set a tombstone for a provider, and one for each of its records that we know."""
    put(engine, PROVIDER, name, why=why, now=now)
    for record_id in record_ids:
        put(engine, RECORD, record_id, why=_of(name), now=now)


def lift(engine: Engine, kind: str, name: str) -> bool:
    """Take a tombstone away, a provider's with those of its records; False when there is none."""
    with begin_writing(engine) as connection:
        if kind == PROVIDER:
            connection.execute(delete(tombstones).where(tombstones.c.kind == RECORD, tombstones.c.why == _of(name)))
        mine = (tombstones.c.kind == kind) & (tombstones.c.name == name)
        return connection.execute(delete(tombstones).where(mine)).rowcount == 1


def _of(provider: str) -> str:
    return f"of {provider}"


def listed(engine: Engine) -> list[RowMapping]:
    """All rows, oldest first."""
    with engine.connect() as connection:
        return list(connection.execute(select(tombstones).order_by(tombstones.c.id)).mappings())


def standing(engine: Engine) -> Tombstones:
    """All tombstones."""
    names = {RECORD: set[str](), PROVIDER: set[str]()}
    for row in listed(engine):
        names[row["kind"]].add(row["name"])
    return Tombstones(frozenset(names[RECORD]), frozenset(names[PROVIDER]))
