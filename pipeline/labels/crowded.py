"""Pictures that stand at many records: of hardly any of them can they be the picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from pipeline.datasets.lake import Lake, Part
from pipeline.datasets.run import Run
from pipeline.domain.outcome import Outcome
from pipeline.labels.predictions import NO_KEYS, Keys, keys_of_images, keys_of_records

Pairs = npt.NDArray[np.uint64]


def crowded_keys(lake: Lake, run: Run, images: Sequence[Part], most_records: int) -> Keys:
    """Keys of pictures that, with those of the run that look nearly the same, stand at more records than so many; sorted.

    What looks like a picture that looks like another need not look like that one: neighbours of neighbours do not count.
    Memory: some hundred bytes a picture of the run.
    """
    from scipy.sparse import coo_array, eye_array

    keys, records = _standing(lake, images)
    near = _near(lake, run)
    pictures, places = np.unique(np.concatenate([keys, near.ravel()]), return_inverse=True)
    own, pairs = places[: len(keys)], places[len(keys) :].reshape(-1, 2)
    names, of = np.unique(records, return_inverse=True)
    stands = coo_array((np.ones(len(own), np.int32), (own, of)), shape=(len(pictures), len(names))).tocsr()
    ends = np.concatenate([pairs, pairs[:, ::-1]])
    square = (len(pictures), len(pictures))
    alike = coo_array((np.ones(len(ends), np.int32), (ends[:, 0], ends[:, 1])), shape=square) + eye_array(len(pictures))
    counts = np.diff((alike.tocsr() @ stands).indptr)  # records with an entry, whatever it adds up to
    return np.asarray(pictures[counts > most_records], np.uint64)


def _standing(lake: Lake, images: Sequence[Part]) -> tuple[Keys, Keys]:
    """The usable pictures of a run, and the record that each stands at."""
    keys, records = [NO_KEYS], [NO_KEYS]
    for part in images:
        for batch in lake.part_rows(part.key, ("record_id", "image_id", "outcome")):
            usable = batch.filter(pc.equal(batch["outcome"], str(Outcome.OK)))
            keys.append(keys_of_images(usable["image_id"].to_pylist()))
            records.append(keys_of_records(usable["record_id"].to_pylist()))
    return np.concatenate(keys), np.concatenate(records)


def _near(lake: Lake, run: Run) -> Pairs:
    """Pairs of keys (n, 2) of pictures that look nearly the same."""
    found = [np.zeros((0, 2), np.uint64)]
    rows: Any = lake.rows(run, "near_duplicates", ["image_id", "near_image_id"])
    for batch in rows if lake.is_published(run, "near_duplicates") else ():
        sides = [keys_of_images(batch[name].to_pylist()) for name in ("image_id", "near_image_id")]
        found.append(np.stack(sides, axis=1))
    return np.concatenate(found)
