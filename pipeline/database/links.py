"""Image addresses and how they stand: ok, moved, forbidden, gone, placeholder, unusable, unreachable.

A row is one address of one record of one lake. What it says of the version that we have makes the next visit a
conditional request, where its picture lies makes the same picture be stored once, and when it is due makes the re-check's
plan.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine, Select, and_, bindparam, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.database.connection import begin_writing
from pipeline.database.tables import image_links
from pipeline.domain.outcome import Outcome, Reason

_AT_ONCE = 500


class LinkState(StrEnum):
    """How an address stands."""

    OK = "ok"
    MOVED = "moved"  # permanent redirects lead to the picture
    FORBIDDEN = "forbidden"  # 401, 403, 451, or the robots rules
    GONE = "gone"  # 404, 410
    PLACEHOLDER = "placeholder"  # "picture not available"
    UNUSABLE = "unusable"  # something is there, but no picture that can be used
    UNREACHABLE = "unreachable"  # passing trouble so far


_FORBIDDEN_STATUS = (401, 403, 451)
_PASSING = (Reason.HTTP_5XX, Reason.TIMEOUT, Reason.CONNECTION, Reason.BUDGET)
# Days until the next visit, by how often in a row it has been the same: less and less often.
RECHECK_DAYS = {
    LinkState.OK: (7, 14, 30, 60, 120, 180),
    LinkState.MOVED: (7, 30, 90),
    LinkState.FORBIDDEN: (30, 90, 180),
    LinkState.GONE: (3, 14, 60, 180),
    LinkState.PLACEHOLDER: (30, 90, 180),
    LinkState.UNUSABLE: (30, 90, 180),
    LinkState.UNREACHABLE: (1, 3, 7, 14, 30),
}


@dataclass(frozen=True)
class Link:
    """A row of `image_links`. `place` has shard, offset and size of the derivative (and of the original, if it is kept)."""

    id: str
    lake: str
    record_id: str
    url: str
    visited: str
    fetched_as: str
    host: str
    outcome: str
    reason: str | None
    detail: str
    rules: str
    checked_at: datetime
    status: int | None = None
    final_url: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    image_id: str | None = None
    mime: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    size_bytes: int | None = None
    perceptual_hash: str | None = None
    tone: str | None = None
    place: Mapping[str, Any] | None = None
    state: str = ""
    checks: int = 0
    next_check_at: datetime | None = None


def lake_id(root: str) -> str:
    """A lake's short name in the table."""
    return hashlib.sha256(root.encode()).hexdigest()[:16]


def link_id(lake: str, record_id: str, url: str) -> str:
    """The key of an address of a record: several records may name the same one."""
    return hashlib.sha256(f"{lake}|{record_id}|{url}".encode()).hexdigest()


def state_of(outcome: str, reason: str | None, status: int | None, *, moved: bool) -> LinkState:
    """How an address stands after a visit."""
    if outcome == Outcome.OK:
        return LinkState.MOVED if moved else LinkState.OK
    if reason == Reason.PLACEHOLDER:
        return LinkState.PLACEHOLDER
    if reason == Reason.GONE:
        return LinkState.GONE
    if reason == Reason.ROBOTS_DISALLOWED or status in _FORBIDDEN_STATUS:
        return LinkState.FORBIDDEN
    return LinkState.UNREACHABLE if reason in _PASSING else LinkState.UNUSABLE


def known(engine: Engine, ids: Sequence[str]) -> dict[str, Link]:
    """The rows of these keys."""
    found: dict[str, Link] = {}
    for group in _groups(ids):
        found |= {link.id: link for link in _read(engine, select(image_links).where(image_links.c.id.in_(group)))}
    return found


def places(engine: Engine, lake: str, image_ids: Collection[str], rules: str) -> dict[str, Mapping[str, Any]]:
    """Where pictures lie that are stored already, as they are kept under these rules."""
    table, found = image_links.c, dict[str, Mapping[str, Any]]()
    for group in _groups(sorted(image_ids)):
        query = select(table.image_id, table.place).where(
            table.lake == lake, table.image_id.in_(group), table.rules == rules, table.outcome == Outcome.OK
        )
        with engine.connect() as connection:
            found |= {row.image_id: row.place for row in connection.execute(query.order_by(table.id)) if row.place}
    return found


def save(engine: Engine, links: Iterable[Link]) -> None:
    """Write down how addresses stand after a visit; counts how often in a row, and when they are due again."""
    rows = {link.id: link for link in links}
    before = known(engine, list(rows))
    values = [_due(link, before.get(link.id)) for link in rows.values()]
    dialect: Any = postgresql if engine.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(image_links)
    changed = {column.name: insert.excluded[column.name] for column in image_links.c if column.name != "id"}
    statement = insert.on_conflict_do_update(index_elements=["id"], set_=changed)
    with begin_writing(engine) as connection:
        for group in _groups(values):
            connection.execute(statement, list(group))


def _due(link: Link, before: Link | None) -> dict[str, Any]:
    """The row, with its count of checks and its next one. The same visit written down twice counts once."""
    again = before is not None and before.state == link.state
    if before is not None and again:
        checks = before.checks + (before.checked_at != link.checked_at)
    else:
        checks = 1
    days = RECHECK_DAYS[LinkState(link.state)]
    due = link.checked_at + timedelta(days=days[min(checks, len(days)) - 1])
    return {field.name: getattr(link, field.name) for field in fields(link)} | {"checks": checks, "next_check_at": due}


