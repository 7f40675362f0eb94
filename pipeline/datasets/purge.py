"""Take records out of a lake for good: rows out of parts, pixels out of shards, ids out of plans and exports.

Parts stay immutable: one that loses rows is written anew beside the old one, everything that names the old one is made to
name the new one, and only then the old one goes. Whatever is killed when, doing it again goes on: a part that still has
such rows still lies under its old name, and the same rows make the same new name. Shards are the exception: their pictures
are found by offset, so the pixels are blanked where they lie.
"""

import csv
import hashlib
import io
import json
import re
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.datasets.lake import READ_ROWS, Lake, Part
from pipeline.domain.identifiers import ITEM_BASE, record_of
from pipeline.storage import ObjectStore

_ABOUT = re.compile(r'^<edm:ProvidedCHO rdf:about="([^"]*)"')  # an object is a line of its own
_OF_RECORDS = ("record_id", "related_record_id")
_OF_IMAGES = ("image_id", "near_image_id")
_TEXTS = ("input_id", "raw")
_BLANK = "taken-down"  # the name of a blanked picture in its shard
_NOT_DATA = ("exports/", "models/", "runs/", "indexes/")


@dataclass(frozen=True)
class Place:
    """Where a picture's bytes lie."""

    shard: str
    offset: int
    size: int


@dataclass(frozen=True)
class Unwanted:
    """Records, and those of their pictures that no other record has."""

    records: frozenset[str]
    images: frozenset[str] = frozenset()

    def rows(self, batch: pa.RecordBatch) -> pa.Array:
        """True for each row that is about one of them."""
        names = set(batch.schema.names)
        marks = [pc.is_in(batch[name], pa.array(list(self.records), pa.string())) for name in _OF_RECORDS if name in names]
        marks += [pc.is_in(batch[name], pa.array(list(self.images), pa.string())) for name in _OF_IMAGES if name in names]
        for name in _TEXTS:
            if name in names:
                marks.append(pa.array([self._named(text) for text in batch[name].to_pylist()], pa.bool_()))
        return reduce(pc.or_, marks) if marks else pa.array([False] * batch.num_rows)

    def _named(self, text: str | None) -> bool:
        """An input is a record, or `record|address`; what could not be read is JSON that holds an id in quotes."""
        if not text:
            return False
        is_named = text[0] in "{[" and any(f'"{one}"' in text for one in self.records)
        return is_named or text.partition("|")[0] in self.records


@dataclass
class Rewritten:
    """A part that has lost rows: what stands in its place, and how many of its rows had a picture, or which reason."""

    part: Part
    with_image: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def data_parts(lake: Lake) -> Iterator[str]:
    """The keys of all parts in the lake, listed or left over; those that lead to pictures come last."""
    keys = [key for key in lake.store.list("") if key.endswith(".parquet") and not key.startswith(_NOT_DATA)]
    yield from sorted(keys, key=lambda key: (key.startswith("images/"), key))


def pictures_of(lake: Lake, records: frozenset[str]) -> tuple[dict[str, set[Place]], set[str]]:
    """The pictures of records by image id, with all their places; and those that other records have, too."""
    found: dict[str, set[Place]] = {}
    keys = [key for key in data_parts(lake) if key.startswith("images/")]
    for row in _image_rows(lake, keys, "record_id", records):
        if row["image_id"]:
            found.setdefault(row["image_id"], set()).update(places_in(row))
    others = {row["image_id"] for row in _image_rows(lake, keys, "image_id", found) if row["record_id"] not in records}
    return found, others


def places_in(row: Mapping[str, Any]) -> Iterator[Place]:
    """The derivative's place and, where originals are kept, the original's."""
    for kind in ("shard", "original"):
        if row.get(f"{kind}_uri"):
            yield Place(row[f"{kind}_uri"], row[f"{kind}_offset"], row[f"{kind}_size"])


def _image_rows(lake: Lake, keys: Iterable[str], column: str, wanted: Iterable[str]) -> Iterator[dict[str, Any]]:
    columns = ["record_id", "image_id"]
    columns += [f"{kind}_{name}" for kind in ("shard", "original") for name in ("uri", "offset", "size")]
    values = pa.array(list(wanted), pa.string())
    for key in keys:
        for batch in lake.part_rows(key, columns):
            yield from batch.filter(pc.is_in(batch[column], values)).to_pylist()


