"""How faithful the stored pictures are: each against a full decode and a Lanczos resize of its source by Pillow."""

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.datasets.lake import open_lake
from pipeline.settings import Settings


def signal_to_noise(settings: Settings, run_key: str, pictures: Path) -> list[float]:
    """The peak signal-to-noise ratio (dB, over all three channels) of each picture of a run; `pictures` has the sources."""
    lake = open_lake(settings)
    columns = ["image_url", "shard_uri", "shard_offset", "shard_size"]
    rows = [row for batch in lake.rows(lake.run(run_key), "images", columns) for row in batch.to_pylist()]
    found = []
    for row in rows:
        stored = _pixels(lake.store.get_range(row["shard_uri"], row["shard_offset"], row["shard_size"]))
        source = _pixels((pictures / row["image_url"].rpartition("/")[2]).read_bytes())
        found.append(_decibels(stored, source.resize(stored.size, Image.Resampling.LANCZOS)))
    return found


def _pixels(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as image:
        return image.convert("RGB")


def _decibels(one: Image.Image, other: Image.Image) -> float:
    difference = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    error = float(np.mean(difference**2))
    return 10 * math.log10(255**2 / error) if error else math.inf
