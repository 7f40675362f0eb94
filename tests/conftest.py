"""What several layers of tests share: no stray settings, a small collection, a trained model, a running sandbox."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.settings import Settings

ROOT = Path(__file__).parents[1]
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RECIPE = """
kind: scratch
side_px: 48
width: 12
epochs: 40
batch_size: 16
learning_rate: 0.002
folds: 2
seed: 7
"""


@pytest.fixture(scope="session", autouse=True)
def no_stray_settings() -> Iterator[None]:
    """Settings of the person who runs the tests must not leak into them."""
    before = dict(os.environ)
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
    os.environ["ENV_FILE"] = ""  # for the processes that tests start
    Settings.model_config["env_file"] = None
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def small_collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 drawn pictures, the shipped photographs and the broken records."""
    from pipeline.sandbox.builtin import write_builtin_collection

    folder = tmp_path_factory.mktemp("collections") / "small"
    write_builtin_collection(folder, pictures=120)
    return folder


@pytest.fixture(scope="session")
def trained_var(tmp_path_factory: pytest.TempPathFactory, small_collection: Path) -> Path:
    """A var folder whose registry holds a released model `default`, trained on the small collection."""
    from pipeline.training.steps import train

    var = tmp_path_factory.mktemp("trained")
    recipes = tmp_path_factory.mktemp("recipes")
    (recipes / "tiny.yaml").write_text(RECIPE)
    # A lower aim than in real life: with so few pictures nothing else could be published.
    settings = Settings(var_dir=var, recipes_dir=recipes, target_precision=0.6)
    train(small_collection, "tiny", "default", settings=settings, now=NOW)
    return var
