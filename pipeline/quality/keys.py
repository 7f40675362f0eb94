"""Keys that come twice in a dataset, however many parts it has: found by 64-bit hashes, some bytes a row in memory."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.datasets.lake import Lake, Part

Hashes = npt.NDArray[np.uint64]


def repeated(lake: Lake, parts: Sequence[Part], columns: Sequence[str], *, examples: int) -> tuple[int, list[Any]]:
    """How many rows have a key (values of these columns) that another one before them has, and some such keys.

    An empty value is no key where a key is one column. Rows whose hashes are the same are read once more, so that two keys
    of one hash are not taken for one.
    """
    hashes = [found for _, found in _hashed(lake, parts, columns)]
    every = np.concatenate(hashes) if hashes else np.zeros(0, np.uint64)
    hashes.clear()
    every.sort()
    suspects = np.unique(every[1:][every[1:] == every[:-1]])
    if not len(suspects):
        return 0, []
    counts: Counter[tuple[Any, ...]] = Counter()
    for table, found in _hashed(lake, parts, columns):
        own = table.filter(pa.array(np.isin(found, suspects)))
        counts.update(zip(*(own[name].to_pylist() for name in columns), strict=True))
    twice = [key for key, count in counts.items() if count > 1]
    return sum(counts[key] - 1 for key in twice), [key[0] if len(key) == 1 else list(key) for key in twice[:examples]]


def _hashed(lake: Lake, parts: Sequence[Part], columns: Sequence[str]) -> Iterator[tuple[pa.Table, Hashes]]:
    import duckdb

    names = ", ".join(f'"{name}"' for name in columns)
    with duckdb.connect() as connection:
        for part in parts:
            for batch in lake.part_rows(part.key, list(columns)):
                table = pa.Table.from_batches([batch])
                if len(columns) == 1:
                    table = table.drop_null()
                connection.register("batch", table)
                answer = connection.execute(f"SELECT hash({names}) AS found FROM batch").fetchnumpy()  # noqa: S608
                yield table, np.asarray(answer["found"], np.uint64)
