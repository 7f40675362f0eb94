"""Another backend of Keras than TensorFlow: it trains, and the scores of a file are the same whichever reads it."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="the library jax is not installed")

SAME = 1e-4  # of scores in 0-1: float32 sums in another order
TRAINED = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from pipeline.model.runtime import keras
from pipeline.settings import Settings
from pipeline.training.dataset import LabelledImages
from pipeline.training.fit import fit
from pipeline.training.recipes import load_recipe

folder, name = Path(sys.argv[1]), sys.argv[2]
settings = Settings(_env_file=None, var_dir=folder)
recipe = replace(load_recipe(settings.recipes_dir, name), side_px=64, batch_size=8, folds=3)
if recipe.kind == "scratch":
    recipe = replace(recipe, epochs=2, width=6)
else:
    recipe = replace(recipe, weights="none", **({"epochs": 1, "networks": 1} if recipe.kind == "transfer" else {}))
pixels = np.load(folder / "pixels.npy")
truth = np.zeros((24, 2), np.int8)
truth[0::2, 0] = truth[1::2, 1] = 1
names = tuple(map(str, range(24)))
fitted = fit(LabelledImages(("light", "dark"), pixels, truth, np.array(names), np.full(24, "train"), names), recipe, settings)
fitted.network.save(folder / f"{name}.keras")
np.save(folder / f"{name}.npy", np.asarray(fitted.network.predict_on_batch(pixels)["scores"]))
print("trained on", keras().backend.backend())
"""
READ = """
import sys
from pathlib import Path
import numpy as np
from pipeline.model.runtime import keras

folder, name = Path(sys.argv[1]), sys.argv[2]
network = keras().saving.load_model(folder / f"{name}.keras", compile=False)
found = np.asarray(network.predict_on_batch(np.load(folder / "pixels.npy"))["scores"])
print("read by", keras().backend.backend(), float(np.abs(found - np.load(folder / f"{name}.npy")).max()))
"""


def run(code: str, backend: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize(
    ("name", "trains", "reads"),
    [("small", "jax", "tensorflow"), ("default", "jax", "tensorflow"), ("tuned", "tensorflow", "jax")],
)
def test_what_one_backend_trains_another_one_scores_alike(name: str, trains: str, reads: str, tmp_path: Path) -> None:
    coarse = np.random.default_rng(3).integers(0, 255, (24, 4, 4, 3), np.uint8)  # patches: pictures that differ
    np.save(tmp_path / "pixels.npy", coarse.repeat(16, axis=1).repeat(16, axis=2))
    assert f"trained on {trains}" in run(TRAINED, trains, tmp_path, name)
    answer = run(READ, reads, tmp_path, name).split()
    assert answer[-2] == reads and float(answer[-1]) <= SAME
