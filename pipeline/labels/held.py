"""What a run's labels may not become because of the picture or the record that they are of, found once when it is planned."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from pipeline.datasets.lake import Lake, Part
from pipeline.datasets.run import Run
from pipeline.domain.outcome import Outcome
from pipeline.index.near_hashes import near_pairs, says_enough
from pipeline.labels.predictions import NO_KEYS, Keys, keys_of_images, keys_of_records
from pipeline.vocabulary import Policy

PICTURES = "pictures"  # that stand at too many records; beside it the records under each of `domain.label.CEILINGS`
Held = Mapping[str, Keys]


def held_back(lake: Lake, run: Run, images: Sequence[Part], policy: Policy, *, bits: int) -> Held:
    """Sorted keys: of pictures that stand at more records than the policy lets pass, and of records by their ceiling.

    Pictures look nearly the same when their hashes differ in at most `bits`.
    """
    found = dict(_records_under_ceilings(lake, run, policy)) if policy.provider_ceilings else {}
    if policy.most_records_per_picture is not None:
        found[PICTURES] = crowded_keys(lake, images, policy.most_records_per_picture, bits=bits)
    return found


def _records_under_ceilings(lake: Lake, run: Run, policy: Policy) -> dict[str, Keys]:
    found: dict[str, list[str]] = {}
    for batch in lake.rows(run, "records", ["record_id", "provider", "data_provider"]):
        for row in batch.to_pylist():
            if ceiling := policy.ceiling(row["data_provider"], row["provider"]):
                found.setdefault(ceiling[1], []).append(row["record_id"])
    return {most: np.sort(keys_of_records(records)) for most, records in found.items()}


def crowded_keys(lake: Lake, images: Sequence[Part], most_records: int, *, bits: int) -> Keys:
    """Keys of pictures that, with those that look nearly the same, stand at more records than so many; sorted.

    What looks like a picture that looks like another need not look like that one: neighbours of neighbours do not count.
    Memory: some hundred bytes a picture of the run.
    """
    from scipy.sparse import coo_array, eye_array

    keys, records, looks = _standing(lake, images)
    kinds, kind = np.unique(looks, axis=0, return_inverse=True)  # pictures of one hash are one, however many there are
    names, name = np.unique(records, return_inverse=True)
    stands = coo_array((np.ones(len(keys), np.int32), (kind, name)), shape=(len(kinds), len(names))).tocsr()
    telling = np.flatnonzero(kinds["telling"])
    hashes = kinds["look"][telling].astype(">u8").view(np.uint8).reshape(-1, 8)
    pairs = telling[np.array([pair[:2] for pair in near_pairs(hashes, bits)], np.intp).reshape(-1, 2)]
    ends = np.concatenate([pairs, pairs[:, ::-1]])
    square = (len(kinds), len(kinds))
    alike = coo_array((np.ones(len(ends), np.int32), (ends[:, 0], ends[:, 1])), shape=square) + eye_array(len(kinds))
    counts = np.diff((alike.tocsr() @ stands).indptr)  # records with an entry, whatever it adds up to
    return np.unique(keys[counts[kind] > most_records])


_LOOK = np.dtype([("telling", bool), ("look", np.uint64)])


def _standing(lake: Lake, images: Sequence[Part]) -> tuple[Keys, Keys, npt.NDArray[np.void]]:
    """The usable pictures of a run, the record that each stands at, and its hash: its key where a hash says too little."""
    keys, records, looks = [NO_KEYS], [NO_KEYS], [np.zeros(0, _LOOK)]
    for part in images:
        for batch in lake.part_rows(part.key, ("record_id", "image_id", "outcome", "perceptual_hash")):
            usable = batch.filter(pc.equal(batch["outcome"], str(Outcome.OK)))
            own = keys_of_images(usable["image_id"].to_pylist())
            keys.append(own)
            records.append(keys_of_records(usable["record_id"].to_pylist()))
            hashes = usable["perceptual_hash"].to_pylist()
            pairs = zip(hashes, own, strict=True)
            told = [(True, int(text, 16)) if text and says_enough(text) else (False, int(key)) for text, key in pairs]
            looks.append(np.array(told, _LOOK))
    return np.concatenate(keys), np.concatenate(records), np.concatenate(looks)
