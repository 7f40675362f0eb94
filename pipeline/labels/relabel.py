"""A run over pictures that lie in the lake and that the model in force has not looked at: nothing is harvested or fetched.

A new version of a model labels what its runs bring, and no more. This is how what is there already gets its labels.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.database import connect
from pipeline.datasets.lake import Lake, Part, open_lake
from pipeline.datasets.run import Run, named_run_id
from pipeline.datasets.schemas import IMAGES, RECORDS
from pipeline.datasets.stage import Counts, Result, outcomes_dataset, publish_stage
from pipeline.domain.outcome import Outcome
from pipeline.domain.scope import Scope, Selection
from pipeline.index.near_duplicates import publish_near_duplicates
from pipeline.labels.predictions import Keys, keys_of_images, keys_of_records, known_keys
from pipeline.model.registry import bundle_in_force
from pipeline.settings import Settings

SOURCE = "lake"


def start_relabel(*, run_id: str, scope: Scope, budget: int, created_at: datetime, settings: Settings) -> str:
    """Choose at most `budget` records with a picture that the model in force has not seen, and return the run's key.

    A window is about when their runs were planned; those of the oldest runs come first. Of a record that several runs have
    the newest counts. A run that is started again under its name keeps what was chosen. Memory: twelve bytes a record and
    eight a picture of the lake.
    """
    lake = open_lake(settings)
    selection = Selection("query", "*:*")
    wanted = Run(named_run_id(run_id), SOURCE, selection, scope, created_at.astimezone(UTC))
    run = lake.run(lake.save_run(wanted).key)
    if lake.store.exists(f"{run.folder}/images.json"):  # the last that is written
        return run.key
    bundle = bundle_in_force(connect(settings), lake.store, settings.model_name)
    seen = known_keys(lake, run, bundle)
    parts: dict[str, list[Part]] = {"records": [], "images": []}
    records = images = 0
    for other, known in _newest_last(lake):
        if records == budget:
            break
        if scope.start and scope.end and not scope.start <= other.created_at < scope.end:
            continue
        chosen = _chosen(lake, other, known, seen, scope, budget - records)
        if not chosen:
            continue
        for name, schema in (("records", RECORDS), ("images", IMAGES)):
            tables = _rows_of(lake, run, other, name, chosen)
            parts[name].append(lake.write_part(run, name, len(parts[name]), tables, schema))
        records, images = records + len(chosen), images + parts["images"][-1].rows
    near = publish_near_duplicates(lake, run, parts["images"], bits=settings.near_duplicate_bits)
    _publish(lake, run, parts, records, images, near)
    return run.key


def _publish(lake: Lake, run: Run, parts: dict[str, list[Part]], records: int, images: int, near: int) -> None:
    """The reports of the two stages that this run has no need of."""
    harvested = Counts(records, records)
    harvested.extra["total_results"] = records
    publish_stage(
        lake,
        run,
        "harvest",
        Result(harvested, {"records": parts["records"]}),
        ["records", outcomes_dataset("harvest")],
        checks={},
        harvest={"state": "complete", "windows": {}, "promised": records},
        attempt=run.attempt,
    )
    fetched = Counts(images, images)
    fetched.extra["records"] = records
    publish_stage(
        lake,
        run,
        "images",
        Result(fetched, {"images": parts["images"]}),
        ["images", outcomes_dataset("images")],
        checks={},
        hosts={},
        providers={},
        placeholders=[],
        near_duplicates=near,
    )


def _newest_last(lake: Lake) -> Iterator[tuple[Run, Keys]]:
    """The runs with pictures, oldest first, each with the sorted keys of the records that no later run has."""
    manifests = [lake.read_json(key) for key in lake.store.list("images/") if key.endswith("/_manifest.json")]
    manifests = [one for one in manifests if one["source"] != SOURCE]
    later, found = np.zeros(0, np.uint64), list[tuple[Run, Keys]]()
    for manifest in sorted(manifests, key=lambda one: (one["created_at"], one["run_id"]), reverse=True):
        run = lake.run(f"runs/run={manifest['run_id']}/run.json")
        own = [keys_of_records(batch["record_id"].to_pylist()) for batch in lake.rows(run, "images", ("record_id",))]
        keys = np.setdiff1d(np.concatenate(own) if own else later[:0], later)
        later = np.union1d(later, keys)
        found.append((run, keys))
    yield from reversed(found)


def _chosen(lake: Lake, other: Run, known: Keys, seen: Keys, scope: Scope, most: int) -> list[str]:
    """Record ids with a usable picture that was not seen, in the order of the run."""
    found: dict[str, None] = {}
    asked = pa.array(scope.ids, pa.string())
    for batch in lake.rows(other, "images", ("record_id", "image_id", "outcome")):
        usable = batch.filter(pc.equal(batch["outcome"], str(Outcome.OK)))
        if scope.ids:
            usable = usable.filter(pc.is_in(usable["record_id"], value_set=asked))
        new = ~np.isin(keys_of_images(usable["image_id"].to_pylist()), seen) & np.isin(
            keys_of_records(usable["record_id"].to_pylist()), known
        )
        for record_id in usable["record_id"].filter(pa.array(new)).to_pylist():
            if len(found) == most:
                return list(found)
            found.setdefault(record_id)
    return list(found)[:most]


def _rows_of(lake: Lake, run: Run, other: Run, dataset: str, records: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of some records of another run, as rows of this one; of images those that are usable."""
    wanted = pa.array(records, pa.string())
    for batch in lake.rows(other, dataset):
        rows = batch.filter(pc.is_in(batch["record_id"], value_set=wanted))
        if dataset == "images":
            rows = rows.filter(pc.equal(rows["outcome"], str(Outcome.OK)))
        table = pa.Table.from_batches([rows])
        for name, value in run.columns().items():
            place = table.schema.get_field_index(name)
            field = table.schema.field(place)
            table = table.set_column(place, field, pa.repeat(pa.scalar(value, field.type), table.num_rows))
        yield table
