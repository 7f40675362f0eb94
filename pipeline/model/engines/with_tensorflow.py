"""TensorFlow compiled by XLA, on all GPUs of the machine at once, in bf16 where it is asked for.

It runs on a CPU, too, where nothing tries it: XLA takes minutes and gigabytes there for a network that OpenVINO opens in a
second and runs several times faster.
"""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.model.engines.port import Floats
from pipeline.model.preprocessing import Pixels
from pipeline.model.runtime import gpus, keras

_FIRST_WITH_BF16 = (8, 0)  # NVIDIA compute capability (Ampere)


class TensorFlowEngine:
    """Runs a `model.keras` with a copy of its weights on each device; a batch is dealt out among them."""

    def __init__(self, path: Path, at_once: int, *, precision: str) -> None:
        """`precision`: f32 or bf16, which is then that of all that has places (n, h, w, channels): the heads stay in f32."""
        import tensorflow

        config = tensorflow.config
        devices = config.list_logical_devices("GPU") or config.list_logical_devices("CPU")
        self._parts = np.array_split(np.arange(at_once), min(len(devices), at_once))
        self._answers = []
        for device in devices[: len(self._parts)]:
            with tensorflow.device(device.name):
                network = keras().saving.load_model(path, compile=False)
                self._answers.append(_compiled(in_bf16(network) if precision == "bf16" else network, device.name))

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        found = [answer(pixels[rows]) for answer, rows in zip(self._answers, self._parts, strict=True)]  # all are under way
        scores, embeddings = (np.concatenate([np.asarray(part[place], np.float32) for part in found]) for place in (0, 1))
        return scores, embeddings


def _compiled(network: Any, device: str) -> Any:
    import tensorflow

    @tensorflow.function(jit_compile=True)  # type: ignore[untyped-decorator]
    def answer(pixels: Any) -> tuple[Any, Any]:
        found = network(pixels, training=False)
        return found["scores"], found["embedding"]

    def on_device(pixels: Pixels) -> tuple[Any, Any]:
        with tensorflow.device(device):
            return answer(tensorflow.constant(pixels))  # type: ignore[no-any-return]

    return on_device


def in_bf16(network: Any) -> Any:
    """A copy of a network that calculates in bf16 whatever has places; scaling of pixels and heads stay in f32."""
    k = keras()
    kept = (k.layers.InputLayer, k.layers.Rescaling)

    def copied(layer: Any) -> Any:
        config = layer.get_config()
        has_places = isinstance(layer.output, k.KerasTensor) and len(layer.output.shape) == 4
        if has_places and isinstance(layer, k.layers.Layer) and not isinstance(layer, kept):
            config["dtype"] = "mixed_bfloat16"
        return layer.__class__.from_config(config)

    copy = k.models.clone_model(network, clone_function=copied, recursive=True)
    copy.set_weights(network.get_weights())
    return copy


def lacks_gpu() -> str | None:
    """Why there is nothing here that TensorFlow would be the quickest on, or None."""
    if (backend := keras().backend.backend()) != "tensorflow":
        return f"Keras runs on {backend} here"
    return None if gpus() else "TensorFlow sees no GPU, and other engines are quicker on CPUs"


def lacks_fast_gpu() -> str | None:
    """Why bf16 would be for nothing here, or None: all GPUs calculate in it."""
    if lack := lacks_gpu():
        return lack
    import tensorflow

    devices = tensorflow.config.list_physical_devices("GPU")
    found = [tensorflow.config.experimental.get_device_details(one).get("compute_capability") for one in devices]
    if all(capability and capability >= _FIRST_WITH_BF16 for capability in found):
        return None
    seen = ", ".join(map(str, found))
    return f"it takes NVIDIA GPUs that calculate in bf16 (compute capability 8.0 or more), and TensorFlow sees some of {seen}"
