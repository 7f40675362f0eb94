"""Heads on a backbone's features that are fitted in closed form: what they say of features, and as layers of a network."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.model.runtime import keras

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LinearHeads:
    """One logistic regression a concept: kernel (width, concepts), bias (concepts,)."""

    kernel: Floats
    bias: Floats

    def logits(self, features: Floats) -> Floats:
        """(n, width) → (n, concepts)."""
        return np.asarray(features @ self.kernel + self.bias, np.float32)

    def on(self, features: Any) -> Any:
        """The same of a Keras tensor."""
        return _dense("logits", features, self.kernel, self.bias)


@dataclass(frozen=True)
class KernelHeads:
    """Sums over how near a picture is to each landmark, a picture that was trained on: kernel (landmarks, concepts).

    The nearness of features x and a landmark s is exp(-sharpness · |z - s|²) with z = (x - mean) / deviation; landmarks
    (landmarks, width) are kept as z. mean and deviation (width,), bias (concepts,).
    """

    mean: Floats
    deviation: Floats
    landmarks: Floats
    sharpness: float
    kernel: Floats
    bias: Floats

    def logits(self, features: Floats) -> Floats:
        """(n, width) → (n, concepts)."""
        near = nearness((features - self.mean) / self.deviation, self.landmarks, self.sharpness)
        return np.asarray(near @ self.kernel + self.bias, np.float32)

    def on(self, features: Any) -> Any:
        """The same of a Keras tensor, in plain layers, which every engine knows: |z - s|² = |z|² - 2 z·s + |s|²."""
        layers = keras().layers
        standard = layers.BatchNormalization(center=False, scale=False, epsilon=0.0, name="standard")
        z = standard(features, training=False)
        standard.set_weights([self.mean, self.deviation**2])
        squares = (self.landmarks**2).sum(axis=1)
        along = _dense("along_landmarks", z, 2 * self.sharpness * self.landmarks.T, -self.sharpness * squares)
        length = layers.Rescaling(-self.sharpness)(layers.Dot(axes=1)([z, z]))
        # In this order: Keras on TensorFlow takes a second summand (n, 1) for a bias when n is the width of the first.
        near = layers.Activation("exponential", name="nearness")(layers.Add()([length, along]))
        return _dense("logits", near, self.kernel, self.bias)


def nearness(some: Floats, others: Floats, sharpness: float) -> Floats:
    """exp(-sharpness · squared distance) of rows (n, width) and (m, width): (n, m)."""
    squares = (some**2).sum(axis=1)[:, None] - 2 * some @ others.T + (others**2).sum(axis=1)
    return np.asarray(np.exp(-sharpness * np.maximum(squares, 0)), np.float32)


def _dense(name: str, tensor: Any, kernel: Floats, bias: Floats) -> Any:
    layer = keras().layers.Dense(bias.shape[0], name=name)
    found = layer(tensor)
    layer.set_weights([kernel, bias])
    return found
