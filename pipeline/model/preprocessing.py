"""From a derivative's pixels to the network's input. The version names this code in every row that it leads to."""

import numpy as np
import numpy.typing as npt
from PIL import Image

# Squashed to a square, bicubic with antialiasing; scaling to [-1, 1] is part of the network.
PREPROCESSING_VERSION = "squash-bicubic-1"

Pixels = npt.NDArray[np.uint8]


def network_input(picture: Image.Image, side_px: int) -> Pixels:
    """RGB picture → uint8 array (side, side, 3)."""
    return np.asarray(picture.resize((side_px, side_px), Image.Resampling.BICUBIC, reducing_gap=2.0), dtype=np.uint8)
