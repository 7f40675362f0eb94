"""Pictures that look nearly the same: what is learned of one is known of the other."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pipeline.imaging.look import sketch_distance
from pipeline.index.near_hashes import near_pairs, says_enough
from pipeline.training.dataset import LabelledImages

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

    A picture belongs to one of its group, where the data have several groups, or to one that looks nearly the same.
    """
    training = images.splits == "train"
    leaks = np.zeros(len(training), bool)
    if len(set(images.groups)) > 1:
        leaks |= training & np.isin(images.groups, images.groups[~training]) & (images.groups != "")
    for one, other in alike(images.looks, bits):
        if training[one] != training[other]:
            leaks[one if training[one] else other] = True
    truth = images.truth.copy()
    truth[leaks] = -1
    return replace(images, truth=truth), tuple(images.record_ids[place] for place in np.flatnonzero(leaks))
