"""Pictures out of the lake again: one by its id, or a run's as a folder that any tool and this pipeline can read."""

import csv
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from pipeline.collection.reader import EXPECTED
from pipeline.database import connect, links
from pipeline.database.links import lake_id
from pipeline.datasets.lake import Lake, open_lake
from pipeline.datasets.run import Run
from pipeline.datasets.stage import groups_of
from pipeline.errors import PermanentError
from pipeline.reporting.progress import Progress
from pipeline.settings import Settings

_AT_ONCE = 500
_LONGEST_NAME = 100  # characters of an id in a file name, of which systems take 255 bytes
_RECORD_COLUMNS = ("record_id", "title", "creators", "year", "provider", "data_provider", "rights")
_IMAGE_COLUMNS = ("record_id", "image_id", "image_url", "provider", "rights", "shard_uri", "shard_offset", "shard_size")


def get_picture(identity: str, *, original: bool, settings: Settings) -> bytes:
    """The JPEG (or, where originals are kept, the bytes as received) of an image id or of a record's newest picture.

    One range read. PermanentError when there is none.
    """
    lake = open_lake(settings)
    link = links.of_picture(connect(settings), lake_id(lake.root), identity)
    if link is None or not link.place:
        raise PermanentError(f"{identity}: no picture of this image id (SHA-256) or record id (/dataset/local) is in the lake")
    kind = "original" if original else "shard"
    place = link.place
    if not place.get(f"{kind}_uri"):
        raise PermanentError(f"{identity}: its original is not kept; set KEEP_ORIGINALS=true and fetch it again")
    try:
        content = lake.store.get_range(place[f"{kind}_uri"], place[f"{kind}_offset"], place[f"{kind}_size"])
    except FileNotFoundError as error:
        raise PermanentError(f"{identity}: its shard {place[f'{kind}_uri']} is no longer in the lake") from error
    return content


def export_run(run_key: str, folder: Path, *, most: int | None, settings: Settings) -> int:
    """A run's pictures as files with a `metadata.csv`: a collection folder, as `--collection` takes it; returns how many.

    Neighbours in a shard are one range read; files that are there already are left alone, so that an export goes on.
    Raises PermanentError when the folder's CSV belongs to something else.
    """
    lake = open_lake(settings)
    run = lake.run(run_key)
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "metadata.csv"
    mark = folder / ".exported"
    if table.exists() and not mark.exists():
        raise PermanentError(f"{table} is there already and was not written by an export; choose another folder")
    this = f"{run.run_id} attempt {run.attempt}"
    if not mark.exists():
        mark.write_text(this)
    goes_on = mark.read_text() == this  # else the files are another run's pictures
    count, find = 0, _in_step(lake, run)
    total = sum(part.rows for part in lake.parts(run, "images"))
    with (
        table.open("w", newline="", encoding="utf-8") as handle,
        Progress("export", "pictures", settings=settings, total=min(total, most or total)) as progress,
    ):
        writer = csv.DictWriter(handle, EXPECTED, restval="", extrasaction="ignore")
        writer.writeheader()
        for rows in groups_of(_pictures(lake, run, most), _AT_ONCE):
            for row, content in _with_content(lake, rows, folder if goes_on else None):
                name = _file_name(row)
                if content is not None:
                    (folder / name).write_bytes(content)
                writer.writerow(_line(row, find(row["record_id"]), name))
            count += len(rows)
            progress.advance(len(rows))
    mark.write_text(this)
    return count


def _pictures(lake: Lake, run: Run, most: int | None) -> Iterator[dict[str, Any]]:
    """The first picture of each record."""
    count, before = 0, None
    for batch in lake.rows(run, "images", _IMAGE_COLUMNS):
        for row in batch.to_pylist():
            if row["shard_uri"] and row["record_id"] != before:
                if most is not None and count >= most:
                    return
                count, before = count + 1, row["record_id"]
                yield row


def _in_step(lake: Lake, run: Run) -> Callable[[str], dict[str, Any]]:
    """Looks up records in the order of the images, which is that of the records: each part is read once."""
    records = (row for batch in lake.rows(run, "records", _RECORD_COLUMNS) for row in batch.to_pylist())

    def find(record_id: str) -> dict[str, Any]:
        return next((row for row in records if row["record_id"] == record_id), {})

    return find


def _with_content(lake: Lake, rows: list[dict[str, Any]], folder: Path | None) -> Iterator[tuple[dict[str, Any], bytes | None]]:
    """Each row with its JPEG; None when its file is in `folder` already with the right size."""
    for shard, group in groupby(rows, key=lambda row: row["shard_uri"]):
        members = list(group)
        missing = [row for row in members if not (folder and _is_there(folder / _file_name(row), row["shard_size"]))]
        contents = lake.store.get_ranges(shard, [(row["shard_offset"], row["shard_size"]) for row in missing])
        by_record = dict(zip((row["record_id"] for row in missing), contents, strict=True))
        for row in members:
            yield row, by_record.get(row["record_id"])


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _file_name(row: Mapping[str, Any]) -> str:
    """`/1/a` becomes `1_a.jpg`; an id that cannot be read back from its name carries a hash, so that no two share a file."""
    identity: str = row["record_id"]
    if re.fullmatch(r"/[A-Za-z0-9.-]+/[A-Za-z0-9_.-]+", identity) and len(identity) <= _LONGEST_NAME:
        return identity[1:].replace("/", "_", 1) + ".jpg"
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "_", identity.strip("/"))[:_LONGEST_NAME]
    return f"{readable}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.jpg"


def _line(row: Mapping[str, Any], record: Mapping[str, Any], name: str) -> dict[str, Any]:
    creators = "; ".join(record.get("creators") or ())
    return {**record, "creator": creators, "record_id": row["record_id"], "image_file": name, "rights": row["rights"]}
