"""Perceptual hashes that differ in a few bits: pairs of pictures that look nearly the same."""

from collections.abc import Iterator
from typing import Any

import numpy as np

# A hash with hardly a bit set, or hardly one not, is that of a plain picture: it says too little to compare.
FEWEST_BITS, MOST_BITS = 6, 58
NEIGHBOURS = 20  # of one picture: more are a series, and every one of them is linked to others of it
_QUERIES = 4_096


def says_enough(perceptual_hash: str) -> bool:
    """Is a hash (16 hex digits) worth comparing?"""
    return FEWEST_BITS <= int(perceptual_hash, 16).bit_count() <= MOST_BITS


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
