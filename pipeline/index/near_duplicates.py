"""Pictures that look nearly the same: pairs whose perceptual hashes differ in a few bits."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.datasets.lake import Lake, Part, as_table
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import NEAR_DUPLICATES
from pipeline.domain.outcome import Outcome
from pipeline.index.near_hashes import near_pairs, says_enough

_ROWS_PER_PART = 200_000


def publish_near_duplicates(lake: Lake, run: Run, images: Sequence[Part], *, bits: int) -> int:
    """Write the dataset `near_duplicates` of a run: each pair once, the smaller image id first; returns its rows."""
    ids, hashes = _hashes(lake, images)
    parts, rows = list[Part](), list[dict[str, Any]]()
    for first, second, distance in near_pairs(hashes, bits):
        one, other = sorted((ids[first], ids[second]))
        rows.append({"image_id": one, "near_image_id": other, "distance": distance} | run.columns())
        if len(rows) == _ROWS_PER_PART:
            parts.append(_write(lake, run, len(parts), rows))
            rows = []
    if rows:
        parts.append(_write(lake, run, len(parts), rows))
    lake.publish(run, "near_duplicates", parts)
    return sum(part.rows for part in parts)


def _hashes(lake: Lake, images: Sequence[Part]) -> "tuple[list[str], np.ndarray[Any, np.dtype[np.uint8]]]":
    """Image ids and hashes of the run's pictures, each once: eight bytes and an id a picture."""
    seen: dict[str, bytes] = {}
    for part in images:
        for batch in lake.part_rows(part.key, ("image_id", "outcome", "perceptual_hash")):
            for row in batch.to_pylist():
                if row["outcome"] == Outcome.OK and row["perceptual_hash"] and says_enough(row["perceptual_hash"]):
                    seen.setdefault(row["image_id"], bytes.fromhex(row["perceptual_hash"]))
    return list(seen), np.frombuffer(b"".join(seen.values()), np.uint8).reshape(-1, 8)


def _write(lake: Lake, run: Run, number: int, rows: list[dict[str, Any]]) -> Part:
    return lake.write_part(run, "near_duplicates", number, [as_table("near_duplicates", rows)], NEAR_DUPLICATES)
