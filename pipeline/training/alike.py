"""Pictures that look nearly the same: what is learned of one is known of the other."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pipeline.errors import CriticalError
from pipeline.imaging.look import sketch_distance
from pipeline.index.near_hashes import near_pairs, says_enough
from pipeline.training.dataset import FEWEST_EXAMPLES, LabelledImages
from pipeline.training.splits import Example, belonging

SAME_LOOK = 12.0  # grey levels between two sketches, at most, for pictures whose hashes are close
Look = tuple[str, str]  # perceptual hash and sketch, both in hex


def alike(looks: Sequence[Look], bits: int) -> Iterator[tuple[int, int]]:
    """Pairs of places that look nearly the same: hashes at most `bits` apart, and close grey values."""
    telling = [place for place, (perceptual_hash, _) in enumerate(looks) if says_enough(perceptual_hash)]
    hashes = np.frombuffer(b"".join(bytes.fromhex(looks[place][0]) for place in telling), np.uint8)
    for first, second, _ in near_pairs(hashes.reshape(-1, 8), bits):
        one, other = telling[first], telling[second]
        if sketch_distance(looks[one][1], looks[other][1]) <= SAME_LOOK:
            yield one, other


def nothing_held_out_is_learned(images: LabelledImages, bits: int) -> tuple[LabelledImages, tuple[str, ...]]:
    """The pictures, those of `train` with unknown labels that belong to a held-out one, and the records of these.

    A picture belongs to those of its group, where the data have several groups, to those that look nearly the same, and to
    what these belong to. Concepts that too few pictures are left of go. Raises CriticalError when all do.
    """
    several = len(set(images.groups)) > 1
    examples = [
        Example(f"{place}|{record_id}", frozenset([str(group)] if several and group else ()), "", frozenset())
        for place, (record_id, group) in enumerate(zip(images.record_ids, images.groups, strict=True))
    ]
    names = np.array(belonging(examples, alike(images.looks, bits)))
    training = images.splits == "train"
    leaks = training & np.isin(names, names[~training])
    truth = images.truth.copy()
    truth[leaks] = -1
    left = (truth[training] == 1).sum(axis=0) >= FEWEST_EXAMPLES
    if not left.any():
        raise CriticalError(
            f"{leaks.sum():,} of {training.sum():,} training pictures belong to held-out ones, by their group or their look, "
            "and too few are left to learn from. A group is what must not be parted, as the pictures of one object: check "
            "the columns group and split"
        )
    slugs = tuple(slug for slug, kept in zip(images.slugs, left, strict=True) if kept)
    records = tuple(images.record_ids[place] for place in np.flatnonzero(leaks))
    return replace(images, slugs=slugs, truth=truth[:, left]), records
