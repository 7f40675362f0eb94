"""Exact nearest neighbours by cosine (FAISS, flat): no tuning, reproducible, recall 1."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.storage import ObjectStore

Floats = npt.NDArray[np.float32]


def save_index(store: ObjectStore, key: str, vectors: Floats) -> None:
    """Build an index over n vectors (n, width) and write it to the store."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(_unit(vectors))
    with tempfile.TemporaryDirectory(prefix="enrich-") as folder:
        path = Path(folder) / "index.faiss"
        faiss.write_index(index, str(path))
        store.put_file(key, path)


def load_index(store: ObjectStore, key: str) -> Any:
    """The index that `save_index` wrote."""
    import faiss

    with store.local_copy(key) as path:
        return faiss.read_index(str(path))


def nearest(index: Any, first: int, last: int, count: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Cosine similarities and places (rows, count) of the neighbours of vectors first…last-1, best first.

    A vector is among its own neighbours; -1 fills up where there are fewer.
    """
    queries = index.reconstruct_n(first, last - first)
    similarities, places = index.search(queries, min(count, index.ntotal))
    return similarities, places


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
