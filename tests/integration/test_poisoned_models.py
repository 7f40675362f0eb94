"""A poisoned network never becomes a version: registration looks at it first, and says what is wrong."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.database import connect, models
from pipeline.errors import CriticalError
from pipeline.model.networks import small_network
from pipeline.model.preprocessing import PREPROCESSING_VERSION
from pipeline.model.soundness import check_sound
from pipeline.settings import Settings
from pipeline.training import steps
from pipeline.training.dataset import LabelledImages
from pipeline.training.fit import Fitted
from pipeline.training.recipes import Recipe
from tests.conftest import NOW

SIDE, CONCEPTS = 96, 3


def check(network: object, **changed: object) -> None:
    check_sound(network, **{"concepts": CONCEPTS, "side_px": SIDE, "preprocessing_version": PREPROCESSING_VERSION, **changed})


def test_a_fresh_network_is_sound() -> None:
    check(small_network(SIDE, CONCEPTS, width=4))


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_and_their_layer_is_named(poison: float) -> None:
    network = small_network(SIDE, CONCEPTS, width=4)
    layer = network.get_layer("embedding")
    kernel, bias = layer.get_weights()
    kernel[0, 0] = poison
    layer.set_weights([kernel, bias])
    with pytest.raises(CriticalError, match="layer embedding"):
        check(network)


def test_a_wrong_number_of_classes_is_refused() -> None:
    with pytest.raises(CriticalError, match="4 scores for 3 concepts"):
        check(small_network(SIDE, CONCEPTS + 1, width=4))


def test_another_picture_size_is_refused() -> None:
    with pytest.raises(CriticalError, match="128, 128, 3"):
        check(small_network(128, CONCEPTS, width=4))


def test_other_preprocessing_is_refused() -> None:
    with pytest.raises(CriticalError, match="preprocessing crop-0"):
        check(small_network(SIDE, CONCEPTS, width=4), preprocessing_version="crop-0")


def test_a_network_without_an_embedding_is_refused() -> None:
    import keras

    network = small_network(SIDE, CONCEPTS, width=4)
    with pytest.raises(CriticalError, match="outputs"):
        check(keras.Model(network.input, network.output["scores"]))


def test_a_training_that_went_astray_registers_nothing_and_stores_nothing(
    monkeypatch: pytest.MonkeyPatch, small_collection: Path, tmp_path: Path
) -> None:
    def astray(images: LabelledImages, recipe: Recipe, *_: object, **__: object) -> Fitted:
        network = small_network(recipe.side_px, len(images.slugs), width=4)
        network.set_weights([np.full_like(weights, np.nan) for weights in network.get_weights()])
        return Fitted(network, np.full(images.truth.shape, 0.5), np.zeros(len(images.truth), np.intp))

    monkeypatch.setattr(steps, "fit", astray)
    settings = Settings(var_dir=tmp_path)
    with pytest.raises(CriticalError, match="not finite"):
        steps.train(small_collection, "small", "default", settings=settings, now=NOW)
    assert models.find(connect(settings), "default") is None
    assert not list((tmp_path / "lake").glob("models/**/*"))
