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
from pipeline.model.engines.port import Engine
from pipeline.model.engines.record import open_engine
from pipeline.model.heads import LinearHeads
from pipeline.model.preprocessing import PREPROCESSING_VERSION, Pixels
from pipeline.storage import open_store
from tests.benchmarks.figure import Figure

BACKBONES = (
    "EfficientNetV2B0", "ConvNeXtTiny", "MobileNetV2", "MobileNetV3Large", "ResNet50", "VGG16", "VGG19",
)  # fmt: skip
SIDE, AT_ONCE, TURNS = 224, 16, 3


def measure(*, full: bool) -> list[Figure]:
    """For each backbone how much faster the chosen engine is than Keras; `--full` tries 8 bits, too."""
    kinds = trial.KINDS
    if not full:
        trial.KINDS = {name: kind for name, kind in kinds.items() if kind.file != INT8}
    try:
        return [_faster(name) for name in BACKBONES]
    finally:
        trial.KINDS = kinds


def _faster(name: str) -> Figure:
    """What was chosen in a trial against Keras, in rounds of their own."""
    with tempfile.TemporaryDirectory(prefix="backbones-") as folder:
        chosen, sides, pixels = _tried(name, Path(folder))
        turns = [trial._rates(sides, pixels) for _ in range(TURNS)]
    print(f"{name}: {chosen} is chosen; images/s {turns}", flush=True)
    return Figure(name, f"x Keras, by {chosen}", [round(one[chosen] / one[KERAS], 3) for one in turns], at_least=1)


def _tried(name: str, folder: Path) -> tuple[str, dict[str, Engine], Pixels]:
    """The engine that a trial chooses; it and Keras, open; the pictures."""
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
    chosen = trial.try_engines(store, bundle, pixels, calibration=pixels, at_once=AT_ONCE, floor=0.05).tried.chosen
    return chosen, {one: open_engine(store, bundle, one, AT_ONCE) for one in (KERAS, chosen)}, pixels
