"""The normalised derivative (sRGB JPEG, long side bounded) and the perceptual hash."""

import io

import numpy as np
import simplejpeg
from PIL import Image

HASH_SIDE = 8


def normalised_jpeg(picture: Image.Image, *, side_px: int, quality: int) -> bytes:
    """The upright RGB picture as a JPEG whose long side is ≤ `side_px`; never enlarged, no metadata."""
    if max(picture.size) > side_px:
        scale = side_px / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=quality, colorsubsampling="420")
    return encoded


def perceptual_hash(picture: Image.Image) -> str:
    """64-bit difference hash as 16 hex digits: near-equal pictures differ in few bits."""
    small = picture.reduce(max(1, min(picture.size) // (8 * HASH_SIDE))).convert("L")
    grey = small.resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
    pixels = np.asarray(grey, dtype=np.int16)
    bits = (pixels[:, 1:] > pixels[:, :-1]).flatten()
    return np.packbits(bits).tobytes().hex()


def decode_derivative(content: bytes) -> Image.Image:
    """A derivative back as RGB pixels."""
    with Image.open(io.BytesIO(content)) as image:
        return image.convert("RGB")
