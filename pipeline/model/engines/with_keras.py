"""Keras on whatever backend it runs: the engine that a model was trained and judged with."""

from typing import Any

import numpy as np

from pipeline.model.engines.port import Floats
from pipeline.model.preprocessing import Pixels


class KerasEngine:
    """Runs a Keras network as it is."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        found = self.network.predict_on_batch(pixels)
        return np.asarray(found["scores"], dtype=np.float32), np.asarray(found["embedding"], dtype=np.float32)
