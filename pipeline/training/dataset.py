"""A collection as training data: pictures prepared exactly as the nightly run prepares them, labels as a matrix."""

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.collection import Collection, CollectionRow
from pipeline.errors import CriticalError
from pipeline.imaging.derivative import decode_derivative
from pipeline.imaging.examine import Rules, examine_here, rules_of
from pipeline.model.preprocessing import Pixels, network_input
from pipeline.reporting.progress import Progress
from pipeline.reporting.truth import known_labels, label_row
from pipeline.settings import Settings
from pipeline.storage import room_for
from pipeline.vocabulary import Vocabulary

FEWEST_EXAMPLES = 5  # a concept with fewer positives in training is left out: nothing could be said of it


@dataclass(frozen=True)
class LabelledImages:
    """n pictures: uint8 pixels (n, side, side, 3), truth (n, concepts) in 1, 0, -1 (unknown), groups, splits.

    The pictures of a split stand one after the other. The pixels may lie in a file: a million pictures fit no memory.
    """

    slugs: tuple[str, ...]
    pixels: Pixels
    truth: npt.NDArray[np.int8]
    groups: npt.NDArray[np.str_]
    splits: npt.NDArray[np.str_]
    record_ids: tuple[str, ...]
    looks: tuple[tuple[str, str], ...] = ()  # perceptual hash and sketch of each, in hex

    def split(self, name: str) -> "LabelledImages":
        """The pictures of one split; nothing is copied."""
        rows = np.flatnonzero(self.splits == name)
        own = slice(rows[0], rows[-1] + 1) if len(rows) else slice(0)
        assert len(self.splits[own]) == len(rows), f"the pictures of split {name} do not stand together"
        return LabelledImages(
            self.slugs,
            self.pixels[own],
            self.truth[own],
            self.groups[own],
            self.splits[own],
            self.record_ids[own],
            self.looks[own],
        )


def load_images(collection: Collection, vocabulary: Vocabulary, *, side_px: int, settings: Settings) -> LabelledImages:
    """Read every usable picture with a split; unknown concepts and broken pictures are left out.

    Raises CriticalError when nothing is left to train on.
    """
    rows = labelled_rows(collection)
    slugs = _trained_slugs([row for row in rows if row.split == "train"], vocabulary)
    images = load_rows(collection, rows, slugs, vocabulary, side_px=side_px, settings=settings)
    if images is None or not slugs:
        raise CriticalError(
            f"{collection.folder}: no readable pictures with a split and concepts of the vocabulary; training needs "
            f"rows with split train and at least {FEWEST_EXAMPLES} examples of a concept"
        )
    return images


def labelled_rows(collection: Collection) -> list[CollectionRow]:
    """The rows that belong to a split and have a picture."""
    return [row for row in collection.rows if row.split and row.image_file]


def load_rows(
    collection: Collection,
    rows: Sequence[CollectionRow],
    slugs: tuple[str, ...],
    vocabulary: Vocabulary,
    *,
    side_px: int,
    settings: Settings,
) -> LabelledImages | None:
    """The rows whose picture can be read, with the truth of these concepts; None when there is none."""
    pixels, kept, looks = _load_pixels(collection, sorted(rows, key=lambda row: row.split), side_px, settings)
    if not kept:
        return None
    return LabelledImages(
        slugs=slugs,
        pixels=pixels,
        truth=np.array([label_row(row, vocabulary, slugs) for row in kept], dtype=np.int8),
        groups=np.array([row.group for row in kept]),
        splits=np.array([row.split for row in kept]),
        record_ids=tuple(row.record_id for row in kept),
        looks=tuple(looks),
    )


def _trained_slugs(rows: Sequence[CollectionRow], vocabulary: Vocabulary) -> tuple[str, ...]:
    counts: dict[str, int] = {}
    for row in rows:
        for slug in known_labels(row, vocabulary)[0]:
            counts[slug] = counts.get(slug, 0) + 1
    return tuple(concept.slug for concept in vocabulary.concepts if counts.get(concept.slug, 0) >= FEWEST_EXAMPLES)


def _load_pixels(
    collection: Collection, rows: Sequence[CollectionRow], side_px: int, settings: Settings
) -> tuple[Pixels, list[CollectionRow], list[tuple[str, str]]]:
    """Into a file without a name below TMPDIR, which goes with the array."""
    rules = rules_of(settings)

    def load(row: CollectionRow) -> tuple[Pixels, tuple[str, str]] | None:
        path = collection.image_path(row)
        return _prepared(path, rules, side_px) if path and path.is_file() else None

    kept: list[CollectionRow] = []
    looks: list[tuple[str, str]] = []
    if not rows:
        return np.zeros((0, side_px, side_px, 3), np.uint8), kept, looks
    with (
        tempfile.TemporaryFile(prefix="enrich-") as file,
        ThreadPoolExecutor(2) as threads,
        Progress("training", "pictures", settings=settings, total=len(rows)) as progress,
    ):
        with room_for(Path(tempfile.gettempdir())):
            if hasattr(os, "posix_fallocate"):  # a full disk is told here; behind a map it would end the process
                os.posix_fallocate(file.fileno(), 0, len(rows) * side_px * side_px * 3)
        pixels = np.memmap(file, np.uint8, "w+", shape=(len(rows), side_px, side_px, 3))
        for row, loaded in zip(rows, threads.map(load, rows), strict=True):
            progress.advance()
            if loaded is not None:
                pixels[len(kept)], look = loaded
                kept.append(row)
                looks.append(look)
    return pixels[: len(kept)], kept, looks


def _prepared(path: Path, rules: Rules, side_px: int) -> tuple[Pixels, tuple[str, str]] | None:
    """Through the same JPEG derivative as in the nightly run, so that the network sees the same pixels; and the look."""
    found = examine_here(path.read_bytes(), rules)
    if found.jpeg is None:
        return None
    return network_input(decode_derivative(found.jpeg), side_px), (str(found.perceptual_hash), str(found.sketch))
