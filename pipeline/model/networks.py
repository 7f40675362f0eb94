"""Networks: a small one that learns from scratch in about a minute, and frozen backbones of `keras.applications`.

All share one shape: uint8 pixels (n, side, side, 3) in; `scores` (n, concepts) in 0–1 and `embedding` (n, width) out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import CriticalError
from pipeline.model.heads import KernelHeads, LinearHeads
from pipeline.model.runtime import keras

WITH_PLACES = 4  # dimensions of activations: pictures, rows, columns, channels


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


def pretrained(name: str, side_px: int, weights: str | Path | None) -> Any:
    """A `keras.applications` network without its top: prepared pixels in, its last activations (n, h, w, channels) out.

    `weights` is a file, `imagenet` (Keras then looks in its cache folder and, if need be, on the net) or None for random
    ones. Raises CriticalError that names the backbone or the file.
    """
    build = getattr(keras().applications, name, None)
    if build is None or not name[:1].isupper():
        raise CriticalError(f"keras.applications has no {name}; the recipe's backbone must be one of its names")
    told = str(weights) if weights is not None else None
    try:
        return build(include_top=False, weights=told, input_shape=(side_px, side_px, 3))
    except Exception as error:  # noqa: BLE001  Keras raises bare Exception when it cannot fetch a file
        hint = "" if isinstance(weights, Path) else "; without internet set MODEL_WEIGHTS_FILE to a file with them"
        raise CriticalError(f"the weights {weights} cannot be loaded into {name}: {error}{hint}") from error


def prepared(name: str, pixels: Any) -> Any:
    """What a backbone of this name wants to see of uint8 pixels: its family's `preprocess_input`, as layers of a file."""
    layers = keras().layers
    if name.startswith(("EfficientNet", "ConvNeXt", "MobileNetV3")):
        return layers.Rescaling(1.0)(pixels)  # they scale by themselves
    if name in ("VGG16", "VGG19", "ResNet50", "ResNet101", "ResNet152"):  # trained with Caffe: BGR, less the mean
        return layers.Rescaling(1.0, offset=[-103.939, -116.779, -123.68])(pixels[..., ::-1])
    if name.startswith("DenseNet"):
        means, deviations = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        scale = [1 / (255 * deviation) for deviation in deviations]
        return layers.Rescaling(scale, offset=[-mean / deviation for mean, deviation in zip(means, deviations, strict=True)])(
            pixels
        )
    return layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)


def cut(base: Any, where: str | int) -> tuple[Any, Any]:
    """(trunk, tail) of a backbone: the tail begins behind the layer of this name, or is the last so many layers.

    A cut must not sever a side way round it: of a number of layers, the nearest place before it is taken where that
    holds. Raises CriticalError for a layer that does not exist or cannot be cut behind.
    """
    k = keras()
    last = base.layers.index(_layer(base, where)) if isinstance(where, str) else len(base.layers) - 1 - where
    for place in range(last, 0, -1):
        inside = base.layers[place].output
        try:
            return k.Model(base.input, inside, name="trunk"), k.Model(inside, base.output)
        except ValueError:  # the graph is not connected: another way leads past this layer
            if isinstance(where, str):
                raise CriticalError(f"{base.name} cannot be cut behind {where}: another way leads past it") from None
    raise CriticalError(f"{base.name} cannot be cut before its last {where} layers; fewer must be tuned")


def pooled(trunk: Any) -> tuple[Any, Any]:
    """(trunk, tail) that are parted behind the mean over all places, where nothing is left for a tail to do."""
    k = keras()
    mean = k.layers.GlobalAveragePooling2D()(trunk.output)
    as_it_is = k.Input(mean.shape[1:])
    return k.Model(trunk.input, mean, name="trunk"), k.Model(as_it_is, k.layers.Identity()(as_it_is))


