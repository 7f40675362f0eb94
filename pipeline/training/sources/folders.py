"""Pictures in a folder for each class: `DIR/<slug or label>/<picture files>`."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.crowd.labels import Labels
from pipeline.domain.identifiers import record_of
from pipeline.errors import CriticalError
from pipeline.training.sources.beside import Beside
from pipeline.training.sources.rows import Labelled, Picture, Source, labelled, made_up_record


def read_folders(path: Path, beside: Beside) -> Source:
    """The pictures below each folder of `path`, whose name is the label.

    One label a picture was chosen, among those that have a folder: these others are false. Concepts without a folder are
    unknown. A picture that lies in two folders shows both concepts. A folder whose name the vocabulary does not know says
    nothing, and its pictures are left out. A file name with `[ph]` for `/` is a Europeana id, as the pilot wrote them.

    Raises CriticalError when `path` is no folder, or has no folder in it.
    """
    if not path.is_dir():
        raise CriticalError(f"{path}: no such folder; it should hold a folder of pictures for each label")
    classes = sorted(one.name for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))
    if not classes:
        raise CriticalError(f"{path}: no folder in it; put the pictures of each label into a folder with the label as its name")
    loose = sum(1 for one in path.iterdir() if one.is_file() and not one.name.startswith("."))
    notes = [f"{loose:,} files lie in {path} itself, so they have no label; they are not looked at"] if loose else []
    files = {name: list(_files(path / name)) for name in classes}
    labels = beside.labels()
    slugs = {name: labels.concept(name) for name in classes}
    for name, slug in slugs.items():
        if slug is None:
            labels.unknown[name] = max(len(files[name]), 1)
    total = sum(len(found) for found in files.values())
    return Source(f"folders:{path.name}", _items(path, files, slugs, labels), total, labels.unknown, notes, by_people=True)


def _items(path: Path, files: Mapping[str, list[Path]], slugs: Mapping[str, str | None], labels: Labels) -> Iterator[Labelled]:
    offered = {slug for slug in slugs.values() if slug}
    for name, found in files.items():
        slug = slugs[name]
        said = labels.row({slug} if slug else set(), offered - {slug} if slug is not None else set())
        for file in found:
            way = file.relative_to(path).as_posix()
            record_id = record_of(file.stem.replace("[ph]", "/")) if "[ph]" in file.stem else ""
            yield labelled(record_id or made_up_record(path.name or "folders", way.replace("/", "-")), Picture(file), *said)


def _files(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(where) / name for name in sorted(names) if not name.startswith("."))
