"""Pictures that stand at many records: of hardly any of them can they be the picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from pipeline.datasets.lake import Lake, Part
from pipeline.datasets.run import Run
from pipeline.domain.outcome import Outcome
from pipeline.labels.predictions import Keys, keys_of_images

Pairs = npt.NDArray[np.uint64]


def crowded_keys(lake: Lake, run: Run, images: Sequence[Part], most_records: int) -> Keys:
    """Keys of pictures that, with those of the run that look nearly the same, stand at more records than so many; sorted.

    Memory: some 150 bytes a record of the run.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    keys, records = _standing(lake, images)
    near = _near(lake, run)
    pictures, places = np.unique(np.concatenate([keys, near.ravel()]), return_inverse=True)
    own, pairs = places[: len(keys)], places[len(keys) :].reshape(-1, 2)
    ones = np.ones(len(pairs), bool)
    _, groups = connected_components(coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(len(pictures), len(pictures))))
    standing = np.unique(np.stack([groups[own], records], axis=1), axis=0)[:, 0]
    counts = np.bincount(standing, minlength=len(pictures))
    return np.asarray(pictures[counts[groups] > most_records], np.uint64)


def _standing(lake: Lake, images: Sequence[Part]) -> tuple[Keys, npt.NDArray[np.int64]]:
    """The usable pictures of a run, and the number of the record that each stands at."""
    keys, records = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    numbers: dict[str, int] = {}
    for part in images:
        for batch in lake.part_rows(part.key, ("record_id", "image_id", "outcome")):
            usable = batch.filter(pc.equal(batch["outcome"], str(Outcome.OK)))
            keys.append(keys_of_images(usable["image_id"].to_pylist()))
            named = usable["record_id"].to_pylist()
            records.append(np.fromiter((numbers.setdefault(one, len(numbers)) for one in named), np.int64))
    return np.concatenate(keys), np.concatenate(records)


def _near(lake: Lake, run: Run) -> Pairs:
    """Pairs of keys (n, 2) of pictures that look nearly the same."""
    found = [np.zeros((0, 2), np.uint64)]
    rows: Any = lake.rows(run, "near_duplicates", ["image_id", "near_image_id"])
    for batch in rows if lake.is_published(run, "near_duplicates") else ():
        sides = [keys_of_images(batch[name].to_pylist()) for name in ("image_id", "near_image_id")]
        found.append(np.stack(sides, axis=1))
    return np.concatenate(found)
