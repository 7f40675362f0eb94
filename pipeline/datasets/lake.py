"""The lake: parts are written under a run, checked, and become visible through the run's manifest."""

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

from pipeline.datasets.run import Run
from pipeline.datasets.schemas import SCHEMAS
from pipeline.errors import CriticalError, PoisonedResultError
from pipeline.settings import Settings
from pipeline.storage import ObjectStore, open_store, room_for

READ_ROWS = 16_384


@dataclass(frozen=True)
class Part:
    """One immutable Parquet file."""

    key: str
    rows: int
    size_bytes: int
    sha256: str


class Lake:
    """Datasets of all runs under one root (`file://…` or `s3://…`)."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def save_run(self, run: Run, *, is_done: Callable[[Run], bool] = lambda run: False) -> Run:
        """Write the run's manifest and return the run in force.

        A run that is started again under the same id keeps its planned time, so that it writes the same bytes. If it
        was cut off, it goes on where it was; if it had finished, it is a new attempt. A run that is to be done `again`
        is one too, unless it is the same wish once more for an attempt that `is_done` says was cut off.
        """
        if self.store.exists(run.key):
            known = self.run(run.key)
            fresh = self.store.exists(known.finished_key) or (run.again and (not known.again or is_done(known)))
            run = replace(
                run, attempt=known.attempt + fresh, starts=known.starts + 1, again=run.again or (known.again and not fresh)
            )
            if known.selection == run.selection and known.scope == run.scope:
                run = replace(run, created_at=known.created_at)
        self.store.put_bytes(run.key, run.to_json())
        return run

    def run(self, run_key: str) -> Run:
        """The run behind a key; CriticalError when there is none."""
        try:
            return Run.from_json(self.store.get_bytes(run_key))
        except FileNotFoundError as error:
            raise CriticalError(f"{self.store.address(run_key)}: no such run") from error

    def write_part(
        self,
        run: Run,
        dataset: str,
        number: int,
        rows: Iterable[pa.Table | pa.RecordBatch],
        schema: pa.Schema,
        *,
        piece: str = "",
    ) -> Part:
        """Write one part, batch by batch; readers see it only once `publish` lists it.

        `piece` tells apart the parts of a batch that writes several. Raises PoisonedResultError when rows do not fit the
        schema or leave a required column empty, CriticalError when there is no room.
        """
        key = f"{run.dataset_folder(dataset)}/part-{run.part_number(number):05d}{piece and f'-{piece}'}.parquet"
        count = 0
        with tempfile.TemporaryDirectory(prefix="enrich-") as folder, room_for(Path(folder)):
            path = Path(folder) / "part.parquet"
            with parquet_writer(path, schema) as writer:
                for batch in rows:
                    table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
                    _check(dataset, table, schema)
                    writer.write_table(table)
                    count += table.num_rows
            with path.open("rb") as handle:
                digest = hashlib.file_digest(handle, "sha256").hexdigest()
            part = Part(key=key, rows=count, size_bytes=path.stat().st_size, sha256=digest)
            self.store.put_file(key, path)
        return part

    def publish(self, run: Run, dataset: str, parts: Sequence[Part], *, keep: Collection[str] = ()) -> None:
        """Make exactly these parts visible, at once; what an earlier try of the run left besides is removed, but for `keep`.

        A part may lie in the folder of another run that has written it for the same records.
        """
        folder = run.dataset_folder(dataset)
        manifest = {
            "dataset": dataset,
            "run_id": run.run_id,
            "source": run.source,
            "created_at": run.created_at.isoformat(),
            "rows": sum(part.rows for part in parts),
            "parts": [asdict(part) for part in sorted(parts, key=lambda part: part.key)],
        }
        self.store.put_bytes(f"{folder}/_manifest.json", json.dumps(manifest, indent=1).encode())
        listed = {part.key for part in parts}
        for key in list(self.store.list(f"{folder}/")):
            if key not in listed and key not in keep and not key.endswith("/_manifest.json"):
                self.store.delete(key)

    def is_published(self, run: Run, dataset: str) -> bool:
        """Does the run show the dataset?"""
        return self.store.exists(f"{run.dataset_folder(dataset)}/_manifest.json")

    def parts(self, run: Run, dataset: str) -> list[Part]:
        """The visible parts; CriticalError when the run has not published the dataset."""
        key = f"{run.dataset_folder(dataset)}/_manifest.json"
        try:
            manifest = json.loads(self.store.get_bytes(key))
        except FileNotFoundError as error:
            raise CriticalError(
                f"run {run.run_id} has no published {dataset} ({self.store.address(key)} is missing)"
            ) from error
        return [Part(**part) for part in manifest["parts"]]

    def rows(self, run: Run, dataset: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The dataset's rows in order, in batches of bounded size."""
        for part in self.parts(run, dataset):
            yield from self.part_rows(part.key, columns)

    def part_rows(self, key: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """One part's rows, published or not."""
        with self.store.local_copy(key) as path, pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=READ_ROWS, columns=list(columns) if columns else None)

    def read_json(self, key: str) -> Any:
        """A JSON object of the run folder."""
        return json.loads(self.store.get_bytes(key))

    def write_json(self, key: str, value: Any) -> str:
        """Write a JSON object and return its key."""
        self.store.put_bytes(key, json.dumps(value, indent=1).encode())
        return key

    @cached_property
    def root(self) -> str:
        """The lake's address."""
        return self.store.root


def parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of our files: zstd; dictionaries for texts only, and statistics of the record id alone, which readers look for.

    Dictionaries of numbers that never come twice, and statistics of 64 hexadecimal digits, take more than half of the time.
    """
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    looked_for = [name for name in ("record_id",) if name in texts]
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=texts, write_statistics=looked_for)


def open_lake(settings: Settings) -> Lake:
    """The lake that the settings name."""
    return Lake(open_store(settings.storage_root, s3_endpoint_url=settings.s3_endpoint_url))


def as_table(dataset: str, rows: Sequence[dict[str, Any]], schema: pa.Schema | None = None) -> pa.Table:
    """Python rows as a table of the dataset's schema; PoisonedResultError when they do not fit."""
    try:
        return pa.Table.from_pylist(list(rows), schema=schema or SCHEMAS[dataset])
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, UnicodeError, OverflowError) as error:
        raise PoisonedResultError(f"rows do not fit the schema of {dataset}: {error}") from error


def flat_table(dataset: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """`as_table` for datasets of texts, numbers and moments, by way of JSON, where memory counts.

    pyarrow's own way from Python objects imports pandas: 50 MB and half a second of every task.
    """
    schema = SCHEMAS[dataset]
    if not rows:
        return pa.Table.from_batches([], schema)
    parsing = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    try:
        values = ({name: row.get(name) for name in schema.names} for row in rows)
        lines = "\n".join(json.dumps(value, default=_moment) for value in values).encode()
        reading = pj.ReadOptions(use_threads=False, block_size=len(lines))
        table = pj.read_json(io.BytesIO(lines), read_options=reading, parse_options=parsing)
        return table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, ValueError) as error:
        raise PoisonedResultError(f"rows do not fit the schema of {dataset}: {error}") from error


def _moment(value: Any) -> str:
    """A moment as Arrow's JSON reader takes it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} is neither text nor number nor moment")


def _check(dataset: str, table: pa.Table, schema: pa.Schema) -> None:
    if not table.schema.equals(schema):
        raise PoisonedResultError(f"{dataset}: columns {table.schema.names} do not fit the declared schema {schema.names}")
    for declared in schema:
        if not declared.nullable and table[declared.name].null_count:
            raise PoisonedResultError(f"{dataset}: the required column {declared.name} is empty in some rows")
        if pa.types.is_floating(declared.type) and pc.any(pc.invert(pc.is_finite(table[declared.name]))).as_py():
            raise PoisonedResultError(f"{dataset}: the column {declared.name} holds NaN or infinity")
