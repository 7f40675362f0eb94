"""Which pictures an epoch shows, how often, and what is changed about them."""

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.model.preprocessing import Pixels

MOST_TIMES = 5  # that a picture comes in one epoch


def epoch_rows(
    truth: npt.NDArray[np.int8], random: np.random.Generator, *, most: int = 0, fewest: int = 0
) -> npt.NDArray[np.intp]:
    """Rows (indices into truth) of one epoch, shuffled; `most` and `fewest` pictures of a concept are aimed at, 0: no bound.

    A picture is left out only as far as all its concepts have too many, and comes again for the rarest of them.
    """
    true = truth == 1
    counts = np.maximum(true.sum(axis=0), 1)
    labelled = true.any(axis=1)
    keep = np.ones(len(truth))
    if most:
        share = np.where(true, np.minimum(1.0, most / counts), 0.0).max(axis=1)
        keep = np.where(labelled, share, 1.0)
    times = np.ones(len(truth))
    if fewest:
        wanted = np.where(true, fewest / counts, 0.0).max(axis=1)
        times = np.clip(wanted, 1.0, MOST_TIMES)
    expected = keep * times
    whole = np.floor(expected)
    count = (whole + (random.random(len(truth)) < expected - whole)).astype(int)
    return random.permutation(np.repeat(np.arange(len(truth)), count))


def changed(pixels: Pixels, random: np.random.Generator, *, strength: float) -> Pixels:
    """Pictures (n, side, side, 3) as another camera, scanner or cropping hand might have made them."""
    return np.stack([_changed(picture, random, strength) for picture in pixels])


def _changed(picture: Pixels, random: np.random.Generator, strength: float) -> Pixels:
    side = picture.shape[0]
    zoom, aspect = random.uniform(1 - 0.5 * strength, 1), random.uniform(1 - 0.3 * strength, 1 + 0.3 * strength)
    width, height = (int(np.clip(side * part, 8, side)) for part in (zoom * aspect, zoom / aspect))
    left, top = random.integers(0, side - width + 1), random.integers(0, side - height + 1)
    part = picture[top : top + height, left : left + width]
    part = np.asarray(cv2.resize(part, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)
    if random.random() < 0.5:
        part = part[:, ::-1]
    values = part.astype(np.float32) * random.uniform(1 - 0.5 * strength, 1 + 0.5 * strength)
    values += random.uniform(-24 * strength, 24 * strength, 3)
    if random.random() < 0.3 * strength:  # a black-and-white reproduction
        values = np.repeat(values.mean(axis=2, keepdims=True), 3, axis=2)
    return np.asarray(np.clip(values, 0, 255), np.uint8)
