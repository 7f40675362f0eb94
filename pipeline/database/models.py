"""Versions of models: an immutable bundle each in the object store, a row each here."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, RowMapping, func, insert, null, select, update
from sqlalchemy.exc import IntegrityError

from pipeline.database.tables import model_versions
from pipeline.errors import CriticalError

_TRIES = 100  # of which each fails only because somebody else has a number
UNFINISHED, REGISTERED, RELEASED, RETIRED = "unfinished", "registered", "released", "retired"


def reserve(engine: Engine, name: str, now: datetime) -> int:
    """A version's number, 1 for a new name, else the newest + 1: nobody else gets it, whatever becomes of it."""
    nothing = {"bundle_key": "", "sha256": "", "dataset_id": "", "metrics": {}}
    for _ in range(_TRIES):
        with engine.connect() as connection:
            newest = connection.scalar(select(func.max(model_versions.c.version)).where(model_versions.c.name == name))
        version = (newest or 0) + 1
        try:
            with engine.begin() as connection:
                values = {"name": name, "version": version, "status": UNFINISHED, "created_at": now, **nothing}
                connection.execute(insert(model_versions).values(values))
        except IntegrityError:  # somebody was quicker
            continue
        return version
    raise CriticalError(f"no number could be had for a version of {name!r} in {_TRIES} tries; start again")


def register(
    engine: Engine,
    *,
    name: str,
    version: int,
    bundle_key: str,
    sha256: str,
    dataset_id: str,
    metrics: Mapping[str, Any],
    now: datetime,
    gate: Mapping[str, Any] | None = None,
) -> None:
    """Make a number a version, usually one that was reserved; its bundle must lie in the store already. From here only its
    status changes. Raises CriticalError when the version is registered already.
    """
    values = {
        "name": name,
        "version": version,
        "status": REGISTERED,
        "bundle_key": bundle_key,
        "sha256": sha256,
        "dataset_id": dataset_id,
        "metrics": dict(metrics),
        "created_at": now,
        "gate": dict(gate) if gate is not None else None,
    }
    of_version = (model_versions.c.name == name) & (model_versions.c.version == version)
    with engine.begin() as connection:
        unfinished = of_version & (model_versions.c.status == UNFINISHED)
        if connection.execute(update(model_versions).where(unfinished).values(values)).rowcount:
            return
        if connection.scalar(select(model_versions.c.version).where(of_version)):
            raise CriticalError(f"version {version} of model {name!r} is registered already; a version never changes")
        connection.execute(insert(model_versions).values(values))


def release(engine: Engine, name: str, version: int, *, override: Mapping[str, str] | None = None) -> None:
    """Make this version the one that the nightly run uses.

    Raises CriticalError when there is no such version, or when the release gate refused it: unless it has been in force
    before, or `override` (who, why) overrules the gate, which is kept with the version.
    """
    row = find(engine, name, version)
    if row is None:
        raise CriticalError(f"there is no version {version} of model {name!r}; see: enrich model list")
    now, gate = datetime.now(UTC), row["gate"]
    if override is not None:
        gate = {**(gate or {"allowed": True, "reasons": []}), "override": {**override, "at": now.isoformat()}}
    elif gate and not gate["allowed"] and row["released_at"] is None:
        raise CriticalError(refusal(name, version, gate["reasons"]))
    with engine.begin() as connection:
        of_name = model_versions.c.name == name
        connection.execute(update(model_versions).where(of_name, model_versions.c.status == RELEASED).values(status=RETIRED))
        values = {"status": RELEASED, "released_at": now, "gate": gate if gate is not None else null()}
        connection.execute(update(model_versions).where(of_name, model_versions.c.version == version).values(values))


def refusal(name: str, version: int, reasons: Sequence[str]) -> str:
    """The gate's refusal in words, and what can be done."""
    listed = "\n".join(f"  - {reason}" for reason in reasons)
    return (
        f"version {version} of model {name!r} is registered but not released:\n{listed}\n"
        f"What is in force stays in force. To release it all the same: enrich model release {name} {version} --override 'WHY'"
    )


def former(engine: Engine, name: str) -> RowMapping:
    """The version that was in force before the present one; CriticalError when there was none."""
    retired = [row for row in versions(engine, name) if row["status"] == RETIRED]
    if not retired:
        raise CriticalError(f"no version of model {name!r} was in force before; see: enrich model list")
    return max(retired, key=lambda row: (row["released_at"] is not None, row["released_at"], row["version"]))


def find(engine: Engine, name: str, version: int | None = None) -> RowMapping | None:
    """A given version, or the released one; None when there is none."""
    query = select(model_versions).where(model_versions.c.name == name, model_versions.c.status != UNFINISHED)
    wanted = model_versions.c.version == version if version else model_versions.c.status == RELEASED
    with engine.connect() as connection:
        return connection.execute(query.where(wanted)).mappings().first()


def versions(engine: Engine, name: str | None = None) -> list[RowMapping]:
    """All versions, of one name or of all, oldest first; a number that was only reserved is none."""
    finished = select(model_versions).where(model_versions.c.status != UNFINISHED)
    query = finished.order_by(model_versions.c.name, model_versions.c.version)
    with engine.connect() as connection:
        return list(connection.execute(query.where(model_versions.c.name == name) if name else query).mappings())