def blank_pictures(lake: Lake, places: Iterable[Place], kept: Iterable[Place], records: frozenset[str]) -> dict[str, Part]:
    """Overwrite pictures in their shards, and the records' addresses in those that others keep; returns the new shards."""
    by_shard: dict[str, list[tuple[Place, bool]]] = {}
    for place in places:
        by_shard.setdefault(place.shard, []).append((place, False))
    for place in kept:
        by_shard.setdefault(place.shard, []).append((place, True))
    changed: dict[str, Part] = {}
    for key, group in sorted(by_shard.items()):
        if not lake.store.exists(key):
            continue
        content = bytearray(lake.store.get_bytes(key))
        for place, stays in group:
            end = place.offset + place.size
            if stays:
                content[place.offset : end] = _without_names(bytes(content[place.offset : end]), records)
            else:
                header = tarfile.TarInfo(_BLANK)
                header.size = place.size
                content[place.offset - tarfile.BLOCKSIZE : place.offset] = header.tobuf(tarfile.USTAR_FORMAT)
                content[place.offset : end] = bytes(place.size)
        lake.store.put_bytes(key, bytes(content))
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            members = sum(member.name != _BLANK for member in tar)
        changed[key] = Part(key, members, len(content), hashlib.sha256(content).hexdigest())
    return changed


def _without_names(content: bytes, records: frozenset[str]) -> bytes:
    """A derivative says in its metadata which record brought it first: as many other letters in that place."""
    for record_id in records:
        name = record_id.encode()
        content = content.replace(name, b"-" * len(name))
    return content


def rewrite(lake: Lake, key: str, unwanted: Unwanted) -> Rewritten | None:
    """Write a part anew without unwanted rows, under a new name; None when it has none of them."""
    with lake.store.local_copy(key) as path, pq.ParquetFile(path) as file:
        columns = [name for name in (*_OF_RECORDS, *_OF_IMAGES, *_TEXTS) if name in file.schema_arrow.names]
        batches = file.iter_batches(batch_size=READ_ROWS, columns=columns)
        if not columns or not any(pc.any(unwanted.rows(batch)).as_py() for batch in batches):
            return None
        with tempfile.TemporaryDirectory(prefix="enrich-") as folder:
            new = Path(folder) / "part.parquet"
            gone = Rewritten(Part(key, 0, 0, ""))
            rows = 0
            with pq.ParquetWriter(new, file.schema_arrow, compression="zstd") as writer:
                for batch in file.iter_batches(batch_size=READ_ROWS):
                    marks = unwanted.rows(batch)
                    _count(batch.filter(marks), gone)
                    kept = batch.filter(pc.invert(marks))
                    writer.write_batch(kept)
                    rows += kept.num_rows
            content = new.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            name = re.sub(r"-kept-[0-9a-f]{8}$", "", key.removesuffix(".parquet")) + f"-kept-{digest[:8]}.parquet"
            gone.part = Part(name, rows, len(content), digest)
            lake.store.put_file(name, new)
    return gone


def _count(batch: pa.RecordBatch, gone: Rewritten) -> None:
    """What a window's counts lose: a record without a picture is counted by its outcome row."""
    if {"record_id", "image_url", "thumbnail_url"} <= set(batch.schema.names):  # a part of `records`
        gone.with_image += batch.num_rows - batch["image_url"].null_count
    if "reason" in batch.schema.names and "input_id" in batch.schema.names:
        gone.reasons.update(batch["reason"].to_pylist())


def renewed(value: Any, parts: Mapping[str, Part]) -> Any:
    """A JSON value in which every part that was rewritten is named as it is now; `rows` of a manifest follow."""
    if isinstance(value, list):
        return [renewed(one, parts) for one in value]
    if not isinstance(value, dict):
        return value
    found = {name: renewed(one, parts) for name, one in value.items()}
    if isinstance(found.get("key"), str) and found["key"] in parts:
        found |= asdict(parts[found["key"]])
    if {"dataset", "rows", "parts"} <= found.keys():
        found["rows"] = sum(part["rows"] for part in found["parts"])
    return found


