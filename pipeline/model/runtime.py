"""The one place that imports Keras."""

import os
from typing import Any

from pipeline.errors import CriticalError


def keras() -> Any:
    """The Keras module, on TensorFlow unless KERAS_BACKEND says otherwise, without its start-up chatter."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    import keras as module

    return module


def gpus() -> int:
    """How many GPUs Keras' backend sees on this machine."""
    backend = keras().backend.backend()
    if backend == "tensorflow":
        import tensorflow

        return len(tensorflow.config.list_physical_devices("GPU"))
    if backend == "jax":
        import jax  # type: ignore[import-not-found,unused-ignore]

        return sum(device.platform == "gpu" for device in jax.devices())
    if backend == "torch":
        import torch  # type: ignore[import-not-found,unused-ignore]

        return int(torch.cuda.device_count())
    return 0


def demand(device: str) -> None:
    """CriticalError when INFERENCE_DEVICE is `gpu` and none is there: better no labels than a week of them on a CPU."""
    if device == "gpu" and not gpus():
        raise CriticalError(
            f"INFERENCE_DEVICE=gpu, and Keras on {keras().backend.backend()} sees no GPU on this worker: check `nvidia-smi` "
            "there, the container's access to it and the driver, or set INFERENCE_DEVICE=any to label on the CPU"
        )


def make_deterministic(seed: int) -> None:
    """Same seed, same data, same model."""
    keras().utils.set_random_seed(seed)
    if keras().backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()
