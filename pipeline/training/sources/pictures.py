"""Where the pictures of a source are that names them by address or by id: in folders, or in the lake. Nothing is fetched."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from pipeline.collection import CollectionRow, read_collection
from pipeline.errors import CriticalError
from pipeline.settings import Settings
from pipeline.training.sources.rows import Picture

LAKE = "lake"
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # Label Studio puts this before the name of a file that was uploaded to it
_ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".tif", ".tiff", ".webp")
_IIIF = {"default", "native", "color", "gray", "bitonal"}  # how every picture of an IIIF service is called


class Pictures:
    """Finds pictures by record id, image id (SHA-256), or the file name in an address.

    A folder's files may lie in folders of their own. Names that stand for a record `/1/a`: `1_a`, `1/a`, `[ph]1[ph]a`
    (as the Europeana pilot wrote them; WITH contract §5.4), with any ending. If the folder has a `metadata.csv`, as
    `enrich images export` writes one, that says which file belongs to which record, and title, provider and rights come
    along. A file name that stands twice in the folder, or in two addresses, says nothing and is not used.
    """

    def __init__(self, places: Sequence[str], settings: Settings) -> None:
        self._settings = settings
        self._folders = [Path(place) for place in places if place != LAKE]
        self._in_lake = LAKE in places
        self._claimed: dict[Path, str] = {}
        for folder in self._folders:
            if not folder.is_dir():
                raise CriticalError(f"--pictures {folder}: no such folder; name a folder with pictures, or the word {LAKE}")

    def find(self, *, record_id: str = "", addresses: Sequence[str] = (), image_id: str = "") -> Picture:
        """The picture, or one without content that says why it was not found."""
        wanted = next(filter(None, (*addresses, record_id, image_id)), "")
        if row := self._rows.get(record_id):
            return Picture(row[0], known=row[1])
        for name in _names_of(record_id, image_id):
            if file := self._files.get(name):
                return Picture(file)
        for address in addresses:
            if picture := self._by_address(address):
                return picture
        if self._in_lake and (picture := self._from_lake(record_id, image_id)):
            return picture
        return Picture(reason="no_picture", detail=wanted)

    def _by_address(self, address: str) -> Picture | None:
        name = file_name(address)
        stem = PurePosixPath(name).stem
        if not stem or stem in _IIIF:
            return None
        file = self._files.get(name) or self._files.get(_UPLOAD.sub("", name)) or self._files.get(stem)
        if file is None:
            return None
        if self._claimed.setdefault(file, address) != address:
            detail = f"{address}: the file {file.name} may be of {self._claimed[file]}"
            return Picture(reason="ambiguous_picture", detail=detail)
        return Picture(file)

    @cached_property
    def _files(self) -> dict[str, Path]:
        """Files by name, by name without ending, and by their way within the folder without ending; unique ones only."""
        found: dict[str, Path | None] = {}
        for folder in self._folders:
            for file in _walk(folder):
                way = file.relative_to(folder)
                for name in {file.name, file.stem, way.with_suffix("").as_posix(), way.as_posix()}:
                    found[name] = file if found.get(name, file) == file else None
        return {name: file for name, file in found.items() if file}

    @cached_property
    def _rows(self) -> dict[str, tuple[Path, CollectionRow]]:
        """Files and rows by record id, of folders that are collections."""
        rows: dict[str, tuple[Path, CollectionRow]] = {}
        for folder in self._folders:
            if (folder / "metadata.csv").is_file():
                collection = read_collection(folder)
                for row in collection.rows:
                    file = collection.image_path(row)
                    if file and file.is_file():
                        rows.setdefault(row.record_id, (file, row))
        return rows

    def _from_lake(self, record_id: str, image_id: str) -> Picture | None:
        from pipeline.database import connect, links
        from pipeline.database.links import lake_id
        from pipeline.datasets.lake import open_lake

        lake = open_lake(self._settings)
        for identity in filter(None, (image_id, record_id)):
            link = links.of_picture(connect(self._settings), lake_id(lake.root), identity)
            if link is None or not link.place or not link.place.get("shard_uri"):
                continue
            place = link.place
            try:
                content = lake.store.get_range(place["shard_uri"], place["shard_offset"], place["shard_size"])
            except FileNotFoundError:
                return Picture(reason="no_picture", detail=f"the shard {place['shard_uri']} is no longer in the lake")
            return Picture(content=content, image_id=link.image_id or "")
        return None


def file_name(address: str) -> str:
    """The file name that an address ends with, also where it stands in the query as Label Studio's `?d=folder/name.jpg`."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    inside = parse_qs(parts.query).get("d", [""])[0] if "local-files" in parts.path else ""
    return PurePosixPath(unquote(inside or parts.path)).name


def picture_addresses(data: Mapping[str, str], keys: Sequence[str]) -> list[str]:
    """What may be the address or the file of the picture: values of these keys first, then any that look like one."""
    named = [data[key] for key in keys if key in data]
    rest = [value for value in data.values() if file_name(value).lower().endswith(_ENDINGS)]
    return list(dict.fromkeys([*named, *rest]))


def _names_of(record_id: str, image_id: str) -> Iterator[str]:
    if _IMAGE_ID.fullmatch(image_id):
        yield image_id
    if record_id:
        dataset, local = record_id[1:].split("/", 1)
        yield from (f"{dataset}_{local}", f"{dataset}/{local}", f"[ph]{dataset}[ph]{local}")


def _walk(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(where) / name for name in sorted(names) if not name.startswith("."))
