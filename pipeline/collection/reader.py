"""Read `metadata.csv`: every bad row gives one message with its line number, and the rest is read all the same."""

import csv
import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.domain.identifiers import RECORD_ID
from pipeline.errors import CriticalError

REQUIRED = ("record_id", "image_file")
EXPECTED = (
    "record_id",
    "image_file",
    "title",
    "creator",
    "year",
    "provider",
    "data_provider",
    "rights",
    "concepts",
    "split",
)
SPLITS = ("train", "test", "unseen", "")  # unseen: of providers that no training picture comes from


@dataclass(frozen=True)
class CollectionRow:
    """One record of a collection, as its CSV line says it.

    `concepts` and `not_annotated` hold slugs or URIs exactly as written; the vocabulary resolves them.
    """

    record_id: str
    image_file: str
    title: str = ""
    creator: str = ""
    year: int | None = None
    provider: str = ""
    data_provider: str = ""
    rights: str = ""
    concepts: tuple[str, ...] = ()
    not_annotated: tuple[str, ...] = ()
    group: str = ""
    split: str = ""
    line: int = 0

    @property
    def owner(self) -> str:
        """Who made the picture: the institution, where the row names one, not the aggregator."""
        return self.data_provider or self.provider


@dataclass(frozen=True)
class Collection:
    """A folder of pictures with its rows, and what was wrong with the CSV (one message a problem).

    `skipped` are the lines that gave no row: their number and what is wrong with them. `split_drawn`: the CSV names no
    split, and the rows have one that was drawn here.
    """

    folder: Path
    rows: tuple[CollectionRow, ...]
    problems: tuple[str, ...] = field(default=())
    skipped: tuple[tuple[int, str], ...] = field(default=())
    split_drawn: bool = False

    def image_path(self, row: CollectionRow) -> Path | None:
        """Where the row's picture lies, or None when the record has no picture; the file may be missing."""
        return self.folder / row.image_file if row.image_file else None

    def fingerprint(self) -> str:
        """SHA-256 over rows and picture files: names the data that a model was trained on."""
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(repr((row.record_id, row.concepts, row.not_annotated, row.group, row.split)).encode())
            path = self.image_path(row)
            if path and path.is_file():
                digest.update(path.read_bytes())
        return digest.hexdigest()


def read_collection(folder: Path) -> Collection:
    """Read `folder/metadata.csv`.

    Raises CriticalError when the folder, the file or a required column is missing; everything else
    becomes a message in `problems` that names the line.
    """
    path = folder / "metadata.csv"
    if not path.is_file():
        raise CriticalError(f"{path}: not found. A collection is a folder with pictures and a metadata.csv.")
    problems: list[str] = []
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle, strict=True)
        try:
            columns = [name.strip() for name in reader.fieldnames or []]
        except (csv.Error, UnicodeDecodeError) as error:
            raise CriticalError(f"{path} line 1: the header cannot be read as CSV in UTF-8 ({error})") from error
        reader.fieldnames = columns
        if absent := [name for name in REQUIRED if name not in columns]:
            raise CriticalError(f"{path} line 1: the column {', '.join(absent)} is missing; nothing can be read.")
        problems += [
            f"{path} line 1: the column {name} is missing; it is read as empty." for name in EXPECTED if name not in columns
        ]
        skipped: list[tuple[int, str]] = []
        rows = tuple(_rows(path, folder, reader, problems, skipped))
    split_drawn = any(row.concepts for row in rows) and not any(row.split for row in rows)
    if split_drawn:
        problems.append(f"{path}: no row has a split; one group in four is held out for testing.")
        rows = tuple(replace(row, split=_split_of(row.group)) for row in rows)
    return Collection(folder, rows, tuple(problems), tuple(skipped), split_drawn=split_drawn)


def _split_of(group: str) -> str:
    """The same group always lands on the same side."""
    return "test" if zlib.crc32(group.encode()) % 4 == 0 else "train"


def _rows(
    path: Path, folder: Path, reader: "csv.DictReader[str]", problems: list[str], skipped: list[tuple[int, str]]
) -> Iterator[CollectionRow]:
    seen: set[str] = set()
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, UnicodeDecodeError) as error:
            problem = f"cannot be read as CSV in UTF-8 ({error}); reading stops here."
            problems.append(f"{path} line {reader.line_num}: {problem}")
            skipped.append((reader.line_num, problem))
            return
        row, problem = _row(cells, reader.line_num, folder)
        if row is not None and row.record_id in seen:
            problem = f"record_id {row.record_id} stands on an earlier line; this line is skipped."
            row = None
        if problem:
            problems.append(f"{path} line {reader.line_num}: {problem}")
        if row is None:
            skipped.append((reader.line_num, problem))
        else:
            seen.add(row.record_id)
            yield row


def _row(cells: dict[str, str | None], line: int, folder: Path) -> tuple[CollectionRow | None, str]:
    """One row, or None, and the message about it if something is wrong."""
    cell = {name: (value or "").strip() for name, value in cells.items() if isinstance(name, str)}
    if None in cells:
        return None, "it has more cells than the header; the line is skipped."
    if not RECORD_ID.fullmatch(cell["record_id"]):
        return None, f"record_id {cell['record_id']!r} is not of the form /dataset/local; the line is skipped."
    image_file = cell["image_file"]
    problem = ""
    try:
        if image_file and not (folder / image_file).resolve().is_relative_to(folder.resolve()):
            return None, f"image_file {image_file!r} lies outside the folder; the line is skipped."
        exists = not image_file or (folder / image_file).is_file()
    except (OSError, ValueError):  # NUL, or longer than any file name
        return None, f"image_file {image_file[:80]!r} cannot be the name of a file; the line is skipped."
    if not exists:
        problem = f"image_file {image_file} does not exist; the record is kept and its link will be dead."
    year = cell.get("year", "")
    if year and not re.fullmatch(r"-?\d{1,4}", year):
        problem, year = f"year {year!r} is not a whole number; it is read as empty.", ""
    split = cell.get("split", "")
    if split not in SPLITS:
        problem, split = f"split {split!r} is neither train nor test; it is read as empty.", ""
    return (
        CollectionRow(
            record_id=cell["record_id"],
            image_file=image_file,
            title=cell.get("title", ""),
            creator=cell.get("creator", ""),
            year=int(year) if year else None,
            provider=cell.get("provider", ""),
            data_provider=cell.get("data_provider", ""),
            rights=cell.get("rights", ""),
            concepts=_values(cell.get("concepts", "")),
            not_annotated=_values(cell.get("not_annotated", "")),
            group=cell.get("group", "") or cell["record_id"],
            split=split,
            line=line,
        ),
        problem,
    )


def _values(text: str) -> tuple[str, ...]:
    return tuple(value.strip() for value in text.split(";") if value.strip())
