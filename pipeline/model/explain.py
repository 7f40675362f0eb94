"""Where on a picture a network sees a concept: Grad-CAM (Selvaraju et al., ICCV 2017, arXiv:1610.02391).

The maps are taken where the network leaves the plane: going back from the scores, at the first activation on every way
that still has places. A network of one way has one such layer, its last convolution; a network of several branches has
one in each, and one that also looks at the mirror image goes through each of them twice. Their maps are added up, each
way to a score counted once, before negative values are cut off.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.errors import CriticalError, PoisonedResultError
from pipeline.model.predictor import Floats, Predictor
from pipeline.model.preprocessing import Pixels
from pipeline.model.runtime import keras

_PLANE = 4  # dimensions of an activation that has places: pictures, rows, columns, channels
_ROUNDING = 1e-3  # of the largest value: so far may one activation, computed twice, differ
_Frames = tuple[tuple[Any, Any], ...]  # the nested models that a walk is inside of, each with the node of its call


def concept_maps(network: Any, pixels: Pixels, columns: Sequence[int]) -> Floats:
    """Maps float32 (n, columns, side, side) in 0–1 of uint8 pixels (n, side, side, 3), for these columns of `scores`.

    1 is where most speaks for the concept; a map of zeros says that nothing does. The score is taken before its sigmoid
    (or softmax). The network's layers are changed while this runs, so nothing else may use it at the same time.
    Raises CriticalError for another backend than TensorFlow and for a network without places, PoisonedResultError when
    a map is not finite.
    """
    tensorflow = _tensorflow()
    ends = last_places(network)
    if not len(pixels):
        return np.zeros((0, len(columns), *pixels.shape[1:3]), dtype=np.float32)
    looks = [_look(network, ends, picture, columns, tensorflow) for picture in pixels]
    mirrored = [False] * len(looks[0])
    if len(looks[0]) > len(ends):  # some layer is gone through more than once
        mirrored = _mirrored(network, ends, pixels.shape[1], tensorflow)
    maps = np.stack([_joined(views, mirrored, pixels.shape[1:3]) for views in looks])
    if not np.isfinite(maps).all():
        raise PoisonedResultError("the network's gradients are not finite numbers: there is no map to show")
    return maps


def maps_of(predictor: Predictor, pixels: Pixels, concepts: Sequence[str]) -> Floats:
    """`concept_maps` of a loaded model, for concepts by their slugs; CriticalError that lists the model's when one is not."""
    slugs = [head.slug for head in predictor.bundle.heads]
    if unknown := [slug for slug in concepts if slug not in slugs]:
        name = f"{predictor.bundle.name}@{predictor.bundle.version}"
        raise CriticalError(f"model {name} knows no concept {', '.join(unknown)}; it knows {', '.join(slugs)}")
    return concept_maps(predictor.network, pixels, [slugs.index(slug) for slug in concepts])


def last_places(network: Any) -> list[Any]:
    """The last operation with places (4D output, more than one place) on each way to `scores`, also in nested models.

    Raises CriticalError when there is none behind the input.
    """
    found = _ends(network, lambda tensor, _: _has_places(tensor))
    ends = [operation for operation, tensor in found if _has_places(tensor) and not _is_input(operation)]
    if not ends:
        raise CriticalError("the network has no layer with places before its scores: there is nothing to draw a map from")
    return ends


def _tensorflow() -> Any:
    if (backend := keras().backend.backend()) != "tensorflow":
        raise CriticalError(f"maps need gradients of TensorFlow; Keras runs on {backend}: unset KERAS_BACKEND to explain")
    import tensorflow

    return tensorflow


# --- The graph, from the scores back ----------------------------------------------------------------------------------


def _ends(network: Any, stop: Callable[[Any, Any], bool]) -> list[tuple[Any, Any]]:
    """The (operation, its output) at which `stop(output, operation)` first holds on each way back from the scores."""
    found: dict[int, tuple[Any, Any]] = {}
    waiting: list[tuple[Any, _Frames]] = [(network.output["scores"], ())]
    seen = set()
    while waiting:
        tensor, operation, before, frames = _origin(*waiting.pop())
        mark = (id(tensor), *(id(node) for _, node in frames))
        if mark in seen:
            continue
        seen.add(mark)
        if stop(tensor, operation):
            found.setdefault(id(operation), (operation, tensor))
        else:
            waiting += [(one, frames) for one in before]
    return list(found.values())


def _origin(tensor: Any, frames: _Frames) -> tuple[Any, Any, list[Any], _Frames]:
    """What made a tensor, looking into nested models and out of them again: (tensor, operation, what it read, frames)."""
    while True:
        operation, at, index = tensor._keras_history
        if isinstance(operation, keras().Model) and operation.outputs:
            frames = (*frames, (operation, operation._inbound_nodes[at]))
            tensor = operation.outputs[index]
        elif _is_input(operation) and frames:
            (model, node), frames = frames[-1], frames[:-1]
            tensor = node.input_tensors[[id(one) for one in model.inputs].index(id(tensor))]
        else:
            return tensor, operation, list(operation._inbound_nodes[at].input_tensors), frames


def _is_input(operation: Any) -> bool:
    return isinstance(operation, keras().layers.InputLayer)


def _has_places(tensor: Any) -> bool:
    shape = tensor.shape
    return len(shape) == _PLANE and (None in shape[1:3] or shape[1] * shape[2] > 1)


def _squashing(network: Any) -> list[Any]:
    """The layers that make scores of the numbers before: sigmoid or softmax, with only averages and the like behind."""
    known = (keras().activations.sigmoid, keras().activations.softmax)

    def squashes(operation: Any) -> bool:
        return getattr(operation, "activation", None) in known

    def stop(tensor: Any, operation: Any) -> bool:
        return squashes(operation) or _has_places(tensor) or bool(getattr(operation, "weights", ()))

    return [operation for operation, _ in _ends(network, stop) if squashes(operation)]


