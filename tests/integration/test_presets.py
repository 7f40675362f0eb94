"""Every recipe that comes with the project trains: as it is written, on small pictures and for few epochs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.settings import Settings
from pipeline.training.dataset import LabelledImages
from pipeline.training.fit import fit
from pipeline.training.recipes import Recipe, load_recipe

RECIPES = Settings(_env_file=None).recipes_dir  # type: ignore[call-arg]
SIDE = 64


def shortened(recipe: Recipe) -> Recipe:
    """What makes the recipe is left: its kind, backbone, layers, loss, optimizer, phases, augmentation, sampling."""
    short = replace(recipe, side_px=SIDE, batch_size=8, folds=3, epochs=2)
    if recipe.kind != "scratch":
        short = replace(short, weights="none")
    if recipe.kind == "transfer":
        short = replace(short, head_epochs=2, networks=1, fewest_per_concept=min(recipe.fewest_per_concept, 12))
    return short


@pytest.fixture(scope="module")
def pictures() -> LabelledImages:
    """Light and dark noise."""
    random = np.random.default_rng(3)
    pixels = random.integers(0, 120, (24, SIDE, SIDE, 3), np.uint8)
    truth = np.zeros((24, 2), np.int8)
    truth[0::2, 0] = truth[1::2, 1] = 1
    pixels[0::2] += 110
    names = tuple(map(str, range(24)))
    return LabelledImages(("light", "dark"), pixels, truth, np.array(names), np.full(24, "train"), names)


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_a_recipe_of_the_project_trains_and_its_network_answers_in_probabilities(
    name: str, pictures: LabelledImages, tmp_path: Path
) -> None:
    recipe = load_recipe(RECIPES, name)
    fitted = fit(pictures, shortened(recipe), Settings(_env_file=None, var_dir=tmp_path))  # type: ignore[call-arg]
    found = fitted.network.predict_on_batch(pictures.pixels[:8])
    scores = np.asarray(found["scores"])
    assert scores.shape == (8, 2) and np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1
    assert np.isfinite(np.asarray(found["embedding"])).all()
    scored = np.isfinite(fitted.out_of_fold).all(axis=1)
    assert scored.sum() == (8 if recipe.kind == "transfer" else 24)
    exact = recipe.kind == "frozen"
    assert bool(fitted.epochs) != exact  # closed forms have no epochs, everything else has a curve
