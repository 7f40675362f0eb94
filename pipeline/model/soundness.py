"""A network that must not be registered: NaN in its weights, outputs that do not fit its concepts, other preprocessing."""

from typing import Any

import numpy as np

from pipeline.errors import CriticalError
from pipeline.model.preprocessing import PREPROCESSING_VERSION

OUTPUTS = {"scores", "embedding"}


def check_sound(network: Any, *, concepts: int, side_px: int, preprocessing_version: str) -> None:
    """Raise CriticalError that says what is wrong with a network for so many concepts, made for pictures of `side_px`."""
    if preprocessing_version != PREPROCESSING_VERSION:
        raise CriticalError(
            f"the model was trained with preprocessing {preprocessing_version}, this code does {PREPROCESSING_VERSION}"
        )
    for layer in network.layers:
        for weight in layer.get_weights():
            if not np.isfinite(weight).all():
                raise CriticalError(f"layer {layer.name} has weights that are not finite numbers: the training went astray")
    if not isinstance(network.output, dict) or set(network.output) != OUTPUTS:
        raise CriticalError(f"the model must have the outputs {' and '.join(sorted(OUTPUTS))}")
    if network.input.shape[1:] != (side_px, side_px, 3):
        raise CriticalError(f"the model takes pictures of shape {network.input.shape[1:]}, not {(side_px, side_px, 3)}")
    if (width := network.output["scores"].shape[-1]) != concepts:
        raise CriticalError(f"the model gives {width} scores for {concepts} concepts")
    probes = np.stack([np.full((side_px, side_px, 3), grey, np.uint8) for grey in (0, 128, 255)])
    found = network.predict_on_batch(probes)
    if not all(np.isfinite(np.asarray(value)).all() for value in found.values()):
        raise CriticalError("the model answers plain grey pictures with numbers that are not finite")
    scores = np.asarray(found["scores"])
    if scores.min() < 0 or scores.max() > 1:
        raise CriticalError("the model gives scores outside 0–1")
