"""Networks: a small one that learns from scratch in about a minute, and frozen backbones of `keras.applications`.

All share one shape: uint8 pixels (n, side, side, 3) in; `scores` (n, concepts) in 0–1 and `embedding` (n, width) out.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import CriticalError
from pipeline.model.runtime import keras

Floats = npt.NDArray[np.float32]


def small_network(side_px: int, concepts: int, *, width: int = 24) -> Any:
    """A plain convolutional network; `width` is the number of filters in its first block.

    Pooled features say what is on a picture, the flattened ones where; both help when there are few pictures.
    """
    k = keras()
    layers = k.layers
    inputs = k.Input((side_px, side_px, 3), dtype="uint8", name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    for block, filters in enumerate((width, width * 2, width * 4, width * 16 // 3)):
        x = layers.Conv2D(filters, 3, strides=1 if block else 2, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.MaxPooling2D(2)(layers.Activation("relu")(x))
    where = layers.Flatten()(layers.Conv2D(32, 1, activation="relu")(x))
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x), where])
    embedding = layers.Dense(96, activation="relu", name="embedding")(layers.Dropout(0.3)(x))
    scores = layers.Dense(concepts, activation="sigmoid", name="scores")(layers.Dropout(0.2)(embedding))
    return k.Model(inputs, {"scores": scores, "embedding": embedding})


def frozen_backbone(name: str, side_px: int, weights: str | Path) -> Any:
    """A `keras.applications` network without its top: pixels in, pooled features (n, width) out.

    `weights` is a file or `imagenet` (Keras then looks in its cache folder and, if need be, on the net).
    Raises CriticalError that names the backbone or the file.
    """
    k = keras()
    build = getattr(k.applications, name, None)
    if build is None:
        raise CriticalError(f"keras.applications has no {name}; the recipe's backbone must be one of its names")
    inputs = k.Input((side_px, side_px, 3), dtype="uint8", name="pixels")
    x = k.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    try:
        base = build(include_top=False, weights=str(weights), input_shape=(side_px, side_px, 3), pooling="avg")
    except Exception as error:  # noqa: BLE001  Keras raises bare Exception when it cannot fetch a file
        hint = "" if isinstance(weights, Path) else "; without internet set MODEL_WEIGHTS_FILE to a file with them"
        raise CriticalError(f"the weights {weights} cannot be loaded into {name}: {error}{hint}") from error
    base.trainable = False
    return k.Model(inputs, k.layers.Identity(name="embedding")(base(x, training=False)))


def with_linear_head(backbone: Any, kernel: Floats, bias: Floats) -> Any:
    """The backbone with a sigmoid layer of given weights: kernel (width, concepts), bias (concepts,)."""
    k = keras()
    head = k.layers.Dense(bias.shape[0], activation="sigmoid", name="scores")
    model = k.Model(backbone.input, {"scores": head(backbone.output), "embedding": backbone.output})
    head.set_weights([kernel, bias])
    return model
