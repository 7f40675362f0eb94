"""`enrich model evaluate` on a labelled folder: figures in a file, and clear words where something is wrong."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

KEYS = {
    "model", "n_images", "macro_ap", "macro_f1", "micro_f1", "top1_accuracy", "ece", "published_precision",
    "published_recall", "published_n", "abstaining", "per_concept",
}  # fmt: skip
CONCEPT_KEYS = {"n_pos", "n_known", "ap", "precision", "recall", "f1", "threshold"}


def enrich(var: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *map(str, arguments)]
    return subprocess.run(
        command, env={**os.environ, "VAR_DIR": str(var)}, capture_output=True, text=True, timeout=240, check=False
    )


def test_the_figures_of_the_held_out_split_are_those_of_the_registration(
    trained_var: Path, small_collection: Path, tmp_path: Path
) -> None:
    done = enrich(
        trained_var,
        "model",
        "evaluate",
        "--model",
        "default@1",
        "--collection",
        small_collection,
        "--against",
        "default",
        "--json",
        tmp_path / "f.json",
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "f.json").read_text())
    assert figures["against"]["model"] == "default@1" and figures["against"]["macro_ap"]["difference"] == 0
    assert "more than default@1" in " ".join(done.stdout.split())
    assert set(figures) >= KEYS and figures["model"] == "default@1" and figures["split"] == "test"
    registered = json.loads((trained_var / "lake/models/default/1/bundle.json").read_text())["metrics"]
    for name in ("n_images", "macro_ap", "macro_f1", "micro_f1", "ece", "published_precision"):
        assert figures[name] == registered[name], name
    low, high = figures["macro_ap_interval"]
    assert low <= figures["macro_ap"] <= high
    for slug, own in figures["per_concept"].items():
        assert set(own) >= CONCEPT_KEYS
        assert (own["threshold"] is None) == (slug in figures["abstaining"])
    assert "macro average precision" in done.stdout


def test_a_collection_without_splits_is_judged_whole(trained_var: Path, small_collection: Path, tmp_path: Path) -> None:
    lines = list(csv.DictReader((small_collection / "metadata.csv").open()))
    chosen = [line | {"split": ""} for line in lines if line["split"] == "train" and line["image_file"]][:12]
    for line in chosen:
        target = tmp_path / "own" / line["image_file"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((small_collection / line["image_file"]).read_bytes())
    with (tmp_path / "own" / "metadata.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(chosen[0]))
        writer.writeheader()
        writer.writerows(chosen)
    done = enrich(
        trained_var, "model", "evaluate", "--model", "default", "--collection", tmp_path / "own", "--json", tmp_path / "f.json"
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "f.json").read_text())
    assert (figures["n_images"], figures["split"]) == (12, "all")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("nobody", "no released version of model 'nobody'"),
        ("default@9", "no version 9 of model 'default'"),
        ("default@newest", "say NAME, or NAME@VERSION"),
    ],
)
def test_a_model_that_is_not_there_is_named(trained_var: Path, small_collection: Path, model: str, words: str) -> None:
    done = enrich(trained_var, "model", "evaluate", "--model", model, "--collection", small_collection)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())


def test_what_a_picture_is_predicted_depends_neither_on_how_many_come_with_it_nor_on_what_came_before(
    trained_var: Path,
) -> None:
    from pipeline.model.bundle import load_bundle
    from pipeline.model.predictor import Predictor
    from pipeline.storage import open_store

    store = open_store((trained_var / "lake").as_uri())
    bundle = load_bundle(store, "models/default/1/bundle.json")
    pixels = np.random.default_rng(1).integers(0, 256, (70, bundle.side_px, bundle.side_px, 3), np.uint8)
    together = Predictor(store, bundle).predict(pixels)
    predictor = Predictor(store, bundle)
    for count in (3, 17, 70, 31, 45, 1):
        fewer = predictor.predict(pixels[:count])
        assert (fewer.raw == together.raw[:count]).all() and (fewer.embeddings == together.embeddings[:count]).all()
    others = np.concatenate([pixels[:8], 255 - pixels[8:32]])
    assert (predictor.predict(others).raw[:8] == together.raw[:8]).all()
    assert predictor.predict(pixels[:0]).raw.shape == (0, together.raw.shape[1])
