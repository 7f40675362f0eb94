"""Training a worse model: it is registered, refused in words, released only over somebody's word, and rolled back."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WORSE = "kind: scratch\nside_px: 32\nwidth: 4\nepochs: 1\nbatch_size: 64\nlearning_rate: 0.0001\nfolds: 2\nseed: 7\n"


@pytest.fixture
def var(trained_var: Path, tmp_path: Path) -> Path:
    """A copy of the trained folder, to add versions to."""
    return Path(shutil.copytree(trained_var, tmp_path / "var"))


def test_a_worse_version_is_refused_and_every_step_after_it_is_on_record(
    var: Path, small_collection: Path, tmp_path: Path
) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "worse.yaml").write_text(WORSE)

    def enrich(*arguments: object, fails: bool = False) -> str:
        environment = {
            **os.environ,
            "VAR_DIR": str(var),
            "RECIPES_DIR": str(recipes),
            "TARGET_PRECISION": "0.6",
            "COLUMNS": "200",
        }
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *map(str, arguments)],
            env=environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == (2 if fails else 0), done.stderr
        return done.stdout + done.stderr

    refused = enrich("train", "--collection", small_collection, "--recipe", "worse", fails=True)
    assert "registered but not released" in refused and "macro average precision falls from" in refused
    assert "enrich model release default 2 --override" in refused
    listed = enrich("model", "list", "default")
    assert "registered (refused)" in listed and "released" in listed
    assert "in force" in enrich("model", "release", "default", "2", fails=True)
    enrich("model", "release", "default", "2", "--override", "only to try it")
    shown = enrich("model", "show", "default")
    assert "default 2, released" in shown and "only to try it" in shown and "refused" in shown
    assert "default 1 is released again" in enrich("model", "rollback", "default")
    assert "default 1, released" in enrich("model", "show", "default")
