"""The one interface of all engines."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.model.preprocessing import Pixels

Floats = npt.NDArray[np.float32]


class Engine(Protocol):
    """A loaded network. It is asked for always the same number of pictures, so that it may prepare for just that."""

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Scores (n, concepts) and embeddings (n, width), float32, of uint8 pixels (n, side, side, 3)."""


def run_in_batches(engine: Engine, pixels: Pixels, at_once: int) -> tuple[Floats, Floats]:
    """Scores and embeddings of any number of pictures, `at_once` of them together, the last ones filled up.

    Every shape is compiled by itself, and other code rounds otherwise: what a picture gets must not depend on how many
    others came with it, or before it in this process. (Its place among them still moves the last digits.)
    """
    parts = []
    for at in range(0, max(len(pixels), 1), at_once):
        some = pixels[at : at + at_once]
        filling = np.zeros((at_once - len(some), *pixels.shape[1:]), pixels.dtype)
        found = engine.run(np.concatenate([some, filling]) if len(filling) else some)
        parts.append([values[: len(some)] for values in found])
    scores, embeddings = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    return scores, embeddings
