"""Losses on logits that leave unknown labels out; on any Keras backend."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.model.runtime import keras

Floats = npt.NDArray[np.float32]
_FOCUS, _NEGATIVE_FOCUS, _MARGIN = 2.0, 4.0, 0.05  # of Lin et al. 2017 (gamma), Ridnik et al. 2021 (gamma-, m)
_HEAVIEST = 10.0


def loss_on_logits(
    name: str, *, smoothing: float = 0.0, positive_weights: Floats | None = None, single: bool = False
) -> Callable[[Any, Any], Any]:
    """A loss of (truth, logits), both (n, concepts); truth is 1, 0 or -1 for unknown.

    `crossentropy`, `focal` (Lin et al. 2017) or `asymmetric` (Ridnik et al. 2021: what is easily seen to be false counts
    little). `single`: one concept of all is true, so the softmax's cross-entropy over pictures that have one.
    """
    ops = keras().ops

    def several(truth: Any, logits: Any) -> Any:
        known = ops.cast(truth >= 0, logits.dtype)
        target = ops.clip(ops.cast(truth, logits.dtype), 0.0, 1.0)
        smooth = target * (1 - smoothing) + (1 - target) * smoothing / 10  # false labels are many
        share = ops.sigmoid(logits)
        right = target * share + (1 - target) * (1 - share)
        if name == "asymmetric":
            shifted = ops.clip(share - _MARGIN, 1e-7, 1.0)
            values = -target * ops.log(ops.clip(share, 1e-7, 1.0))
            values -= (1 - target) * shifted**_NEGATIVE_FOCUS * ops.log(ops.clip(1 - shifted, 1e-7, 1.0))
        else:
            values = ops.relu(logits) - logits * smooth + ops.log1p(ops.exp(-ops.abs(logits)))
            values = values * (1 - right) ** _FOCUS if name == "focal" else values
        if positive_weights is not None:
            values = values * (target * positive_weights + 1 - target)
        return ops.sum(values * known) / ops.maximum(ops.sum(known), 1.0)

    def one(truth: Any, logits: Any) -> Any:
        target = ops.clip(ops.cast(truth, logits.dtype), 0.0, 1.0)
        positives = ops.sum(target, axis=-1)
        share = target / ops.maximum(positives, 1.0)[:, None] * (1 - smoothing) + smoothing / logits.shape[-1]
        values = -ops.sum(share * ops.log_softmax(logits, axis=-1), axis=-1)
        with_one = ops.cast(positives > 0, logits.dtype)
        return ops.sum(values * with_one) / ops.maximum(ops.sum(with_one), 1.0)

    return one if single else several


def positive_weights(truth: npt.NDArray[np.int8]) -> Floats:
    """What a true label weighs, for each concept: the root of false by true ones, 1–10, so that rare concepts are learned."""
    true, false = (truth == 1).sum(axis=0), (truth == 0).sum(axis=0)
    return np.asarray(np.clip(np.sqrt(false / np.maximum(true, 1)), 1.0, _HEAVIEST), np.float32)
