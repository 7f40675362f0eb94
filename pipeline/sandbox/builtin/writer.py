"""Write the collection: pictures and metadata.csv, complete or not at all."""

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.errors import CriticalError
from pipeline.sandbox.builtin.broken import DUPLICATES, FAULTS
from pipeline.sandbox.builtin.canvas import pick
from pipeline.sandbox.builtin.catalogue import COLUMNS, VIEWS, Entry, entry, record_id
from pipeline.sandbox.builtin.finish import encoded, finish
from pipeline.sandbox.builtin.plan import KINDS, series
from pipeline.sandbox.builtin.shipped import PROVIDERS as PACKAGES
from pipeline.sandbox.builtin.shipped import photographs

FORMAT = 1  # to be raised whenever the same seed gives other files
FEWEST = 40  # one picture of nearly every kind
PNG_EVERY = 120
UNKNOWN_EVERY = 65  # one picture in so many has a concept that nobody checked
NOTE = "collection.json"
# The second number of every random state, so that no two parts of the collection draw from the same one.
WORKS, VIEWINGS, FAULTY, ORDER = 1, 2, 3, 4


@dataclass(frozen=True)
class Record:
    """One line of metadata.csv before it has its number."""

    image_file: str
    words: Entry
    concepts: tuple[str, ...]
    split: str
    not_annotated: tuple[str, ...]
    group: str


def write_builtin_collection(folder: Path, *, pictures: int = 720, seed: int = 20260101) -> None:
    """Write the built-in collection to `folder`: `pictures` drawn ones, the photographs that the installed packages
    hold, and 22 records that are broken on purpose.

    The same numbers give the same bytes. A folder that already holds them is left alone, one with another built-in
    collection is replaced, and one with anything else is refused with CriticalError.
    """
    if pictures < FEWEST:
        raise CriticalError(f"The built-in collection needs at least {FEWEST} pictures, not {pictures}.")
    version = {"collection": "built-in", "format": FORMAT, "pictures": pictures, "seed": seed}
    if _held(folder) == version:
        return
    if folder.exists() and not _replaceable(folder):
        raise CriticalError(f"{folder} holds something other than a built-in collection; name an empty folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        draft.chmod(0o755)
        (draft / "pictures").mkdir()
        records = [*_drawn(draft, pictures, seed), *_photographed(draft), *_faulty(draft, seed)]
        records += _duplicates(draft, records)
        _write_metadata(draft, records, seed)
        (draft / NOTE).write_text(json.dumps(version, indent=2) + "\n", encoding="utf-8")
        _exchange(draft, folder, version)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _held(folder: Path) -> object:
    try:
        return json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _replaceable(folder: Path) -> bool:
    held = _held(folder)
    ours = isinstance(held, dict) and held.get("collection") == "built-in"
    return folder.is_dir() and (ours or not any(folder.iterdir()))


def _exchange(draft: Path, folder: Path, version: dict[str, object]) -> None:
    """Put the finished draft in the folder's place."""
    old = draft.with_name(draft.name + "-old")
    if folder.exists():
        os.rename(folder, old)
    try:
        os.rename(draft, folder)
    except OSError:
        # Another process may have finished the same collection in the meantime; that one is as good.
        if _held(folder) != version:
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _drawn(draft: Path, pictures: int, seed: int) -> Iterator[Record]:
    """The drawn pictures, series by series."""
    number = 0
    for work in series(pictures, seed):
        rng = np.random.default_rng([seed, WORKS, work.number])
        plate = work.kind.draw(rng)
        words = entry(rng, work.kind.name, plate.title)
        for view in range(work.views):
            suffix = ".png" if number % PNG_EVERY == PNG_EVERY // 4 else ".jpg"
            name = f"pictures/drawn_{number:04d}{suffix}"
            lens = np.random.default_rng([seed, VIEWINGS, work.number, view])
            (draft / name).write_bytes(encoded(finish(lens, plate), suffix, int(lens.integers(80, 91))))
            concepts, unknown = work.kind.concepts, work.kind.not_annotated
            if number % UNKNOWN_EVERY == 0 and not unknown:
                concepts, unknown = _unchecked(lens, concepts)
            named = replace(words, title=words.title + VIEWS[view])
            yield Record(name, named, concepts, work.split, unknown, f"work-{work.number:04d}")
            number += 1


def _unchecked(rng: np.random.Generator, concepts: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is known and what nobody checked: the landscape that the picture shows, or some subject that it may show."""
    if "landscape" in concepts:
        return tuple(slug for slug in concepts if slug != "landscape"), ("landscape",)
    return concepts, (pick(rng, [slug for slug in ("building", "landscape", "people") if slug not in concepts]),)


def _photographed(draft: Path) -> Iterator[Record]:
    """The photographs out of the installed packages, each a work of its own."""
    for item, image in photographs():
        stem = Path(item.path).stem
        name = f"pictures/{stem}.jpg"
        (draft / name).write_bytes(encoded(image, ".jpg", 88))
        provider = PACKAGES[item.package]
        words = Entry(item.title, item.creator, "", provider, provider, item.rights)
        yield Record(name, words, item.concepts, item.split, item.not_annotated, f"photograph-{stem}")


def _faulty(draft: Path, seed: int) -> Iterator[Record]:
    """The broken records: the catalogue knows them as well as the others, only the file is wrong."""
    number = 0
    for fault, (count, write) in FAULTS.items():
        for _ in range(count):
            rng = np.random.default_rng([seed, FAULTY, number])
            kind = KINDS[number * 7 % len(KINDS)]
            plate = kind.draw(rng)
            name = f"pictures/item_{number:04d}.jpg"
            write(rng, finish(rng, plate), draft / name)
            words = entry(rng, kind.name, plate.title)
            file = "" if fault == "missing" else name
            yield Record(file, words, kind.concepts, "", kind.not_annotated, f"item-{number:04d}")
            number += 1


def _duplicates(draft: Path, records: list[Record]) -> list[Record]:
    """The same file delivered twice under two records, on the test side."""
    single = [record for record in records if record.split == "test" and record.image_file.endswith(".jpg")]
    copies = []
    for place, record in enumerate(single[:: max(1, len(single) // DUPLICATES)][:DUPLICATES]):
        name = f"pictures/copy_{place:04d}.jpg"
        shutil.copyfile(draft / record.image_file, draft / name)
        copies.append(replace(record, image_file=name))
    return copies


def _write_metadata(draft: Path, records: list[Record], seed: int) -> None:
    """metadata.csv in an order that says nothing about the pictures."""
    order = np.random.default_rng([seed, ORDER]).permutation(len(records))
    with (draft / "metadata.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for number, place in enumerate(order):
            record = records[int(place)]
            cells = {
                **asdict(record.words),
                "record_id": record_id(record.words.provider, number),
                "image_file": record.image_file,
                "concepts": ";".join(record.concepts),
                "split": record.split,
                "not_annotated": ";".join(record.not_annotated),
                "group": record.group,
            }
            writer.writerow(cells)
