"""Read a shard's pictures in order, decode them in threads, hand them on in batches; memory stays bounded."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.lake import Lake
from pipeline.datasets.stage import groups_of
from pipeline.imaging.derivative import decode_derivative
from pipeline.model.preprocessing import Pixels, network_input

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


def usable_images(lake: Lake, part_key: str) -> Iterator[dict[str, Any]]:
    """The rows of an images part whose picture lies in a shard."""
    for batch in lake.part_rows(part_key, IMAGE_COLUMNS):
        yield from (row for row in batch.to_pylist() if row["outcome"] == "ok")


def read_batches(shard: Path, rows: Iterator[dict[str, Any]], *, size: int, side_px: int) -> Iterator[ImageBatch]:
    """Batches in the order of the rows; decoding runs a few batches ahead of the model."""
    with shard.open("rb") as handle, ThreadPoolExecutor(DECODE_THREADS) as threads:

        def start(group: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Any]]:
            contents = []
            for row in group:
                handle.seek(row["shard_offset"])
                contents.append(handle.read(row["shard_size"]))
            return group, [threads.submit(_pixels, content, side_px) for content in contents]

        waiting = []
        for group in groups_of(rows, size):
            waiting.append(start(group))
            if len(waiting) > BATCHES_AHEAD:
                yield _collected(*waiting.pop(0))
        for group, futures in waiting:
            yield _collected(group, futures)


def _pixels(content: bytes, side_px: int) -> Pixels:
    return network_input(decode_derivative(content), side_px)


def _collected(rows: Sequence[dict[str, Any]], futures: Sequence[Any]) -> ImageBatch:
    return ImageBatch(rows, np.stack([future.result() for future in futures]))
