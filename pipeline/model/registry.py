"""Which model is in force: the released version of a name, its bundle, its network."""

from sqlalchemy import Engine

from pipeline.database import models
from pipeline.errors import CriticalError
from pipeline.model.bundle import Bundle, load_bundle
from pipeline.storage import ObjectStore


def bundle_in_force(engine: Engine, store: ObjectStore, name: str, version: int | None = None) -> Bundle:
    """The bundle of a version, or of the released one; CriticalError that says how to get one when there is none."""
    row = models.find(engine, name, version)
    if row is None:
        wanted = f"version {version} of model {name!r}" if version else f"released version of model {name!r}"
        raise CriticalError(f"there is no {wanted}; train one with: enrich train --collection DIR --name {name}")
    return load_bundle(store, row["bundle_key"])
