"""Versions of models: an immutable bundle each in the object store, a row each here."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, RowMapping, func, insert, select, update

from pipeline.database.tables import model_versions
from pipeline.errors import CriticalError

REGISTERED, RELEASED, RETIRED = "registered", "released", "retired"


def next_version(engine: Engine, name: str) -> int:
    """1 for a new name, else the newest version + 1."""
    with engine.connect() as connection:
        newest = connection.scalar(select(func.max(model_versions.c.version)).where(model_versions.c.name == name))
    return (newest or 0) + 1


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
) -> None:
    """Add a version; its bundle must lie in the store already. A version is never changed, only its status."""
    values = {
        "name": name,
        "version": version,
        "status": REGISTERED,
        "bundle_key": bundle_key,
        "sha256": sha256,
        "dataset_id": dataset_id,
        "metrics": dict(metrics),
        "created_at": now,
    }
    with engine.begin() as connection:
        connection.execute(insert(model_versions).values(values))


def release(engine: Engine, name: str, version: int) -> None:
    """Make this version the one that the nightly run uses; CriticalError when there is no such version."""
    if find(engine, name, version) is None:
        raise CriticalError(f"there is no version {version} of model {name!r}; see: enrich model list")
    with engine.begin() as connection:
        of_name = model_versions.c.name == name
        connection.execute(update(model_versions).where(of_name, model_versions.c.status == RELEASED).values(status=RETIRED))
        connection.execute(update(model_versions).where(of_name, model_versions.c.version == version).values(status=RELEASED))


def find(engine: Engine, name: str, version: int | None = None) -> RowMapping | None:
    """A given version, or the released one; None when there is none."""
    query = select(model_versions).where(model_versions.c.name == name)
    wanted = model_versions.c.version == version if version else model_versions.c.status == RELEASED
    with engine.connect() as connection:
        return connection.execute(query.where(wanted)).mappings().first()


def versions(engine: Engine, name: str | None = None) -> list[RowMapping]:
    """All versions, of one name or of all, oldest first."""
    query = select(model_versions).order_by(model_versions.c.name, model_versions.c.version)
    with engine.connect() as connection:
        return list(connection.execute(query.where(model_versions.c.name == name) if name else query).mappings())