def rename_parts(lake: Lake, parts: Mapping[str, Part]) -> None:
    """Make manifests, results and checkpoints name the new parts."""
    for key in list(lake.store.list("")):
        if key.endswith("/_manifest.json") or (key.startswith("runs/") and key.endswith((".json", ".jsonl"))):
            _change_json(lake.store, key, lambda value: renewed(value, parts))


def forget_plans(lake: Lake, unwanted: Unwanted) -> None:
    """Take ids out of the plans of finished runs and out of lists of ids; the search indexes go, a run makes them anew.

    The plan of a run that has not finished stays: it would lose count of its records.
    """
    finished = {key.rpartition("/")[0] for key in lake.store.list("runs/") if "/finished-" in key}
    for key in list(lake.store.list("runs/")):
        folder = "/".join(key.split("/")[:2])
        if folder not in finished:
            continue
        if "/batch-" in key or "/links-" in key:
            _change_json(lake.store, key, lambda value: without(value, unwanted.records))
        elif "/ids-" in key and key.endswith(".txt"):
            _change_text(lake.store, key, lambda line: line.strip() not in unwanted.records)
    for key in [key for key in lake.store.list("indexes/") if key.endswith("/records.json")]:
        if not unwanted.records.isdisjoint(lake.read_json(key)["record_ids"]):
            for other in list(lake.store.list(key.rpartition("/")[0] + "/")):
                lake.store.delete(other)


def without(value: Any, records: frozenset[str]) -> Any:
    """A JSON value without list entries that are, or are about, one of the records."""
    if isinstance(value, dict):
        return {name: without(one, records) for name, one in value.items()}
    if not isinstance(value, list):
        return value
    return [without(one, records) for one in value if not _is_about(one, records)]


def _is_about(value: Any, records: frozenset[str]) -> bool:
    if isinstance(value, str):
        return value.removeprefix(ITEM_BASE) in records
    if not isinstance(value, dict):
        return False
    return any(_is_about(value.get(name), records) for name in ("record_id", "related_record_id", "input_id", "target"))


def forget_exports(store: ObjectStore, prefix: str, unwanted: Unwanted) -> set[str]:
    """Take the records out of exported tables and reports below a prefix; returns the folders where something changed.

    The pages there are for the caller to draw again.
    """
    about = unwanted.records
    changed: set[str] = set()
    for key in list(store.list(prefix)):
        is_changed = False
        if key.endswith(".csv"):
            is_changed = _change_text(store, key, lambda line: about.isdisjoint(next(csv.reader([line]), [])))
        elif key.endswith(".jsonl"):
            is_changed = _change_text(store, key, lambda line: not _is_about(json.loads(line), about))
        elif key.endswith(".rdf"):
            is_changed = _change_text(store, key, lambda line: about.isdisjoint(map(record_of, _ABOUT.findall(line))))
        elif key.endswith(".json"):
            is_changed = _change_json(store, key, lambda value: without(value, about))
        elif key.endswith(".parquet") and (found := rewrite(Lake(store), key, unwanted)):
            store.put_bytes(key, store.get_bytes(found.part.key))  # an export has a name that people know
            store.delete(found.part.key)
            is_changed = True
        if is_changed:
            changed.add(key.rpartition("/")[0])
    return changed


def _change_json(store: ObjectStore, key: str, change: Callable[[Any], Any]) -> bool:
    """Of JSON lines, `change` gets the list."""
    content, are_lines = store.get_bytes(key), key.endswith(".jsonl")
    value = [json.loads(line) for line in content.splitlines()] if are_lines else json.loads(content)
    changed = change(value)
    if changed != value:
        texts = [json.dumps(one) for one in changed] if are_lines else [json.dumps(changed, indent=1, ensure_ascii=False)]
        store.put_bytes(key, "\n".join(texts).encode())
    return bool(changed != value)


def _change_text(store: ObjectStore, key: str, keeps: Callable[[str], bool]) -> bool:
    lines: Sequence[str] = store.get_bytes(key).decode("utf-8").splitlines(keepends=True)
    kept = [line for line in lines if keeps(line)]
    if len(kept) != len(lines):
        store.put_bytes(key, "".join(kept).encode())
    return len(kept) != len(lines)
