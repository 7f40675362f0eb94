"""Pictures that look nearly the same: pairs whose perceptual hashes differ in a few bits."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.datasets.lake import Lake, Part, as_table
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import NEAR_DUPLICATES
from pipeline.domain.outcome import Outcome

# A hash with hardly a bit set, or hardly one not, is that of a plain picture: it says too little to compare.
FEWEST_BITS, MOST_BITS = 6, 58
NEIGHBOURS = 20  # of one picture: more are a series, and every one of them is linked to others of it
_QUERIES = 4_096
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


def near_pairs(hashes: "np.ndarray[Any, np.dtype[np.uint8]]", bits: int) -> Iterator[tuple[int, int, int]]:
    """Pairs of rows (first < second, distance in bits) of hashes (n, 8) that differ in at most `bits` ≤ 3 bits.

    Four tables of 16 bits each: two hashes with at most three differing bits agree in one of them, so none is missed.
    """
    if len(hashes) < 2:
        return
    import faiss

    index = faiss.IndexBinaryMultiHash(64, 4, 16)
    index.add(hashes)
    for start in range(0, len(hashes), _QUERIES):
        queries = hashes[start : start + _QUERIES]
        limits, distances, found = index.range_search(queries, bits + 1)
        for row in range(len(queries)):
            near = [
                (int(found[at]), int(distances[at]))
                for at in range(int(limits[row]), int(limits[row + 1]))
                if found[at] > start + row and distances[at] <= bits
            ]
            for other, distance in sorted(near)[:NEIGHBOURS]:
                yield start + row, other, distance


def _hashes(lake: Lake, images: Sequence[Part]) -> "tuple[list[str], np.ndarray[Any, np.dtype[np.uint8]]]":
    """Image ids and hashes of the run's pictures, each once: eight bytes and an id a picture."""
    seen: dict[str, bytes] = {}
    for part in images:
        for batch in lake.part_rows(part.key, ("image_id", "outcome", "perceptual_hash")):
            for row in batch.to_pylist():
                if row["outcome"] == Outcome.OK and row["perceptual_hash"]:
                    value = int(row["perceptual_hash"], 16)
                    if FEWEST_BITS <= value.bit_count() <= MOST_BITS:
                        seen.setdefault(row["image_id"], value.to_bytes(8, "big"))
    return list(seen), np.frombuffer(b"".join(seen.values()), np.uint8).reshape(-1, 8)


def _write(lake: Lake, run: Run, number: int, rows: list[dict[str, Any]]) -> Part:
    return lake.write_part(run, "near_duplicates", number, [as_table("near_duplicates", rows)], NEAR_DUPLICATES)
