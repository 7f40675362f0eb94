"""Labels on a GPU: images/s from shards, held against the same engine's rate on pixels in memory, and the cores that decode.

EfficientNetV2-B0 at 224 px with random weights. It runs on whatever backend Keras has: where only JAX or PyTorch is
installed, with KERAS_BACKEND set to it. Without a GPU there is nothing to measure.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.lake import open_lake
from pipeline.imaging.derivative import decode_derivative
from pipeline.labels.reader import predicted, read_batches
from pipeline.model.engines.port import Engine, run_in_batches
from pipeline.model.engines.with_keras import KerasEngine
from pipeline.model.heads import LinearHeads
from pipeline.model.networks import frozen_backbone, with_heads
from pipeline.model.predictor import Prediction
from pipeline.model.preprocessing import network_input
from pipeline.model.runtime import gpus, keras
from pipeline.settings import Settings
from pipeline.storage import ObjectStore
from tests.benchmarks.figure import Figure
from tests.benchmarks.for_images.pictures import make_pictures
from tests.benchmarks.for_images.places import BENCH, PICTURES
from tests.benchmarks.for_labels.child import BACKBONE, CONCEPTS, SIDE_PX, stored_pictures

FILES, IMAGES, TURNS = 5_000, 50_000, 3  # each picture comes ten times: what it shows changes no time
TOGETHER = (64, 256, 1_024)  # pictures a batch: the best of these is taken
FORWARD_S = 5.0


def measure(*, full: bool, anywhere: bool = False, files: int = FILES, images: int = IMAGES) -> list[Figure]:
    """All figures; `--full` has four times the images. `anywhere` and fewer pictures are for trying the benchmark itself."""
    if not anywhere and not gpus():
        print(f"gpu_inference: Keras on {keras().backend.backend()} sees no GPU here; nothing is measured")
        return []
    make_pictures(PICTURES, files)
    BENCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gpu-", dir=BENCH) as name:
        settings = Settings(_env_file=None, var_dir=Path(name), storage_url="")  # type: ignore[call-arg]
        rows = list(stored_pictures(settings, sorted(PICTURES.glob("*.jpg"))[:files]))
        store = open_lake(settings).store
        decoded = [_decode_rate(store, rows) for _ in range(TURNS)]
        figures = [Figure("decode_per_core", "images/s of one thread that reads, decodes and resizes", decoded)]
        for engine, opened in _engines(Path(name) / "model.keras").items():
            figures += _figures(engine, opened, store, rows, images * (4 if full else 1), figures[0].value)
    return figures


def _engines(path: Path) -> dict[str, Any]:
    """By name: what opens the engine for a number of pictures at once."""
    rng = np.random.default_rng(0)
    backbone = frozen_backbone(BACKBONE, SIDE_PX, None)
    kernel = rng.normal(0, 0.05, (int(backbone.output["features"].shape[-1]), CONCEPTS)).astype(np.float32)
    network = with_heads(backbone, LinearHeads(kernel, np.zeros(CONCEPTS, np.float32)))
    found: dict[str, Any] = {f"keras-{keras().backend.backend()}": lambda _: KerasEngine(network)}
    if keras().backend.backend() == "tensorflow":
        from pipeline.model.engines.with_tensorflow import TensorFlowEngine, lacks_fast_gpu

        network.save(path)
        for precision in ("f32", "bf16") if lacks_fast_gpu() is None else ("f32",):
            found[f"tensorflow-{precision}"] = lambda together, p=precision: TensorFlowEngine(path, together, precision=p)
    return found


def _figures(
    name: str, opened: Any, store: ObjectStore, rows: list[dict[str, Any]], images: int, decode_rate: float
) -> list[Figure]:
    rates = {together: _forward_rate(opened(together), together) for together in TOGETHER}
    together = max(rates, key=rates.__getitem__)
    engine, alone, whole = opened(together), [], []
    for _ in range(TURNS):
        alone.append(round(_forward_rate(engine, together), 1))
        whole.append(round(_from_shards(engine, together, store, rows, images), 1))
        print(f"{name}: {whole[-1]} images/s from shards, {alone[-1]} by itself, {together} at once", flush=True)
    shares = [round(one / other, 3) for one, other in zip(whole, alone, strict=True)]
    return [
        Figure(f"rate_{name}", f"images/s from shards, {together} at once, {os.cpu_count()} cores", whole),
        Figure(f"alone_{name}", "images/s on pixels in memory", alone),
        Figure(f"share_{name}", "of the engine's own rate", shares, at_least=0.85),
        Figure(f"cores_{name}", "cores that decode for it", [round(one / decode_rate, 1) for one in alone]),
    ]


def _forward_rate(engine: Engine, together: int) -> float:
    pixels = np.random.default_rng(0).integers(0, 256, (together, SIDE_PX, SIDE_PX, 3), np.uint8)
    engine.run(pixels)  # compiles
    done, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < FORWARD_S:
        engine.run(pixels)
        done += together
    return done / seconds


def _from_shards(engine: Engine, together: int, store: ObjectStore, rows: list[dict[str, Any]], images: int) -> float:
    class Predictor:
        """What the reader asks, without a bundle's calibration."""

        def predict(self, pixels: Any) -> Prediction:
            raw, embeddings = run_in_batches(engine, pixels, together)
            return Prediction(raw, raw, embeddings)

    started, seen = time.perf_counter(), 0
    batches = read_batches(store, islice(cycle(rows), images), size=together, side_px=SIDE_PX)
    for batch, _ in predicted(batches, Predictor()):  # type: ignore[arg-type]
        seen += len(batch.rows)
    if seen != images:
        raise RuntimeError(f"{images} pictures were to be looked at, and {seen} were")
    return images / (time.perf_counter() - started)


def _decode_rate(store: ObjectStore, rows: list[dict[str, Any]]) -> float:
    def pictures() -> Iterator[bytes]:
        for row in rows[:1_000]:
            yield store.get_range(row["shard_uri"], row["shard_offset"], row["shard_size"])

    started = time.perf_counter()
    count = sum(network_input(decode_derivative(content), SIDE_PX).shape[0] // SIDE_PX for content in pictures())
    return round(count / (time.perf_counter() - started), 1)
