"""Read pictures from shards in order, decode them in threads, hand them on in batches; memory stays bounded."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from pipeline.datasets.lake import Lake
from pipeline.datasets.stage import groups_of
from pipeline.imaging.derivative import decode_derivative
from pipeline.model.preprocessing import Pixels, network_input
from pipeline.storage import ObjectStore

DECODE_THREADS = 2
BATCHES_AHEAD = 3
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


@dataclass(frozen=True)
class ImageBatch:
    """Rows of the `images` dataset and their pixels (n, side, side, 3), uint8."""

    rows: Sequence[dict[str, Any]]
    pixels: Pixels


def usable_images(lake: Lake, part_keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of images parts whose picture lies in a shard."""
    for key in part_keys:
        for batch in lake.part_rows(key, IMAGE_COLUMNS):
            yield from (row for row in batch.to_pylist() if row["outcome"] == "ok")


def read_batches(store: ObjectStore, rows: Iterator[dict[str, Any]], *, size: int, side_px: int) -> Iterator[ImageBatch]:
    """Batches in the order of the rows, whichever shards they lie in; decoding runs a few batches ahead of the model."""
    with ThreadPoolExecutor(DECODE_THREADS) as threads:

        def start(group: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Any]]:
            return group, [threads.submit(_pixels, content, side_px) for content in _contents(store, group)]

        waiting = []
        for group in groups_of(rows, size):
            waiting.append(start(group))
            if len(waiting) > BATCHES_AHEAD:
                yield _collected(*waiting.pop(0))
        for group, futures in waiting:
            yield _collected(group, futures)


def _contents(store: ObjectStore, group: Sequence[dict[str, Any]]) -> Iterator[bytes]:
    """The pictures of a group: neighbours in a shard are one range read."""
    for shard, rows in groupby(group, key=lambda row: row["shard_uri"]):
        yield from store.get_ranges(shard, [(row["shard_offset"], row["shard_size"]) for row in rows])


def _pixels(content: bytes, side_px: int) -> Pixels:
    return network_input(decode_derivative(content), side_px)


def _collected(rows: Sequence[dict[str, Any]], futures: Sequence[Any]) -> ImageBatch:
    return ImageBatch(rows, np.stack([future.result() for future in futures]))
