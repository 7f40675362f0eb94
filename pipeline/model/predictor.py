"""Prediction: one network, loaded once, and the checks that keep impossible results out of the data."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import PoisonedResultError
from pipeline.model.bundle import Bundle, load_network
from pipeline.model.preprocessing import Pixels
from pipeline.storage import ObjectStore

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """For n images and c concepts: raw and calibrated scores (n, c) in 0–1, embeddings (n, width)."""

    raw: Floats
    scores: Floats
    embeddings: Floats


class Predictor:
    """Holds one loaded network; make it inside the task that uses it."""

    def __init__(self, store: ObjectStore, bundle: Bundle, *, at_once: int = 32) -> None:
        """`at_once`: how many pictures the network looks at together, always."""
        self.bundle = bundle
        self._at_once = at_once
        self.network = load_network(store, bundle)

    def predict(self, pixels: Pixels) -> Prediction:
        """Predict uint8 pixels (n, side, side, 3).

        Raises PoisonedResultError when the result has the wrong shape, is not finite, or leaves 0–1.
        """
        parts = [self._run(pixels[at : at + self._at_once]) for at in range(0, max(len(pixels), 1), self._at_once)]
        raw, embeddings = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
        self._check(len(pixels), raw, embeddings)
        return Prediction(raw, self.bundle.calibrated(raw), embeddings)

    def _run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Scores and embeddings of a few pictures, filled up to always the same number.

        A backend compiles each shape by itself, and other code rounds otherwise: what a picture gets must not depend on how
        many others came with it, or before it in this process. (Its place among them still moves the last digits.)
        """
        filling = np.zeros((self._at_once - len(pixels), *pixels.shape[1:]), pixels.dtype)
        result = self.network.predict_on_batch(np.concatenate([pixels, filling]))
        return (
            np.asarray(result["scores"], dtype=np.float32)[: len(pixels)],
            np.asarray(result["embedding"], dtype=np.float32)[: len(pixels)],
        )

    def _check(self, images: int, raw: Floats, embeddings: Floats) -> None:
        name = f"model {self.bundle.name} {self.bundle.version}"
        if raw.shape != (images, len(self.bundle.heads)):
            raise PoisonedResultError(f"{name}: scores of shape {raw.shape}, expected {(images, len(self.bundle.heads))}")
        if embeddings.shape != (images, self.bundle.embedding_width):
            raise PoisonedResultError(
                f"{name}: embeddings of shape {embeddings.shape}, expected width {self.bundle.embedding_width}"
            )
        if not (np.isfinite(raw).all() and np.isfinite(embeddings).all()):
            raise PoisonedResultError(f"{name}: scores or embeddings are not finite numbers")
        if raw.min(initial=0) < 0 or raw.max(initial=0) > 1:
            raise PoisonedResultError(f"{name}: scores outside 0–1")
