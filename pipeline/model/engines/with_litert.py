"""LiteRT (formerly TensorFlow Lite) on the CPU: float or whole numbers, without TensorFlow itself."""

import os
from pathlib import Path

import numpy as np

from pipeline.model.engines.port import Floats
from pipeline.model.preprocessing import Pixels


class LiteRTEngine:
    """Runs a TFLite file whose outputs are scores and embeddings by the order of their names."""

    def __init__(self, path: Path, at_once: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=path.read_bytes(), num_threads=os.cpu_count())
        given = self._interpreter.get_input_details()[0]
        self._input = given["index"]
        self._interpreter.resize_tensor_input(self._input, [at_once, *given["shape"][1:]], strict=True)
        self._interpreter.allocate_tensors()
        outputs = sorted(self._interpreter.get_output_details(), key=lambda output: str(output["name"]))
        self._outputs = [output["index"] for output in outputs]

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        self._interpreter.set_tensor(self._input, pixels)
        self._interpreter.invoke()
        scores, embeddings = (np.asarray(self._interpreter.get_tensor(index), np.float32) for index in self._outputs)
        return scores, embeddings