def due(engine: Engine, lake: str, *, now: datetime, most: int) -> Iterator[tuple[str, str]]:
    """Key and state of addresses that are due for a re-check, those that have waited longest first."""
    table = image_links.c
    query = (
        select(table.id, table.state)
        .where(table.lake == lake, table.next_check_at <= now)
        .order_by(table.next_check_at, table.id)
    )
    with engine.connect() as connection:
        yield from ((row.id, row.state) for row in connection.execute(query.limit(most)))


def states(engine: Engine, lake: str) -> list[tuple[str, str, int]]:
    """How many addresses stand how, by host: (host, state, addresses), the hosts with most first."""
    table = image_links.c
    query = select(table.host, table.state, func.count()).where(table.lake == lake).group_by(table.host, table.state)
    with engine.connect() as connection:
        rows = [(host, state, count) for host, state, count in connection.execute(query)]
    return sorted(rows, key=lambda row: (-row[2], row[0], row[1]))


def shards_in_use(engine: Engine, lake: str, folder: str) -> set[str]:
    """The keys of shards below a folder that some address's picture lies in."""
    table, used = image_links.c, set()
    for name in ("shard_uri", "original_uri"):
        column = table.place[name].as_string()
        query = select(column).where(table.lake == lake, column.startswith(folder, autoescape=True)).distinct()
        with engine.connect() as connection:
            used |= {key for key in connection.execute(query).scalars() if key}
    return used


def of_picture(engine: Engine, lake: str, identity: str) -> Link | None:
    """The newest address with a stored picture of this image id or record id."""
    table = image_links.c
    query = select(image_links).where(
        table.lake == lake, table.outcome == Outcome.OK, or_(table.image_id == identity, table.record_id == identity)
    )
    found = list(_read(engine, query.order_by(table.checked_at.desc(), table.id).limit(1)))
    return found[0] if found else None


def of_records(engine: Engine, lake: str, record_ids: Iterable[str]) -> Iterator[Link]:
    """All addresses of some records."""
    for group in _groups(sorted(record_ids)):
        yield from _read(engine, select(image_links).where(image_links.c.lake == lake, image_links.c.record_id.in_(group)))


def shared(engine: Engine, lake: str, image_ids: Iterable[str], record_ids: Collection[str]) -> set[str]:
    """Those of the pictures that other records have, too."""
    table, found = image_links.c, set[str]()
    for group in _groups(sorted(image_ids)):
        query = select(table.image_id, table.record_id).where(table.lake == lake, table.image_id.in_(group))
        with engine.connect() as connection:
            found |= {row.image_id for row in connection.execute(query) if row.record_id not in record_ids}
    return found


def forget(engine: Engine, lake: str, record_ids: Iterable[str]) -> None:
    """Remove the rows of some records."""
    with begin_writing(engine) as connection:
        for group in _groups(sorted(record_ids)):
            mine = and_(image_links.c.lake == lake, image_links.c.record_id.in_(group))
            connection.execute(delete(image_links).where(mine))


def placeholders(engine: Engine, lake: str) -> set[tuple[str, str, str]]:
    """What is known to stand for "no picture": (host, perceptual hash, tone)."""
    table = image_links.c
    query = select(table.host, table.perceptual_hash, table.tone).where(
        table.lake == lake, table.reason == Reason.PLACEHOLDER, table.perceptual_hash.is_not(None)
    )
    with engine.connect() as connection:
        return {(row.host, row.perceptual_hash, row.tone or "") for row in connection.execute(query.distinct())}


def find_placeholders(engine: Engine, lake: str, hosts: Collection[str], *, fewest: int) -> dict[str, tuple[str, int]]:
    """Pictures that look the same on so many records of one host, and become placeholders: url → (hash, records).

    Hash and tone must both be the same: pictures of coins on white paper share hashes, but not greys as well.
    """
    table = image_links.c
    found: dict[str, tuple[str, int]] = {}
    for group in _groups(sorted(hosts)):
        alike = (
            select(table.host, table.perceptual_hash, table.tone, func.count(func.distinct(table.record_id)).label("n"))
            .where(table.lake == lake, table.host.in_(group), _usable_or_placeholder(), table.perceptual_hash.is_not(None))
            .group_by(table.host, table.perceptual_hash, table.tone)
            .having(func.count(func.distinct(table.record_id)) >= fewest)
        )
        with begin_writing(engine) as connection:
            for row in connection.execute(alike).all():
                same = and_(
                    table.lake == lake,
                    table.host == row.host,
                    table.perceptual_hash == row.perceptual_hash,
                    table.tone == row.tone,
                    _usable_or_placeholder(),
                )
                rows = connection.execute(select(table.id, table.url, table.checked_at, table.reason).where(same)).all()
                found |= {one.url: (row.perceptual_hash, row.n) for one in rows}
                new = [
                    {"key": one.id, "due": one.checked_at + timedelta(days=RECHECK_DAYS[LinkState.PLACEHOLDER][0])}
                    for one in rows
                    if one.reason != Reason.PLACEHOLDER
                ]
                verdict = {"outcome": Outcome.REJECTED, "reason": Reason.PLACEHOLDER, "state": LinkState.PLACEHOLDER}
                change = update(image_links).where(table.id == bindparam("key"))
                if new:
                    connection.execute(change.values(**verdict, checks=1, next_check_at=bindparam("due")), new)
    return found


def _usable_or_placeholder() -> Any:
    """Those that were found before count again: publishing a run twice finds the same."""
    return or_(image_links.c.outcome == Outcome.OK, image_links.c.reason == Reason.PLACEHOLDER)


def _read(engine: Engine, query: "Select[Any]") -> Iterator[Link]:
    names = [field.name for field in fields(Link)]
    with engine.connect() as connection:
        for row in connection.execute(query).mappings():
            yield Link(**{name: row[name] for name in names})


def _groups(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]
