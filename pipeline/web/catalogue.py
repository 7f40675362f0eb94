"""What the lake holds for readers: finished runs, and in them records, pictures, labels and suggestions.

A run is finished once an attempt of it has come to its end. The newest is the one planned last (`created_at`), and of
several with the same time the one whose id sorts last. A nightly run covers a day's changes only, so a record is read
from the newest finished run that holds it.

Parts are filtered where they lie; no dataset is loaded whole. What is remembered (the list of runs, manifests, which run
holds a record, where its picture lies) is bounded in number and forgotten after `REFRESH_S`.
"""

import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.compute as pc

from pipeline.datasets.lake import Lake, Part, open_lake
from pipeline.datasets.run import Run
from pipeline.domain.identifiers import run_key
from pipeline.errors import CriticalError
from pipeline.settings import Settings
from pipeline.web.part_files import PartFiles

REFRESH_S = 15.0
RUNS_SEARCHED = 30  # so many of the newest runs are searched for a record
MOST_REMEMBERED = 10_000  # entries of each kind
PARTS_BUDGET = 1 << 30  # bytes of downloaded parts that are kept on disk

_PLACE_COLUMNS = ("record_id", "image_id", "width_px", "height_px", "shard_uri", "shard_offset", "shard_size")

Key = TypeVar("Key")
Value = TypeVar("Value")


class NotFoundError(LookupError):
    """What was asked for is in no finished run; the message says what to do."""


@dataclass(frozen=True)
class Picture:
    """A record's picture: identity and size of the original, place of its derivative in the lake."""

    image_id: str
    width_px: int | None
    height_px: int | None
    shard_key: str
    offset: int
    size: int


@dataclass
class _Snapshot:
    """What is remembered of the lake for a short while."""

    runs: list[Run]
    until: float
    parts: dict[tuple[str, str], list[Part]] = field(default_factory=dict)
    holders: dict[str, Run] = field(default_factory=dict)
    pictures: dict[tuple[str, str], Picture | None] = field(default_factory=dict)


