"""Prediction: one engine, opened once, and the checks that keep impossible results out of the data."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import PoisonedResultError
from pipeline.model.bundle import Bundle, load_network
from pipeline.model.engines.kinds import KERAS
from pipeline.model.engines.port import run_in_batches
from pipeline.model.engines.record import open_engine, serving
from pipeline.model.engines.with_keras import KerasEngine
from pipeline.model.preprocessing import Pixels
from pipeline.storage import ObjectStore

Floats = npt.NDArray[np.float32]
_MOST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Prediction:
    """For n images and c concepts: raw and calibrated scores (n, c) in 0–1, embeddings (n, width)."""

    raw: Floats
    scores: Floats
    embeddings: Floats


class Predictor:
    """Holds one loaded network; make it inside the task that uses it. `engine` is the name of what runs it."""

    def __init__(
        self,
        store: ObjectStore,
        bundle: Bundle,
        *,
        at_once: int = 32,
        engine: str = KERAS,
        device: str = "any",
        to_measure: bool = False,
    ) -> None:
        """`at_once`: how many pictures the network looks at together, always. The others, and errors, as `open_engine`."""
        self.bundle = bundle
        self._store = store
        self._at_once = at_once
        self.engine, _ = serving(store, bundle, engine, device)
        self._engine = open_engine(store, bundle, self.engine, at_once, device, to_measure=to_measure)

    @cached_property
    def network(self) -> Any:
        """The Keras network, for what needs its layers; whatever engine predicts."""
        return self._engine.network if isinstance(self._engine, KerasEngine) else load_network(self._store, self.bundle)

    def predict(self, pixels: Pixels) -> Prediction:
        """Predict uint8 pixels (n, side, side, 3).

        Raises PoisonedResultError when the result has the wrong shape, is not finite, or leaves 0–1.
        """
        raw, embeddings = run_in_batches(self._engine, pixels, self._at_once)
        self._check(len(pixels), raw, embeddings)
        return Prediction(raw, self.bundle.calibrated(raw), embeddings)

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
        if np.abs(embeddings).max(initial=0) > _MOST:
            raise PoisonedResultError(f"{name}: embeddings beyond ±{_MOST:,.0f}, more than the half precision they are kept in")
        if raw.min(initial=0) < 0 or raw.max(initial=0) > 1:
            raise PoisonedResultError(f"{name}: scores outside 0–1")