def frozen_backbone(
    name: str, side_px: int, weights: str | Path | None, *, layers: Sequence[str] = (), mirror: bool = False
) -> Any:
    """A backbone that is not trained: uint8 pixels in; `features` for heads (n, width) and `embedding` (n, channels) out.

    The embedding is the mean over all places of the last activations. The features are the same, or with `layers` the mean
    and the maximum of the activations of each and of the last ones, every part at length one: how strong a layer's answer is
    altogether says more of a museum's lamps than of the object. With `mirror` both are averaged with those of the
    picture's mirror image. Errors as `pretrained`, and CriticalError for a layer that does not exist.
    """
    k = keras()
    inputs = k.Input((side_px, side_px, 3), dtype="uint8", name="pixels")
    base = pretrained(name, side_px, weights)
    base.trainable = False
    seen = k.Model(base.input, [*(_layer(base, one).output for one in layers), base.output], name="backbone")
    x = prepared(name, inputs)
    views = [seen(view, training=False) for view in ([x, x[:, :, ::-1, :]] if mirror else [x])]

    def pooled(by: Any, activations: Sequence[Any]) -> Any:
        every = [by()(one) for one in activations]
        return k.layers.Average()(every) if mirror else every[0]

    mean, most = k.layers.GlobalAveragePooling2D, k.layers.GlobalMaxPooling2D
    places = list(zip(*views, strict=True))
    embedding = k.layers.Identity(name="embedding")(pooled(mean, places[-1]))
    parts = [k.layers.UnitNormalization()(pooled(by, place)) for place in places for by in (mean, most)]
    features = k.layers.Concatenate(name="features")(parts) if layers else embedding
    return k.Model(inputs, {"features": features, "embedding": embedding})


def _layer(base: Any, name: str) -> Any:
    """CriticalError that shows the backbone's last layers when it has none of this name."""
    names = [layer.name for layer in base.layers]
    if name not in names:
        raise CriticalError(f"{base.name} has no layer {name!r}; its last ones are {', '.join(names[-12:])}")
    return base.get_layer(name)


def joined(name: str, side_px: int, trunk: Any, branches: Sequence[Any], *, mirror: bool, single: bool) -> Any:
    """One network of a shared trunk and branches (activations in, [logits, embedding] out), whose outputs are averaged.

    With `mirror` the picture's mirror image is looked at, too. `single`: of the concepts exactly one is true.
    """
    k = keras()
    inputs = k.Input((side_px, side_px, 3), dtype="uint8", name="pixels")
    x = prepared(name, inputs)
    activations = [trunk(view, training=False) for view in ([x, x[:, :, ::-1, :]] if mirror else [x])]
    found = [branch(one, training=False) for one in activations for branch in branches]
    logits, embeddings = zip(*found, strict=True)
    mean, embedding = (k.layers.Average()(list(many)) if len(many) > 1 else many[0] for many in (logits, embeddings))
    return k.Model(
        inputs,
        {
            "scores": k.layers.Activation("softmax" if single else "sigmoid", dtype="float32", name="scores")(mean),
            "embedding": k.layers.Activation("linear", dtype="float32", name="embedding")(embedding),
        },
    )


def with_narrow_embedding(network: Any, embeddings: npt.NDArray[np.float32], width: int) -> tuple[Any, npt.NDArray[np.float32]]:
    """The network with an embedding of the first `width` principal components of training pictures' (n, more), and theirs.

    The projection is a layer of it: whatever runs the network gives the narrow embedding.
    """
    from sklearn.decomposition import PCA

    found = PCA(width, svd_solver="covariance_eigh").fit(embeddings)
    k = keras()
    projection = k.layers.Dense(width, dtype="float32", name="principal_components")
    narrow = projection(network.output["embedding"])
    kernel = found.components_.T.astype(np.float32)
    bias = -found.mean_.astype(np.float32) @ kernel
    projection.set_weights([kernel, bias])
    return k.Model(network.input, {"scores": network.output["scores"], "embedding": narrow}), embeddings @ kernel + bias


def with_heads(backbone: Any, heads: LinearHeads | KernelHeads) -> Any:
    """A frozen backbone with heads on its features."""
    k, found = keras(), backbone.output
    scores = k.layers.Activation("sigmoid", name="scores")(heads.on(found["features"]))
    return k.Model(backbone.input, {"scores": scores, "embedding": found["embedding"]})
