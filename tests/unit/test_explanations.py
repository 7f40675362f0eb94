"""Maps show what a score hangs on, for every kind of network; the nearest training pictures are the nearest."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import CriticalError
from pipeline.model.examples import load_examples, nearest, save_examples
from pipeline.model.explain import concept_maps, last_places
from pipeline.model.networks import small_network
from pipeline.model.runtime import keras
from pipeline.storage.local import LocalStore

SIDE, PLACES = 32, 8
LEFT, RIGHT = slice(0, SIDE // 2), slice(SIDE // 2, SIDE)
BACKBONES = (
    "EfficientNetV2B0",
    "ConvNeXtTiny",
    "MobileNetV2",
    "MobileNetV3Small",
    "ResNet50",
    "ResNet50V2",
    "VGG16",
    "VGG19",
)


def noise(seed: int = 0, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (1, side, side, 3), dtype=np.uint8)


def mass(heat: np.ndarray, rows: slice, columns: slice) -> float:
    return float(heat[rows, columns].sum() / heat.sum())


def looking_at(*corners: tuple[slice, slice], name: str) -> Any:
    """Scaled pixels in, one number for each corner out: how bright its quarter of a quarter is, and nothing else."""
    mask = np.zeros((PLACES, PLACES, len(corners)))
    for channel, (rows, columns) in enumerate(corners):
        ends = [slice(0, 2) if part == LEFT else slice(PLACES - 2, PLACES) for part in (rows, columns)]
        mask[ends[0], ends[1], channel] = 1
    inputs = keras().Input((SIDE, SIDE, 3))
    convolution = keras().layers.Conv2D(len(corners), 1, use_bias=False)
    x = keras().layers.AveragePooling2D(SIDE // PLACES)(convolution(inputs))
    convolution.set_weights([np.full((1, 1, 3, len(corners)), 1 / 3)])
    seen = keras().layers.Rescaling(mask.tolist())(x)
    return keras().Model(inputs, keras().layers.GlobalAveragePooling2D()(seen), name=name)


def network_of(*parts: Any, mirror: bool = False, bias: Any = 0.0, concepts: int = 1, activation: str = "sigmoid") -> Any:
    """Pixels through nested models, whose outputs are averaged, and a head for each of their channels."""
    pixels = keras().Input((SIDE, SIDE, 3), dtype="uint8")
    scaled = keras().layers.Rescaling(1 / 255)(pixels)
    found = [part(view, training=False) for view in ([scaled, scaled[:, :, ::-1]] if mirror else [scaled]) for part in parts]
    embedding = keras().layers.Average()(found) if len(found) > 1 else found[0]
    head = keras().layers.Dense(concepts)
    logits = head(embedding)
    head.set_weights([np.full((1, 1), 4.0) if concepts == 1 else 4 * np.eye(concepts), np.broadcast_to(bias, concepts)])
    return keras().Model(pixels, {"scores": keras().layers.Activation(activation)(logits), "embedding": embedding})


# --- Maps ---


def test_what_hangs_on_one_corner_has_its_map_there() -> None:
    heat = concept_maps(network_of(looking_at((LEFT, LEFT), name="a")), noise(), [0])[0, 0]
    assert heat.shape == (SIDE, SIDE) and heat.dtype == np.float32
    assert mass(heat, LEFT, LEFT) >= 0.8 and heat.max() == 1


def test_each_concept_has_its_own_map() -> None:
    network = network_of(looking_at((LEFT, LEFT), (RIGHT, RIGHT), name="a"), concepts=2)
    first, second = concept_maps(network, noise(), [0, 1])[0]
    assert mass(first, LEFT, LEFT) >= 0.8 and mass(second, RIGHT, RIGHT) >= 0.8


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_a_score_without_any_slope_left_still_has_a_map(activation: str) -> None:
    two = looking_at((LEFT, LEFT), (RIGHT, RIGHT), name="a")
    network = network_of(two, bias=(200.0, 0.0), concepts=2, activation=activation)
    assert float(network.predict_on_batch(noise())["scores"][0, 0]) == 1.0
    assert mass(concept_maps(network, noise(), [0])[0, 0], LEFT, LEFT) >= 0.8


def test_a_score_made_by_a_bare_operation_has_a_map_too() -> None:
    pixels = keras().Input((SIDE, SIDE, 3), dtype="uint8")
    embedding = looking_at((LEFT, RIGHT), name="a")(keras().layers.Rescaling(1 / 255)(pixels))
    network = keras().Model(pixels, {"scores": keras().ops.sigmoid(4 * embedding), "embedding": embedding})
    assert mass(concept_maps(network, noise(), [0])[0, 0], LEFT, RIGHT) >= 0.8


def test_branches_over_one_trunk_add_their_maps() -> None:
    network = network_of(looking_at((LEFT, LEFT), name="a"), looking_at((RIGHT, RIGHT), name="b"))
    assert len(last_places(network)) == 2
    heat = concept_maps(network, np.full((1, SIDE, SIDE, 3), 200, np.uint8), [0])[0, 0]
    assert mass(heat, LEFT, LEFT) == pytest.approx(0.5, abs=0.05) == mass(heat, RIGHT, RIGHT)


def test_what_is_seen_in_the_mirror_is_shown_where_it_lies_on_the_picture() -> None:
    network = network_of(looking_at((LEFT, LEFT), name="a"), mirror=True)
    picture = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    picture[:, LEFT, RIGHT] = 255  # seen by the look at the mirror image alone
    heat = concept_maps(network, picture, [0])[0, 0]
    assert mass(heat, LEFT, RIGHT) >= 0.8
    both = concept_maps(network, np.full_like(picture, 200), [0])[0, 0]
    assert mass(both, LEFT, LEFT) == pytest.approx(0.5, abs=0.05) == mass(both, LEFT, RIGHT)


@pytest.mark.parametrize("turn", ["slice", "operation", "batch"])
def test_a_mirror_image_is_known_however_it_is_made_and_wherever_it_is_looked_at_first(turn: str) -> None:
    pixels = keras().Input((SIDE, SIDE, 3), dtype="uint8")
    x = keras().layers.Rescaling(1 / 255)(pixels)
    mirror = keras().ops.flip(x, axis=2) if turn == "operation" else x[:, :, ::-1]
    part = looking_at((LEFT, LEFT), name="a")
    if turn == "batch":
        embedding = keras().ops.mean(part(keras().ops.concatenate([mirror, x], axis=0)), axis=0, keepdims=True)
    else:
        embedding = keras().layers.Average()([part(mirror), part(x)])
    network = keras().Model(pixels, {"scores": keras().ops.sigmoid(embedding), "embedding": embedding})
    picture = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    picture[:, LEFT, RIGHT] = 255
    assert mass(concept_maps(network, picture, [0])[0, 0], LEFT, RIGHT) >= 0.8
    assert mass(concept_maps(network, picture[:, :, ::-1], [0])[0, 0], LEFT, LEFT) >= 0.8


def test_several_pictures_have_the_maps_that_they_have_alone() -> None:
    network, pictures = small_network(SIDE, 3, width=4), np.concatenate([noise(1), noise(2)])
    together = concept_maps(network, pictures, [2, 0])
    assert together.shape == (2, 2, SIDE, SIDE)
    assert np.allclose(together[1], concept_maps(network, pictures[1:], [2, 0])[0], atol=1e-5)


def test_the_network_is_afterwards_what_it_was_also_when_something_failed() -> None:
    network = network_of(looking_at((LEFT, LEFT), name="a"), bias=3.0)
    before = np.asarray(network(noise())["scores"])
    concept_maps(network, noise(), [0])
    with pytest.raises(Exception, match=r"."):
        concept_maps(network, noise(), [7])
    assert np.array_equal(np.asarray(network(noise())["scores"]), before) and before < 1


def test_a_saved_network_has_the_same_maps(tmp_path: Path) -> None:
    network = network_of(looking_at((LEFT, RIGHT), name="a"), looking_at((RIGHT, RIGHT), name="b"), mirror=True)
    network.save(tmp_path / "model.keras")
    again = keras().saving.load_model(tmp_path / "model.keras", compile=False)
    assert np.allclose(concept_maps(again, noise(), [0]), concept_maps(network, noise(), [0]), atol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_maps_of_the_pictures_size(name: str) -> None:
    side = 64
    base = getattr(keras().applications, name)(include_top=False, weights=None, input_shape=(side, side, 3), pooling="avg")
    pixels = keras().Input((side, side, 3), dtype="uint8")
    embedding = base(keras().layers.Rescaling(1 / 127.5, offset=-1.0)(pixels), training=False)
    kernel = np.random.default_rng(0).normal(size=(embedding.shape[-1], 1))
    head = keras().layers.Dense(2, activation="sigmoid")
    network = keras().Model(pixels, {"scores": head(embedding), "embedding": embedding})
    head.set_weights([np.hstack([kernel, -kernel]), np.zeros(2)])  # what speaks against one speaks for the other
    (end,) = last_places(network)
    assert end.output.shape[1:3] == (2, 2)
    maps = concept_maps(network, noise(side=side), [0, 1])
    assert maps.shape == (1, 2, side, side) and np.isfinite(maps).all()
    assert maps.max() == 1 and np.ptp(maps, axis=(2, 3)).max() > 0.01


@pytest.mark.parametrize(("side", "kinds"), [(64, ["Conv2D", "MaxPooling2D"]), (48, ["Activation"])])
def test_the_small_network_has_its_maps_from_where_there_are_places_still(side: int, kinds: list[str]) -> None:
    network = small_network(side, 2, width=8)  # of 48 px nothing but a point is left behind the last pooling
    kernel = np.random.default_rng(0).normal(size=(96, 1))
    network.get_layer("scores").set_weights([np.hstack([kernel, -kernel]), np.zeros(2)])  # one of them is spoken for
    assert sorted(type(end).__name__ for end in last_places(network)) == kinds
    maps = concept_maps(network, noise(side=side), [0, 1])
    assert np.isfinite(maps).all() and np.ptp(maps) > 0.01


def test_a_network_without_places_is_refused() -> None:
    pixels = keras().Input((SIDE, SIDE, 3), dtype="uint8")
    embedding = keras().layers.Flatten()(pixels)
    scores = keras().layers.Dense(1, activation="sigmoid")(keras().ops.cast(embedding, "float32"))
    with pytest.raises(CriticalError, match="no layer with places"):
        concept_maps(keras().Model(pixels, {"scores": scores, "embedding": embedding}), noise(), [0])


def test_another_backend_is_one_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras().backend, "backend", lambda: "jax")
    with pytest.raises(CriticalError, match="Keras runs on jax"):
        concept_maps(None, noise(), [0])


# --- The nearest training pictures ---


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


EMBEDDINGS = np.random.default_rng(5).normal(size=(40, 24)) * np.logspace(-3, 6, 40)[:, None]
IDS = [f"/1/{number}" for number in range(40)]
CONCEPTS = [["painting", "material:oil"][: number % 3] for number in range(40)]


def test_the_nearest_example_of_a_training_picture_is_itself(store: LocalStore) -> None:
    save_examples(store, "models/m/1", EMBEDDINGS, IDS, CONCEPTS, image_files=[f"{number}.jpg" for number in range(40)])
    examples = load_examples(store, "models/m/1")
    assert examples is not None and examples.embeddings.dtype == np.float16
    found = nearest(examples, EMBEDDINGS, 3)
    assert [near[0].record_id for near in found] == IDS
    assert [near[0].image_file for near in found[:2]] == ["0.jpg", "1.jpg"]
    assert [list(near[0].concepts) for near in found] == CONCEPTS
    assert all(near[0].similarity == pytest.approx(1, abs=1e-3) and near[1].similarity < 0.99 for near in found)


def test_neighbours_are_those_of_the_cosine_in_full_precision(store: LocalStore) -> None:
    save_examples(store, "f", EMBEDDINGS, IDS, CONCEPTS)
    query = np.random.default_rng(6).normal(size=(1, 24))
    cosines = (EMBEDDINGS @ query[0]) / np.linalg.norm(EMBEDDINGS, axis=1) / np.linalg.norm(query)
    (found,) = nearest(load_examples(store, "f"), query)
    assert [near.record_id for near in found] == [IDS[row] for row in np.argsort(-cosines)[:5]]
    assert [near.similarity for near in found] == pytest.approx(np.sort(cosines)[::-1][:5], abs=1e-3)


def test_a_version_without_examples_has_none_and_a_damaged_file_is_named(store: LocalStore) -> None:
    assert load_examples(store, "models/m/1") is None
    key = save_examples(store, "models/m/1", EMBEDDINGS, IDS, CONCEPTS)
    for content in (b"", b"nonsense", store.get_bytes(key)[:200]):
        store.put_bytes(key, content)
        with pytest.raises(CriticalError, match=r"training\.npz: not a file of training examples"):
            load_examples(store, "models/m/1")


def test_there_are_never_more_neighbours_than_examples(store: LocalStore) -> None:
    save_examples(store, "two", EMBEDDINGS[:2], IDS[:2], CONCEPTS[:2])
    save_examples(store, "none", EMBEDDINGS[:0], [], [])
    assert [len(near) for near in nearest(load_examples(store, "two"), EMBEDDINGS[:3])] == [2, 2, 2]
    assert nearest(load_examples(store, "none"), EMBEDDINGS[:2]) == [[], []]


def test_what_does_not_fit_together_is_refused(store: LocalStore) -> None:
    with pytest.raises(ValueError, match="40 embeddings, 39 ids"):
        save_examples(store, "f", EMBEDDINGS, IDS[1:], CONCEPTS)
    save_examples(store, "f", EMBEDDINGS, IDS, CONCEPTS)
    with pytest.raises(CriticalError, match="width 24, the embeddings 23"):
        nearest(load_examples(store, "f"), EMBEDDINGS[:, 1:])
