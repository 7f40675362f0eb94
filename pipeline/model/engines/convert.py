"""A Keras network as a TFLite file, for the engines beside Keras."""

import tempfile
from pathlib import Path
from typing import Any

from pipeline.errors import CriticalError
from pipeline.model.preprocessing import Pixels
from pipeline.model.runtime import keras


def write_tflite(network: Any, path: Path, *, calibration: Pixels | None = None) -> None:
    """Write a file that gives scores and embeddings of any number of pictures; its outputs' names sort in that order.

    `calibration`: uint8 pixels (n, side, side, 3) like those that will come. With them weights and activations become
    8-bit numbers, whose ranges are taken from what the network makes of these pictures.
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
        converter = tensorflow.lite.TFLiteConverter.from_saved_model(folder)
        if calibration is not None:
            converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([picture[None]] for picture in calibration)
        path.write_bytes(converter.convert())
