"""Pictures of a run in the lake, with labels from a CSV (`lake:LABELS.csv@RUN`) or from their records (`run:RUN`)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from pipeline.collection import CollectionRow
from pipeline.crowd.csv_lines import csv_lines
from pipeline.crowd.labels import Labels
from pipeline.datasets.lake import Lake, open_lake
from pipeline.datasets.run import Run
from pipeline.domain.identifiers import RECORD_ID
from pipeline.domain.scope import Selection
from pipeline.errors import CriticalError
from pipeline.settings import Settings
from pipeline.training.sources.beside import Beside
from pipeline.training.sources.rows import Labelled, Picture, Source, labelled

_ADVICE = "name labels and run as lake:LABELS.csv@RUN; the CSV has record_id,concepts and perhaps not_annotated,group,split"
_SPLITS = ("train", "test", "unseen", "")
_IMAGE_COLUMNS = ["record_id", "image_id", "shard_uri", "shard_offset", "shard_size"]
_RECORD_COLUMNS = ["record_id", "title", "creators", "year", "provider", "data_provider", "rights"]
_AT_ONCE = 500  # pictures in memory


@dataclass(frozen=True)
class _Said:
    """A line of the CSV."""

    line: int
    true: frozenset[str]
    unknown: frozenset[str] | None
    readable: bool
    group: str
    split: str


def read_lake(text: str, beside: Beside) -> Source:
    """A run's pictures, the first of each record, out of the shards; concepts by `record_id` from a CSV.

    RUN is the run's key as `enrich start` printed it, or its id. In the CSV `;` stands between slugs, URIs or labels. With
    a column `not_annotated` it reads as a collection does: everything else is false. Without it what no line of the CSV
    names is unknown, and of the named concepts those that are not in a line are false there.

    The pictures are the lake's derivatives (JPEG, at most DERIVATIVE_SIDE_PX), under the image id of what was received.
    Records of the CSV without a picture in the run are left out. Raises CriticalError when the run, its `images` or the
    CSV cannot be read.
    """
    name, _, run_name = text.rpartition("@")
    if not name or not run_name:
        raise CriticalError(f"lake:{text}: no run is named; {_ADVICE}")
    path, labels = Path(name), beside.labels()
    said = _read(path, labels)
    lake, run = _run(run_name, beside.settings)
    offered = {slug for one in said.values() for slug in one.true}
    return Source(f"lake:{path.name}", _items(lake, run, said, offered, labels), len(said), labels.unknown)


def read_run(run_name: str, beside: Beside) -> Source:
    """A run's pictures, the first of each record, with the concepts that the records carry (`concept_uris`).

    Meant for runs that queries by concepts have harvested: a record that was found by one of them and does not carry what
    another asked for is a no to that; what no query asked for is unknown. In a run of another kind the concepts of its
    records stand for those that were asked for. Both are what metadata say, not what a person saw: look at the noise report.
    Raises CriticalError when the run, its `records` or its `images` cannot be read.
    """
    labels = beside.labels()
    lake, run = _run(run_name, beside.settings)
    said = {
        row["record_id"]: _Said(0, _concepts(row["concept_uris"], labels), None, True, row["record_id"], "")
        for batch in lake.rows(run, "records", ["record_id", "concept_uris"])
        for row in batch.to_pylist()
    }
    asked = _concepts((uri for query in run.selection.concepts for uri in query.all_of), labels)
    offered = set(asked or (slug for one in said.values() for slug in one.true))
    items = _items(lake, run, said, offered, labels)
    return Source(f"run:{run.run_id}", items, len(said), labels.unknown, query=_in_words(run.selection))


def _in_words(selection: Selection) -> str:
    """What the run asked for, with the most that was taken of each concept query."""
    queries = [" + ".join(one.all_of) + ("" if one.cap is None else f" (at most {one.cap:,})") for one in selection.concepts]
    narrowed = [*selection.filters, *([f"reusability {selection.reusability}"] if selection.reusability else [])]
    return f"{selection.kind} " + "; ".join([*(queries or [selection.value]), *narrowed])


def _concepts(uris: Iterable[str], labels: Labels) -> frozenset[str]:
    """The vocabulary's among them; what else a record is about is its own matter."""
    return frozenset(slug for uri in uris if (slug := labels.peek(uri)))


