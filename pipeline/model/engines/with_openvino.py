"""OpenVINO on the CPU, from a TFLite file: the route that was fastest and that changes no result (decision 0012)."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.model.engines.port import Floats
from pipeline.model.preprocessing import Pixels

_TOGETHER = 4  # pictures of one request; several requests are under way, each in threads of its own


class OpenVINOEngine:
    """Runs a TFLite file whose outputs are scores and embeddings by the order of their names."""

    def __init__(self, path: Path, at_once: int, *, precision: str) -> None:
        """`precision`: f32 or bf16; a CPU without bf16 calculates in f32 all the same."""
        import openvino

        core = openvino.Core()
        network = core.read_model(path)
        self._together = min(_TOGETHER, at_once)
        network.reshape([self._together, *network.input(0).partial_shape[1:]])
        hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision if has_bf16() else "f32"}
        compiled = core.compile_model(network, "CPU", hints)
        count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._requests = [compiled.create_infer_request() for _ in range(count)]
        self._outputs = sorted(compiled.outputs, key=lambda output: output.any_name)

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        found = [np.empty((len(pixels), output.shape[1]), np.float32) for output in self._outputs]
        under_way: list[tuple[Any, int]] = []

        def finish() -> None:
            request, at = under_way.pop(0)
            request.wait()
            kept = min(self._together, len(pixels) - at)
            for values, output in zip(found, self._outputs, strict=True):
                values[at : at + kept] = request.get_tensor(output).data[:kept]

        for number, at in enumerate(range(0, len(pixels), self._together)):
            if len(under_way) == len(self._requests):
                finish()
            request = self._requests[number % len(self._requests)]
            some = pixels[at : at + self._together]
            request.get_input_tensor().data[: len(some)] = some
            request.start_async()
            under_way.append((request, at))
        while under_way:
            finish()
        return found[0], found[1]


def has_bf16() -> bool:
    """Does this machine's CPU calculate in bf16?"""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
