"""From labelled folders to a released, measured and explained model, by the commands that docs/training.md names."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.alone

RECIPE = """
kind: transfer
backbone: MobileNetV2
weights: none
side_px: 48
batch_size: 32
folds: 2
tune_from: 3
epochs: 2
learning_rate: 0.001
variants: 1
seed: 7
"""

QUICK = "kind: frozen\nbackbone: MobileNetV2\nweights: none\nside_px: 48\nbatch_size: 32\nfolds: 2\nseed: 7\n"


def enrich(var: Path, *arguments: object) -> str:
    command = [sys.executable, "-m", "pipeline", *map(str, arguments)]
    environment = {
        **os.environ,
        "VAR_DIR": str(var),
        "RECIPES_DIR": str(var / "recipes"),
        "TARGET_PRECISION": "0.5",
        "FEATURES_WIDTH": "24",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_from_a_labelled_folder_to_a_released_measured_and_explained_model(small_collection: Path, tmp_path: Path) -> None:
    var, dataset = tmp_path / "var", tmp_path / "dataset"
    (var / "recipes").mkdir(parents=True)
    (var / "recipes" / "tiny.yaml").write_text(RECIPE)
    (var / "recipes" / "quick.yaml").write_text(QUICK)
    assert "train" in enrich(var, "dataset", "build", "--collection", small_collection, "--out", dataset)
    enrich(var, "dataset", "noise", "--collection", dataset, "--recipe", "quick", "--out", tmp_path / "noise")
    assert "<html" in (tmp_path / "noise" / "page.html").read_text()
    page = tmp_path / "report"
    trained = enrich(var, "train", "--collection", dataset, "--recipe", "tiny", "--name", "chain", "--report", page)
    assert "version 1 is released" in trained and "chosen" in trained and "the evaluation is" in trained
    assert "chain" in enrich(var, "model", "list")
    figures = tmp_path / "figures.json"
    enrich(var, "model", "evaluate", "--model", "chain@1", "--collection", dataset, "--json", figures)
    judged = json.loads(figures.read_text())
    version = json.loads((var / "lake/models/chain/1/bundle.json").read_text())
    with np.load(var / "lake/models/chain/1/training.npz") as kept:
        assert kept["embeddings"].shape[1] == version["embedding_width"] == 24
    assert judged["macro_ap"] == version["metrics"]["macro_ap"] > 0
    assert version["metrics"]["cross_validated"]["n_images"] > judged["n_images"]
    assert json.loads((page / "figures.json").read_text())["macro_ap"] == judged["macro_ap"]
    assert "<html" in (page / "index.html").read_text()
    card = (var / "lake/models/chain/1/card.md").read_text()
    assert "| fold | pictures |" in card and "### Concepts and providers" in card  # the dataset's own card is part of it
    assert all(path.exists() for path in (var / f"lake/models/chain/1/{name}" for name in ("model.tflite", "engines.json")))
    assert (var / "lake/models/chain/1/curves.svg").read_text().count("<polyline") == 4
    picture = next(path for path in sorted(dataset.rglob("*.jpg")))
    enrich(var, "explain", picture, "--model", "chain@1", "--out", tmp_path / "why.png")
    with Image.open(tmp_path / "why.png") as image:
        assert min(image.size) > 100