# --- One look at a picture --------------------------------------------------------------------------------------------


def _look(network: Any, ends: Sequence[Any], picture: Pixels, columns: Sequence[int], tensorflow: Any) -> list[Floats]:
    """For each time that one of the layers is gone through: what each place adds to each score, (scores, rows, columns)."""
    tape = tensorflow.GradientTape(persistent=True, watch_accessed_variables=False)
    with tape, _watched(network, ends, tape, tensorflow) as (activations, plain):
        scores = network(tensorflow.constant(picture[None]), training=False)["scores"]
        # A sigmoid that could not be taken away is undone.
        logits = scores if plain else tensorflow.math.log(scores) - tensorflow.math.log1p(-scores)
        aims = [logits[0, column] for column in columns]
    zero = tensorflow.UnconnectedGradients.ZERO
    gradients = [tape.gradient(aim, activations, unconnected_gradients=zero) for aim in aims]
    views = []
    for place, activation in enumerate(activations):
        for row, values in enumerate(np.asarray(activation, dtype=np.float32)):
            slopes = [np.asarray(of_aim[place], dtype=np.float32)[row] for of_aim in gradients]
            weights = np.array([slope.mean(axis=(0, 1)) for slope in slopes])
            # Times the places: a coarse layer's and a fine layer's maps then weigh what they add to the score.
            views.append(np.einsum("kc,hwc->khw", weights, values) * values.shape[0] * values.shape[1])
    return views


@contextmanager
def _watched(network: Any, ends: Sequence[Any], tape: Any, tensorflow: Any) -> Iterator[tuple[list[Any], bool]]:
    """Within it the network gives scores without their sigmoid, and what `ends` put out is kept, in order, and watched.

    The second value is whether there was a sigmoid to take away.
    """
    kept: list[Any] = []

    def keeping(call: Callable[..., Any]) -> Callable[..., Any]:
        def kept_call(*args: Any, **kwargs: Any) -> Any:
            # Cut off from what lies before, so that a way through two of these layers counts at the last one alone.
            output = tensorflow.stop_gradient(call(*args, **kwargs))
            tape.watch(output)
            kept.append(output)
            return output

        return kept_call

    with ExitStack() as stack:
        for operation in ends:
            stack.enter_context(_replaced(operation, "call", keeping(operation.call)))
        squashing = _squashing(network)
        for layer in squashing:
            stack.enter_context(_replaced(layer, "activation", keras().activations.linear))
        yield kept, bool(squashing)


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute of this one object, replaced for a while without the layer's book-keeping taking notice."""
    own = vars(owner)
    before = {name: own[name]} if name in own else {}
    own[name] = value
    try:
        yield
    finally:
        del own[name]
        own.update(before)


def _mirrored(network: Any, ends: Sequence[Any], side_px: int, tensorflow: Any) -> list[bool]:
    """For each time that a layer is gone through: does it see the picture's left on its right?

    Found by looking at noise twice, the second time with every operation undone that turns its input round: what is then
    another activation was that of a mirror image.
    """
    noise = np.random.default_rng(0).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    usual = _rows(network, ends, noise, tensorflow)
    visited: dict[int, Any] = {}
    _ends(network, lambda _, operation: visited.setdefault(id(operation), operation) is None)  # nothing stops it

    def straight(call: Callable[..., Any]) -> Callable[..., Any]:
        def straight_call(*args: Any, **kwargs: Any) -> Any:
            output: Any = call(*args, **kwargs)
            given: Any = args[0] if args else None
            kind = (getattr(given, "shape", ()), getattr(given, "dtype", None))
            alike = len(kind[0]) == _PLANE and kind == (getattr(output, "shape", None), output.dtype)
            return given if alike and bool(tensorflow.reduce_all(output == given[:, :, ::-1])) else output

        return straight_call

    with ExitStack() as stack:
        for operation in visited.values():
            if not _is_input(operation) and not getattr(operation, "weights", ()):
                stack.enter_context(_replaced(operation, "call", straight(operation.call)))
        plain = _rows(network, ends, noise, tensorflow)
    return [bool(np.abs(one - other).max() > _ROUNDING * np.abs(other).max()) for one, other in zip(usual, plain, strict=True)]


def _rows(network: Any, ends: Sequence[Any], picture: Pixels, tensorflow: Any) -> list[Floats]:
    tape = tensorflow.GradientTape(watch_accessed_variables=False)
    with tape, _watched(network, ends, tape, tensorflow) as (activations, _):
        network(tensorflow.constant(picture[None]), training=False)
    return [row for activation in activations for row in np.asarray(activation, dtype=np.float32)]


def _joined(views: Sequence[Floats], mirrored: Sequence[bool], size: tuple[int, ...]) -> Floats:
    """Raw maps of all views as one (columns, height, width) in 0–1: added, cut off below 0, divided by the largest."""
    total = np.zeros((len(views[0]), *size), dtype=np.float32)
    for view, turned in zip(views, mirrored, strict=True):
        upright = view[:, :, ::-1] if turned else view
        total += np.stack([resized(one, (size[1], size[0])) for one in upright])
    positive = np.maximum(total, 0)
    largest = positive.max(axis=(1, 2), keepdims=True)
    return np.asarray(np.divide(positive, largest, out=np.zeros_like(positive), where=largest > 0), dtype=np.float32)


def resized(values: npt.NDArray[np.float32], size: tuple[int, int]) -> Floats:
    """A map (rows, columns) at another size (width, height), bilinear."""
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