class Catalogue:
    """The finished runs of one lake. The lake is opened at the first question, not before."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.RLock()
        self._finished: dict[str, Run] = {}
        self._snapshot: _Snapshot | None = None

    @cached_property
    def lake(self) -> Lake:
        """The lake that the settings name."""
        return open_lake(self._settings)

    @cached_property
    def _files(self) -> PartFiles:
        return PartFiles(self.lake.store, PARTS_BUDGET)

    def runs(self) -> list[Run]:
        """The finished runs, newest first."""
        return self._current().runs

    def newest(self) -> Run | None:
        """The newest finished run, if any has finished."""
        return next(iter(self.runs()), None)

    def run(self, run_id: str) -> Run:
        """A finished run; NotFoundError when there is none of that id."""
        found = next((run for run in self.runs() if run.run_id == run_id), None)
        if found is None:
            raise NotFoundError(f"no finished run is called {run_id}")
        return found

    def holder(self, record_id: str) -> Run:
        """The newest finished run that holds the record; NotFoundError when none of the newest does."""
        snapshot = self._current()
        if record_id in snapshot.holders:
            return snapshot.holders[record_id]
        searched = snapshot.runs[:RUNS_SEARCHED]
        for run in searched:
            if self._select(run, "records", [record_id], ("record_id",)):
                return _remember(snapshot.holders, record_id, run)
        raise NotFoundError(f"the record {record_id} is in none of the {len(searched)} newest finished runs")

    def record_count(self, run: Run) -> int:
        """How many records the run holds."""
        return sum(part.rows for part in self._parts(run, "records"))

    def page(self, run: Run, first: int, count: int, columns: Sequence[str]) -> list[dict[str, Any]]:
        """`count` records of the run from the `first` on (from 0), in the run's order."""
        rows: list[dict[str, Any]] = []
        for part in self._parts(run, "records"):
            if first >= part.rows:
                first -= part.rows
                continue
            wanted = range(first, min(part.rows, first + count - len(rows)))
            with self._files.open([part]) as paths:
                rows += _scan(paths).take(list(wanted), columns=list(columns)).to_pylist()
            if len(rows) >= count:
                break
            first = 0
        return rows

    def records(self, run: Run, record_ids: Collection[str], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The named records that the run holds, by id."""
        return {row["record_id"]: row for row in self._select(run, "records", record_ids, ["record_id", *columns])}

    def record(self, run: Run, record_id: str) -> dict[str, Any]:
        """All columns of a record of the run; NotFoundError when it is not there."""
        rows = self._select(run, "records", [record_id], None)
        if not rows:
            raise NotFoundError(f"the record {record_id} is not in the run {run.run_id}")
        return rows[0]

    def pictures(self, run: Run, record_ids: Collection[str]) -> dict[str, Picture]:
        """The first usable picture of each of the named records; records without one are left out."""
        known = self._current().pictures
        unknown = [record_id for record_id in record_ids if (run.run_id, record_id) not in known]
        found: dict[str, Picture] = {}
        for row in self._select(run, "images", unknown, _PLACE_COLUMNS):
            if row["shard_uri"]:
                found.setdefault(row["record_id"], self._picture(row))
        places = {name: known.get((run.run_id, name)) for name in record_ids} | {name: found.get(name) for name in unknown}
        for record_id in unknown:
            _remember(known, (run.run_id, record_id), found.get(record_id))
        return {record_id: picture for record_id, picture in places.items() if picture}

    def picture_bytes(self, picture: Picture) -> bytes:
        """The derivative's JPEG, by one range read; NotFoundError when its shard is gone."""
        with suppress(FileNotFoundError):
            content = self.lake.store.get_range(picture.shard_key, picture.offset, picture.size)
            if len(content) == picture.size:
                return content
        raise NotFoundError(f"the picture {picture.image_id} is no longer in the lake")

    def labels(self, run: Run, record_ids: Collection[str], decisions: Collection[str]) -> dict[str, list[dict[str, Any]]]:
        """The named records' labels with one of the decisions, surest first."""
        chosen = pc.field("decision").isin(list(decisions))
        labels: dict[str, list[dict[str, Any]]] = {record_id: [] for record_id in record_ids}
        for row in self._select(run, "record_labels", record_ids, None, chosen):
            labels[row["record_id"]].append(row)
        for rows in labels.values():
            rows.sort(key=lambda row: (-row["max_score"], row["label"]))
        return labels

    def suggestions(self, run: Run, record_id: str, limit: int) -> list[dict[str, Any]]:
        """The record's suggestions up to a rank, in order."""
        rows = self._select(run, "suggestions", [record_id], None, pc.field("rank") <= limit)
        return sorted(rows, key=lambda row: row["rank"])

    def export(self, run: Run, name: str) -> bytes:
        """A file of the run's exports; NotFoundError when it is not there."""
        try:
            return self.lake.store.get_bytes(f"exports/run={run.run_id}/{name}")
        except FileNotFoundError as error:
            raise NotFoundError(f"the run {run.run_id} has no {name}") from error

    def _select(
        self,
        run: Run,
        dataset: str,
        record_ids: Collection[str],
        columns: Sequence[str] | None,
        chosen: pc.Expression | None = None,
    ) -> list[dict[str, Any]]:
        """The dataset's rows of the named records, in order; all columns when none are named."""
        parts = self._parts(run, dataset) if record_ids else []
        if not parts:
            return []
        wanted = pc.field("record_id").isin(list(record_ids))
        with self._files.open(parts) as paths:
            rows: list[dict[str, Any]] = (
                _scan(paths)
                .to_table(columns=list(columns) if columns else None, filter=wanted if chosen is None else wanted & chosen)
                .to_pylist()
            )
        return rows

    def _parts(self, run: Run, dataset: str) -> list[Part]:
        known = self._current().parts
        name = (run.run_id, dataset)
        if name in known:
            return known[name]
        return _remember(known, name, self.lake.parts(run, dataset))

    def _picture(self, row: dict[str, Any]) -> Picture:
        return Picture(
            image_id=row["image_id"],
            width_px=row["width_px"],
            height_px=row["height_px"],
            shard_key=row["shard_uri"],
            offset=row["shard_offset"],
            size=row["shard_size"],
        )

    def _current(self) -> _Snapshot:
        with self._lock:
            if self._snapshot is None or time.monotonic() >= self._snapshot.until:
                self._snapshot = _Snapshot(self._finished_runs(), time.monotonic() + REFRESH_S)
            return self._snapshot

    def _finished_runs(self) -> list[Run]:
        """The report is a run's last word, so the exports name the candidates; that is far fewer keys than `runs/`."""
        ids = {key.split("/")[1].removeprefix("run=") for key in self.lake.store.list("exports/run=")}
        for run_id in ids - self._finished.keys():
            run = self._read_run(run_id)
            if run and any(self.lake.store.list(f"{run.folder}/finished-")):
                self._finished[run_id] = run
        known = [self._finished[run_id] for run_id in ids & self._finished.keys()]
        known.sort(key=lambda run: (run.created_at, run.run_id), reverse=True)
        # The ones that are read from are read again: a run that is started again may have another scope.
        return [self._read_run(run.run_id) or run for run in known[:RUNS_SEARCHED]] + known[RUNS_SEARCHED:]

    def _read_run(self, run_id: str) -> Run | None:
        if run_key(run_id) != run_id:
            return None
        try:
            return self.lake.run(f"runs/run={run_id}/run.json")
        except CriticalError:  # exports without their run
            return None


def _scan(paths: Sequence[Path]) -> Any:
    """The files as one table that is read as far as it is asked for."""
    import pyarrow.dataset  # loads pandas, so not before the first question

    return pyarrow.dataset.dataset(paths, format="parquet")


def _remember(memory: dict[Key, Value], key: Key, value: Value) -> Value:
    """Keep a value; the oldest goes when there are too many."""
    while len(memory) >= MOST_REMEMBERED:
        memory.pop(next(iter(memory)), None)
    memory[key] = value
    return value
