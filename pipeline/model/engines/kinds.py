"""Which engines there are, what each needs, and how it is opened."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.model.engines.port import Engine
from pipeline.model.engines.with_litert import LiteRTEngine
from pipeline.model.engines.with_openvino import OpenVINOEngine, has_bf16
from pipeline.model.engines.with_tensorflow import TensorFlowEngine, lacks_fast_gpu, lacks_gpu

KERAS, AUTO = "keras", "auto"
NETWORK, FLOAT, INT8 = "model.keras", "model.tflite", "model-int8.tflite"
_EQUAL, _EQUAL_INT8 = 0.995, 0.98


@dataclass(frozen=True)
class Kind:
    """An engine beside Keras: the file of a version that it reads, the library (module and package) that it takes, and
    what share of its decisions must be those of Keras."""

    file: str
    module: str
    package: str
    least_equal: float
    open: Callable[[Path, int], Engine]
    on_gpu: bool = False
    hindrance: Callable[[], str | None] = lambda: None

    def lacking(self) -> str | None:
        """Why this machine cannot run it, or None."""
        if importlib.util.find_spec(self.module) is None:
            return f"the library {self.package} is not installed: pip install {self.package}"
        return self.hindrance()


def _lacks_bf16() -> str | None:
    return None if has_bf16() else "this machine's CPU does not calculate in bf16"


_OPENVINO, _LITERT, _TENSORFLOW = ("openvino", "openvino"), ("ai_edge_litert", "ai-edge-litert"), ("tensorflow", "tensorflow")
_open_f32, _open_bf16 = partial(OpenVINOEngine, precision="f32"), partial(OpenVINOEngine, precision="bf16")
_tensorflow_f32 = partial(TensorFlowEngine, precision="f32")
_tensorflow_bf16 = partial(TensorFlowEngine, precision="bf16")

KINDS: Mapping[str, Kind] = {
    "openvino": Kind(FLOAT, *_OPENVINO, _EQUAL, _open_f32),
    "openvino-bf16": Kind(FLOAT, *_OPENVINO, _EQUAL, _open_bf16, hindrance=_lacks_bf16),
    "openvino-int8": Kind(INT8, *_OPENVINO, _EQUAL_INT8, _open_f32),
    "litert": Kind(FLOAT, *_LITERT, _EQUAL, LiteRTEngine),
    "litert-int8": Kind(INT8, *_LITERT, _EQUAL_INT8, LiteRTEngine),
    "tensorflow": Kind(NETWORK, *_TENSORFLOW, _EQUAL, _tensorflow_f32, on_gpu=True, hindrance=lacks_gpu),
    "tensorflow-bf16": Kind(NETWORK, *_TENSORFLOW, _EQUAL, _tensorflow_bf16, on_gpu=True, hindrance=lacks_fast_gpu),
}
