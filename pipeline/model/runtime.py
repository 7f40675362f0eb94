"""The one place that imports Keras."""

import os
from typing import Any


def keras() -> Any:
    """The Keras module, on TensorFlow unless KERAS_BACKEND says otherwise, without its start-up chatter."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    import keras as module

    return module


def make_deterministic(seed: int) -> None:
    """Same seed, same data, same model."""
    keras().utils.set_random_seed(seed)
    if keras().backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()
