"""Engines on every backbone that recipes may name: is what is chosen ever slower than Keras? Random weights, 224 px, two
linear heads; rates of the engines themselves on pixels in memory, in turn, as `enrich model bench-engines` takes them.
"""

import tempfile
from pathlib import Path

import numpy as np

from pipeline.domain.label import Thresholds
from pipeline.model import networks
from pipeline.model.bundle import Bundle, ConceptHead, bundle_folder, save_network
from pipeline.model.engines import trial
from pipeline.model.engines.kinds import INT8, KERAS
from pipeline.model.engines.record import Tried
from pipeline.model.heads import LinearHeads
from pipeline.model.preprocessing import PREPROCESSING_VERSION
from pipeline.storage import open_store
from tests.benchmarks.figure import Figure

BACKBONES = (
    "EfficientNetV2B0", "ConvNeXtTiny", "MobileNetV2", "MobileNetV3Large", "ResNet50", "VGG16", "VGG19",
)  # fmt: skip
SIDE, AT_ONCE = 224, 16


def measure(*, full: bool) -> list[Figure]:
    """For each backbone how much faster the chosen engine is than Keras; `--full` tries 8 bits, too."""
    if not full:
        trial.KINDS = {name: kind for name, kind in trial.KINDS.items() if kind.file != INT8}
    figures = []
    for name in BACKBONES:
        with tempfile.TemporaryDirectory(prefix="backbones-") as folder:
            tried = _tried(name, Path(folder))
        rates = {engine: one.images_per_s for engine, one in tried.trials.items()}
        print(f"{name}: {tried.chosen} is chosen; images/s {rates}", flush=True)
        ratio = round(rates[tried.chosen] / rates[KERAS], 3)
        figures.append(Figure(name, f"x Keras, by {tried.chosen}", [ratio], at_least=1))
    return figures


def _tried(name: str, folder: Path) -> Tried:
    store, random = open_store(folder.as_uri()), np.random.default_rng(1)
    backbone = networks.frozen_backbone(name, SIDE, None)
    width = int(backbone.output["features"].shape[-1])
    heads = LinearHeads(random.normal(0, 0.1, (width, 2)).astype(np.float32), np.zeros(2, np.float32))
    bundle = Bundle(
        name=name.lower(),
        version=1,
        sha256=save_network(store, bundle_folder(name.lower(), 1), networks.with_heads(backbone, heads)),
        heads=tuple(ConceptHead(slug, (1.0, 0.0), Thresholds(0.9, 0.6)) for slug in ("one", "other")),
        side_px=SIDE,
        embedding_width=width,
        preprocessing_version=PREPROCESSING_VERSION,
        vocabulary_version="none",
        recipe="none",
        dataset_id="none",
        metrics={},
    )
    pixels = random.integers(0, 255, (AT_ONCE, SIDE, SIDE, 3), np.uint8)
    return trial.try_engines(store, bundle, pixels, calibration=pixels, at_once=AT_ONCE, floor=0.05).tried
