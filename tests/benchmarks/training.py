"""Training: what the first phase costs, held against one pass of the backbone over the same pictures.

The pictures are noise and the weights random: neither changes how long a network takes. The peer is what every training
on frozen features has to do at least: Keras' own prediction of each picture by the backbone, once.
"""

import time
from pathlib import Path

import numpy as np

from pipeline.model import networks
from pipeline.settings import Settings
from pipeline.training.recipes import Recipe
from pipeline.training.transfer import transfer
from tests.benchmarks.figure import Figure

COUNT, CONCEPTS, TURNS, EPOCHS = 2_048, 32, 3, 20  # of 512 pictures building the networks is half the time
RECIPE = Recipe(
    name="first-phase", kind="transfer", backbone="MobileNetV2", weights="none", side_px=224, batch_size=32, folds=3, seed=1,
    networks=1, dense=256, dropout=0.4, head_epochs=EPOCHS,
)  # fmt: skip


def measure(*, full: bool) -> list[Figure]:  # noqa: ARG001 - there is one form
    """Both in turn; building the networks and writing the cached activations are part of ours."""
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (COUNT, RECIPE.side_px, RECIPE.side_px, 3), np.uint8)
    truth = (random.random((COUNT, CONCEPTS)) < 0.1).astype(np.int8)
    settings = Settings(_env_file=None, var_dir=Path("var"))  # type: ignore[call-arg]
    backbone = networks.frozen_backbone(RECIPE.backbone, RECIPE.side_px, None)
    rows = np.arange(COUNT)
    passes, ratios = [], []
    for turn in range(-1, TURNS):  # the first turn warms both up
        started = time.perf_counter()
        for at in range(0, COUNT, RECIPE.batch_size):
            backbone.predict_on_batch(pixels[at : at + RECIPE.batch_size])
        one_pass = time.perf_counter() - started
        started = time.perf_counter()
        found = transfer(pixels, truth, [(rows, rows[: RECIPE.batch_size])], RECIPE, settings)
        seconds = time.perf_counter() - started
        assert np.isfinite(found.logits[: RECIPE.batch_size]).all()
        if turn >= 0:
            passes.append(round(COUNT / one_pass, 1))
            ratios.append(round(seconds / one_pass, 3))
    return [
        Figure("one_pass", f"pictures/s of {RECIPE.backbone} at {RECIPE.side_px} px, {COUNT:,} pictures", passes),
        Figure("first_phase", f"x one pass, for {EPOCHS} epochs of the head", ratios, at_most=1.5),
    ]