def _run(name: str, settings: Settings) -> tuple[Lake, Run]:
    """By its key or its id; an unpublished one is told before anything is read."""
    lake = open_lake(settings)
    run = lake.run(name if "/" in name else f"runs/run={name}/run.json")
    lake.parts(run, "images")
    return lake, run


def _read(path: Path, labels: Labels) -> dict[str, _Said]:
    said: dict[str, _Said] = {}
    for line, cells in csv_lines(path, ("record_id", "concepts"), _ADVICE):
        record_id = cells["record_id"]
        if not RECORD_ID.fullmatch(record_id):
            raise CriticalError(f"{path} line {line}: record_id {record_id!r} is not of the form /dataset/local; {_ADVICE}")
        if record_id in said:
            raise CriticalError(f"{path} line {line}: {record_id} stands on line {said[record_id].line} too; leave one of them")
        if cells.get("split", "") not in _SPLITS:
            raise CriticalError(f"{path} line {line}: split {cells['split']!r} is none of train, test, unseen; {_ADVICE}")
        values = [value for value in cells["concepts"].split(";") if value.strip()]
        true, readable = labels.concepts(values)
        unknown = None
        if "not_annotated" in cells:
            unknown = frozenset(labels.unchecked(cells["not_annotated"].split(";")))
        group, split = cells.get("group", ""), cells.get("split", "")
        said[record_id] = _Said(line, frozenset(true), unknown, readable or not values, group or record_id, split)
    return said


def _items(lake: Lake, run: Run, said: Mapping[str, _Said], offered: set[str], labels: Labels) -> Iterator[Labelled]:
    records = _records(lake, run, said)
    found = set()
    for row, content in _pictures(lake, run, said):
        identity = row["record_id"]
        found.add(identity)
        known = records.get(identity, CollectionRow(identity, ""))
        picture = Picture(content=content, image_id=row["image_id"] or "", known=known)
        yield _labelled(identity, picture, said[identity], offered, labels)
    for identity, one in said.items():
        if identity not in found:
            picture = Picture(reason="no_picture", detail=f"run {run.run_id} has no picture of {identity}")
            yield _labelled(identity, picture, one, offered, labels)


def _labelled(record_id: str, picture: Picture, said: _Said, offered: set[str], labels: Labels) -> Labelled:
    if said.unknown is not None:
        false = labels.all - said.true - said.unknown
    else:
        false = offered - said.true if said.readable else set()
    one = labelled(record_id, picture, *labels.row(said.true, false), line=said.line)
    return replace(one, row=replace(one.row, group=said.group, split=said.split))


def _records(lake: Lake, run: Run, said: Mapping[str, _Said]) -> dict[str, CollectionRow]:
    """What the run knows of the records that have labels."""
    if not lake.is_published(run, "records"):
        return {}
    rows = (row for batch in lake.rows(run, "records", _RECORD_COLUMNS) for row in batch.to_pylist())
    return {row["record_id"]: _row(row) for row in rows if row["record_id"] in said}


def _row(row: Mapping[str, Any]) -> CollectionRow:
    return CollectionRow(
        row["record_id"],
        "",
        title=row["title"] or "",
        creator="; ".join(row["creators"] or ()),
        year=row["year"],
        provider=row["provider"] or "",
        data_provider=row["data_provider"] or "",
        rights=row["rights"] or "",
    )


def _pictures(lake: Lake, run: Run, said: Mapping[str, _Said]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The first picture of each record that has labels; neighbours in a shard are one range read."""
    waiting, seen = [], set()
    for batch in lake.rows(run, "images", _IMAGE_COLUMNS):
        for row in batch.to_pylist():
            if row["record_id"] in said and row["record_id"] not in seen and row["shard_uri"]:
                seen.add(row["record_id"])
                waiting.append(row)
                if len(waiting) == _AT_ONCE:
                    yield from _contents(lake, waiting)
                    waiting = []
    yield from _contents(lake, waiting)


def _contents(lake: Lake, rows: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], bytes]]:
    rows = sorted(rows, key=lambda row: (row["shard_uri"], row["shard_offset"]))
    for shard, group in groupby(rows, key=lambda row: row["shard_uri"]):
        members = list(group)
        try:
            contents = list(lake.store.get_ranges(shard, [(row["shard_offset"], row["shard_size"]) for row in members]))
        except FileNotFoundError:
            continue  # its pictures are then among those that the run does not have
        yield from zip(members, contents, strict=True)
