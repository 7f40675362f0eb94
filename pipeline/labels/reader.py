"""Pictures from shards to predictions, in order: read and decoded in threads, predicted in another, memory bounded.

The model never waits while there is something to decode, and rows are made while it works.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
import structlog

from pipeline.datasets.lake import Lake
from pipeline.datasets.stage import groups_of
from pipeline.errors import PoisonedResultError
from pipeline.imaging.derivative import decode_derivative
from pipeline.model.predictor import Prediction, Predictor
from pipeline.model.preprocessing import Pixels, network_input
from pipeline.storage import ObjectStore

BATCHES_AHEAD = 2  # that are ready and wait for the model, beside those that threads work on
PREDICTED_AHEAD = 2
IMAGE_COLUMNS = (
    "record_id",
    "image_id",
    "image_url",
    "provider",
    "rights_category",
    "outcome",
    "shard_uri",
    "shard_offset",
    "shard_size",
)

Given = TypeVar("Given")
Made = TypeVar("Made")

log = structlog.get_logger()


@dataclass(frozen=True)
class ImageBatch:
    """Rows of the `images` dataset and their pixels (n, side, side, 3), uint8; and rows whose picture cannot be read."""

    rows: Sequence[dict[str, Any]]
    pixels: Pixels
    unreadable: Sequence[dict[str, Any]] = ()


def usable_images(lake: Lake, part_keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of images parts whose picture lies in a shard."""
    for key in part_keys:
        for batch in lake.part_rows(key, IMAGE_COLUMNS):
            yield from (row for row in batch.to_pylist() if row["outcome"] == "ok")


def read_batches(store: ObjectStore, rows: Iterable[dict[str, Any]], *, size: int, side_px: int) -> Iterator[ImageBatch]:
    """Batches in the order of the rows, whichever shards they lie in; a few are decoded before they are asked for.

    A picture that is not in its shard any more, or is damaged there, is among `unreadable`, and a warning names the shard.
    """
    threads = os.cpu_count() or 1

    def load(group: Sequence[dict[str, Any]]) -> ImageBatch:
        return _loaded(store, group, side_px)

    return _in_order(load, groups_of(rows, size), threads=threads, ahead=threads + BATCHES_AHEAD)


def predicted(batches: Iterable[ImageBatch], predictor: Predictor) -> Iterator[tuple[ImageBatch, Prediction]]:
    """Each batch with its prediction, a few before they are asked for; PoisonedResultError that names the pictures."""

    def predict(images: ImageBatch) -> tuple[ImageBatch, Prediction]:
        try:
            return images, predictor.predict(images.pixels)
        except PoisonedResultError as error:
            raise PoisonedResultError(f"{error}; {_named(images.rows)}") from error

    return _in_order(predict, batches, threads=1, ahead=PREDICTED_AHEAD)


def _in_order(work: Callable[[Given], Made], items: Iterable[Given], *, threads: int, ahead: int) -> Iterator[Made]:
    """What `work` makes of each item, in order; threads are at most so many items ahead of whoever asks."""
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # nobody asks for them any more
                future.cancel()


def _named(rows: Sequence[dict[str, Any]]) -> str:
    shards = ", ".join(sorted({row["shard_uri"] for row in rows}))
    return f"pictures {rows[0]['image_id']} to {rows[-1]['image_id']} of shard {shards}" if rows else "no pictures at all"


def _loaded(store: ObjectStore, group: Sequence[dict[str, Any]], side_px: int) -> ImageBatch:
    """The pictures of a group: neighbours in a shard are one range read."""
    rows, pixels, unreadable = [], [], []
    for shard, some in groupby(group, key=lambda row: row["shard_uri"]):
        members = list(some)
        for row, content in zip(members, _contents(store, shard, members), strict=True):
            try:
                pixels.append(network_input(decode_derivative(content), side_px))
                rows.append(row)
            except (OSError, ValueError, SyntaxError) as error:  # Pillow's ways to say that a file is none
                log.warning(
                    "picture_unreadable", shard=shard, offset=row["shard_offset"], image=row["image_id"], problem=str(error)
                )
                unreadable.append(row)
    return ImageBatch(rows, np.stack(pixels) if pixels else np.zeros((0, side_px, side_px, 3), np.uint8), unreadable)


def _contents(store: ObjectStore, shard: str, rows: Sequence[dict[str, Any]]) -> Iterator[bytes]:
    """The bytes of pictures of one shard; none of each when there is no such shard."""
    try:
        yield from store.get_ranges(shard, [(row["shard_offset"], row["shard_size"]) for row in rows])
    except FileNotFoundError:
        yield from (b"" for _ in rows)
