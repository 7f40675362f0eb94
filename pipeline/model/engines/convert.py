"""A Keras network as a TFLite file, for the engines beside Keras."""

import tempfile
from pathlib import Path
from typing import Any

from pipeline.errors import CriticalError
from pipeline.model.networks import WITH_PLACES
from pipeline.model.preprocessing import Pixels
from pipeline.model.runtime import keras


def write_tflite(network: Any, path: Path, *, calibration: Pixels | None = None) -> None:
    """Write a file that gives scores and embeddings of any number of pictures; its outputs' names sort in that order.

    `calibration`: uint8 pixels (n, side, side, 3) like those that will come. With them weights and activations become
    8-bit numbers, whose ranges are taken from what the network makes of these pictures; the heads, which is what has no
    places any more, stay in f32: they are little work, and where they tell many features apart eight bits are too few.
    Raises CriticalError on another backend than TensorFlow.
    """
    if (backend := keras().backend.backend()) != "tensorflow":
        raise CriticalError(f"TFLite files are made from TensorFlow; Keras runs on {backend}: unset KERAS_BACKEND for this")
    import tensorflow

    def answer(pixels: Any) -> tuple[Any, Any]:
        found = network(pixels, training=False)
        return found["scores"], found["embedding"]

    archive = keras().export.ExportArchive()
    archive.track(network)
    signature = tensorflow.TensorSpec([None, *network.input.shape[1:]], "uint8", name="pixels")
    archive.add_endpoint("serve", answer, input_signature=[signature])
    with tempfile.TemporaryDirectory(prefix="enrich-") as folder:
        archive.write_out(folder, verbose=False)
        content = tensorflow.lite.TFLiteConverter.from_saved_model(folder).convert()
        path.write_bytes(content if calibration is None else _in_8_bits(folder, content, calibration))


def _in_8_bits(folder: str, in_floats: bytes, calibration: Pixels) -> bytes:
    """The file of a SavedModel in 8 bits, but for the tensors that have no places; `in_floats` is that without any."""
    import tensorflow

    lite = tensorflow.lite
    tensors = lite.Interpreter(model_content=in_floats).get_tensor_details()
    heads = [one["name"] for one in tensors if one["name"] and len(one["shape"]) < WITH_PLACES]
    converter = lite.TFLiteConverter.from_saved_model(folder)
    converter.optimizations = [lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([picture[None]] for picture in calibration)
    options = lite.experimental.QuantizationDebugOptions(denylisted_nodes=heads)
    debugger = lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=converter.representative_dataset, debug_options=options
    )
    return bytes(debugger.get_nondebug_quantized_model())
