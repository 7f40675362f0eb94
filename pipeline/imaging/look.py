"""How a picture looks as a whole: a very small grey one, and what follows from it (perceptual hash, sketch, spread).

Few calls, each of much work: after a decoder has filled the caches, a call of a microsecond takes fifty.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

HASH_SIDE, SKETCH_SIDE = 8, 16
_SHORTER_SIDE = 64  # of the small picture, in pixels, where the picture has so many


def look_at(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB pixels (height × width × 3, uint8) as a very small grey picture; each of its pixels saw two rows at least."""
    times = max(1, min(pixels.shape[:2]) // _SHORTER_SIDE)
    step = max(1, times // 2)
    grey = cv2.cvtColor(pixels[::step], cv2.COLOR_RGB2GRAY)
    height, width = grey.shape[0] // (times // step), grey.shape[1] // times
    whole = grey[: height * (times // step), : width * times]  # by whole numbers OpenCV takes a quarter of the time
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def spread(look: NDArray[np.uint8]) -> float:
    """From the darkest part to the lightest, in grey levels (0–255)."""
    darkest, lightest, _, _ = cv2.minMaxLoc(look)
    return lightest - darkest


def perceptual_hash(look: NDArray[np.uint8]) -> str:
    """64-bit difference hash as 16 hex digits: near-equal pictures differ in few bits."""
    parts = cv2.resize(look, (HASH_SIDE + 1, HASH_SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(parts[:, 1:] > parts[:, :-1]).tobytes().hex()


def sketch(look: NDArray[np.uint8]) -> str:
    """The picture as 16 × 16 grey values, in hex: enough to tell two pictures of the same hash apart."""
    return cv2.resize(look, (SKETCH_SIDE, SKETCH_SIDE), interpolation=cv2.INTER_AREA).tobytes().hex()


def sketch_distance(one: str, other: str) -> float:
    """Mean difference of two sketches in grey levels."""
    first, second = (np.frombuffer(bytes.fromhex(text), np.uint8).astype(np.int16) for text in (one, other))
    return float(np.abs(first - second).mean())
