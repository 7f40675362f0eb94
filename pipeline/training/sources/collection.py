"""Collection folders: pictures with a `metadata.csv`."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.collection import Collection, read_collection
from pipeline.training.sources.rows import Labelled, Picture, Source


def read_collection_folder(path: Path) -> Source:
    """The rows of a collection as they are; what is neither in `concepts` nor in `not_annotated` is false.

    A split that was only drawn, because the CSV names none, is drawn anew. Raises CriticalError as `read_collection`.
    """
    collection = read_collection(path)
    return Source(path.name, _items(collection), len(collection.rows))


def _items(collection: Collection) -> Iterator[Labelled]:
    for row in collection.rows:
        file = collection.image_path(row)
        there = file is not None and file.is_file()
        picture = Picture(file) if there else Picture(reason="no_picture", detail=row.image_file)
        yield Labelled(replace(row, split="" if collection.split_drawn else row.split), picture)
