"""Transfer: losses that leave out what is unknown, a fair share of rare concepts, folds, phases, going on after a kill."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.collection import CollectionRow
from pipeline.errors import CriticalError
from pipeline.model import networks
from pipeline.model.bundle import with_broader_scores
from pipeline.model.runtime import keras
from pipeline.reporting.truth import label_row
from pipeline.settings import Settings
from pipeline.training import fit as fit_module
from pipeline.training import transfer
from pipeline.training.curves import Epoch, curves_svg
from pipeline.training.dataset import LabelledImages
from pipeline.training.fit import fit
from pipeline.training.heads import kernel_heads, linear_heads
from pipeline.training.losses import loss_on_logits, positive_weights
from pipeline.training.recipes import Recipe
from pipeline.training.sampling import MOST_TIMES, changed, epoch_rows
from pipeline.vocabulary import load_vocabulary

SIDE = 32
RECIPE = Recipe(
    name="tiny", kind="transfer", side_px=SIDE, batch_size=8, folds=3, seed=5, backbone="MobileNetV2", weights="none",
    tune_from="middle", epochs=3, learning_rate=0.003, variants=1, mirror=True, dropout=0.2,
)  # fmt: skip


# --- Losses ---


def value(name: str, truth: Any, logits: Any, **options: Any) -> float:
    ops = keras().ops
    loss = loss_on_logits(name, **options)
    return float(loss(ops.convert_to_tensor(truth, "float32"), ops.convert_to_tensor(logits, "float32")))


def test_crossentropy_is_that_of_the_textbook() -> None:
    logits = np.array([[0.3, -1.2], [2.0, 0.1]])
    share = 1 / (1 + np.exp(-logits))
    truth = np.array([[1, 0], [0, 1]])
    expected = -np.mean(np.where(truth == 1, np.log(share), np.log(1 - share)))
    assert value("crossentropy", truth, logits) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["crossentropy", "focal", "asymmetric"])
@given(other=st.floats(-30, 30))
def test_an_unknown_label_never_counts(name: str, other: float) -> None:
    truth = np.array([[1, -1], [0, 1]])
    assert value(name, truth, [[0.3, other], [2.0, 0.1]]) == pytest.approx(
        value(name, truth, [[0.3, 0.0], [2.0, 0.1]]), abs=1e-5
    )


@pytest.mark.parametrize("name", ["focal", "asymmetric"])
def test_what_is_easily_seen_to_be_false_counts_less_than_in_crossentropy(name: str) -> None:
    def share_of_easy(loss: str) -> float:
        return value(loss, [[0]], [[-2.0]]) / value(loss, [[0]], [[2.0]])

    assert share_of_easy(name) < 0.5 * share_of_easy("crossentropy")


@pytest.mark.parametrize("name", ["crossentropy", "focal", "asymmetric"])
@pytest.mark.parametrize("logit", [-80.0, 80.0])
def test_a_loss_stays_finite_however_sure_the_network_is(name: str, logit: float) -> None:
    assert np.isfinite(value(name, [[1, 0]], [[logit, logit]]))


def test_the_loss_of_one_true_concept_is_the_softmax_s_and_pictures_without_one_are_left_out() -> None:
    logits = np.array([[1.0, 2.0, 0.5], [9.0, 0.0, 0.0]])
    expected = -np.log(np.exp(2.0) / np.exp(logits[0]).sum())
    assert value("crossentropy", [[0, 1, 0], [0, -1, 0]], logits, single=True) == pytest.approx(expected, abs=1e-5)


def test_a_rare_concept_s_true_labels_weigh_more_within_bounds() -> None:
    truth = np.zeros((1000, 3), np.int8)
    truth[:500, 0] = truth[:40, 1] = truth[:1, 2] = 1
    weights = positive_weights(truth)
    assert weights[0] == pytest.approx(1) and weights[1] == pytest.approx(24**0.5, rel=0.01) and weights[2] == 10
    heavy = value("crossentropy", [[1, 1]], [[0.0, 0.0]], positive_weights=np.array([1, 3], np.float32))
    assert heavy == pytest.approx(2 * np.log(2), abs=1e-5)


# --- Which pictures an epoch shows ---


def test_without_bounds_an_epoch_shows_every_picture_once() -> None:
    rows = epoch_rows(np.eye(6, dtype=np.int8), np.random.default_rng(1))
    assert sorted(rows) == list(range(6)) and list(rows) != list(range(6))


def test_too_many_of_a_concept_are_thinned_and_too_few_come_again() -> None:
    truth = np.zeros((1100, 2), np.int8)
    truth[:1000, 0] = truth[1000:, 1] = 1
    rows = epoch_rows(truth, np.random.default_rng(1), most=400, fewest=300)
    assert (rows < 1000).sum() == pytest.approx(400, rel=0.15)
    assert (rows >= 1000).sum() == pytest.approx(300, rel=0.05)
    few = epoch_rows(truth, np.random.default_rng(1), fewest=5000)
    assert np.bincount(few).max() == MOST_TIMES


def test_a_picture_with_a_rare_concept_is_not_thinned_for_its_common_one() -> None:
    truth = np.zeros((1000, 2), np.int8)
    truth[:, 0] = 1
    truth[:10, 1] = 1
    assert set(range(10)) <= set(epoch_rows(truth, np.random.default_rng(1), most=100))


def test_changed_pictures_are_other_pictures_of_the_same_shape_and_the_same_with_the_same_seed() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
    one, again = (changed(pixels, np.random.default_rng(3), strength=0.5) for _ in range(2))
    assert one.shape == pixels.shape and one.dtype == np.uint8
    assert (one == again).all() and all((one[row] != pixels[row]).mean() > 0.5 for row in range(4))


# --- Backbones ---


@pytest.mark.parametrize("name", ["VGG19", "ResNet50", "MobileNetV2", "DenseNet121", "ResNet50V2"])
def test_a_backbone_sees_pixels_as_its_family_was_trained(name: str) -> None:
    k = keras()
    family = {"VGG19": "vgg19", "ResNet50": "resnet", "MobileNetV2": "mobilenet_v2", "DenseNet121": "densenet"}
    module = getattr(k.applications, family.get(name, "resnet_v2"))
    pixels = np.random.default_rng(4).integers(0, 256, (2, 8, 8, 3), np.uint8)
    inputs = k.Input((8, 8, 3), dtype="uint8")
    found = k.Model(inputs, networks.prepared(name, inputs)).predict_on_batch(pixels)
    assert np.asarray(found) == pytest.approx(module.preprocess_input(pixels.astype(np.float32).copy()), abs=1e-4)


def tiny_backbone(*_: Any) -> Any:
    k = keras()
    inputs = k.Input((SIDE, SIDE, 3))
    x = k.layers.Conv2D(6, 3, strides=4, activation="relu", name="first")(inputs)
    x = k.layers.Activation("relu", name="middle")(k.layers.Conv2D(8, 3, padding="same")(x))
    side = k.layers.Conv2D(8, 1, name="round")(x)
    x = k.layers.Conv2D(8, 3, padding="same", activation="relu", name="inside")(x)
    return k.Model(inputs, k.layers.Activation("relu", name="last")(k.layers.Add()([x, side])), name="tiny")


def test_a_backbone_is_cut_where_nothing_leads_past() -> None:
    base = tiny_backbone()
    trunk, tail = networks.cut(base, "middle")
    pixels = np.random.default_rng(6).uniform(-1, 1, (2, SIDE, SIDE, 3)).astype(np.float32)
    whole = np.asarray(base.predict_on_batch(pixels))
    assert np.asarray(tail.predict_on_batch(trunk.predict_on_batch(pixels))) == pytest.approx(whole, abs=1e-5)
    assert networks.cut(base, 3)[0].output.shape == trunk.output.shape  # before the two ways, not between them
    with pytest.raises(CriticalError, match="another way leads past"):
        networks.cut(base, "inside")
    with pytest.raises(CriticalError, match="no layer 'nowhere'"):
        networks.cut(base, "nowhere")


# --- Training ---


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    def built(*_: Any) -> Any:
        keras().utils.set_random_seed(1)
        return tiny_backbone()

    monkeypatch.setattr(networks, "pretrained", built)


@pytest.fixture(scope="module")
def pictures() -> LabelledImages:
    """Reddish and bluish noise, 20 groups of three; what is neither is dark. Some labels are unknown."""
    random = np.random.default_rng(8)
    pixels = random.integers(0, 120, (60, SIDE, SIDE, 3), np.uint8)
    truth = np.zeros((60, 2), np.int8)
    truth[0::3, 0] = truth[1::3, 1] = 1
    pixels[truth[:, 0] == 1, :, :, 0] += 110
    pixels[truth[:, 1] == 1, :, :, 2] += 110
    truth[5, 0] = -1
    groups = np.array([f"g{row // 3}" for row in range(60)])
    return LabelledImages(("red", "blue"), pixels, truth, groups, np.full(60, "train"), tuple(map(str, range(60))))


def settings() -> Settings:
    return Settings(_env_file=None)  # type: ignore[call-arg]


@pytest.mark.usefixtures("tiny")
def test_the_model_is_the_average_of_its_folds_and_every_picture_has_a_score_from_one_that_did_not_see_it(
    pictures: LabelledImages,
) -> None:
    fitted = fit(pictures, RECIPE, settings())
    assert fitted.out_of_fold.shape == (60, 2) and np.isfinite(fitted.out_of_fold).all()
    found = {name: np.asarray(value) for name, value in fitted.network.predict_on_batch(pictures.pixels).items()}
    right = (found["scores"] > 0.5) == (pictures.truth == 1)
    assert right[pictures.truth >= 0].mean() > 0.9
    assert [(one.fold, one.number) for one in fitted.epochs] == [(fold, epoch) for fold in range(3) for epoch in range(3)]
    assert found["embedding"].shape == (60, 8)
    mirrored = fitted.network.predict_on_batch(pictures.pixels[:, :, ::-1])
    assert np.asarray(mirrored["scores"]) == pytest.approx(found["scores"], abs=2e-3)


@pytest.mark.usefixtures("tiny")
def test_the_same_seed_gives_the_same_scores_and_another_one_others(pictures: LabelledImages) -> None:
    recipe = replace(RECIPE, networks=1, epochs=1)
    one, again, other = (
        fit(pictures, one, settings()).judged(pictures.truth)[0] for one in (recipe, recipe, replace(recipe, seed=6))
    )
    assert one == pytest.approx(again, abs=1e-6) and other != pytest.approx(one, abs=1e-4)


class Killed(Exception):
    """In the place of a kill."""


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("recipe", "after", "epochs"),
    [
        (RECIPE, 4, 9),
        (replace(RECIPE, tune_from="", dense=4, head_epochs=2, folds=2), 3, 4),
        (replace(RECIPE, dense=4, head_epochs=2, epochs=2, folds=2), 6, 8),
        (replace(RECIPE, learning_rate=0.3, optimizer="sgd", epochs=4, patience=4, networks=1), 3, 4),
    ],
    ids=["tuning", "heads", "both", "best"],
)
def test_a_training_that_was_killed_goes_on_and_ends_as_an_undisturbed_one(
    pictures: LabelledImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe, after: int, epochs: int
) -> None:
    undisturbed = fit(pictures, recipe, settings())
    ended, batches, count = transfer.State.ended, transfer._Fits._batches, [0]

    def dies(self: Any, rows: Any, phase: int, epoch: int) -> Any:
        count[0] += 1
        if count[0] > after:
            raise Killed
        return batches(self, rows, phase, epoch)

    monkeypatch.setattr(transfer._Fits, "_batches", dies)
    with pytest.raises(Killed):
        fit(pictures, recipe, settings(), resumed_in=tmp_path)
    monkeypatch.setattr(transfer._Fits, "_batches", batches)
    done: list[Any] = []
    monkeypatch.setattr(transfer.State, "ended", lambda self, epoch: (done.append(epoch), ended(self, epoch)))
    again = fit(pictures, recipe, settings(), resumed_in=tmp_path)
    assert len(done) == epochs - after, "epochs that were done are not done again"
    np.testing.assert_allclose(again.out_of_fold, undisturbed.out_of_fold, atol=1e-5)
    assert [replace(one, loss=0, held_out_loss=0) for one in again.epochs] == [
        replace(one, loss=0, held_out_loss=0) for one in undisturbed.epochs
    ]


def test_a_small_network_that_was_killed_goes_on_and_ends_as_an_undisturbed_one(
    pictures: LabelledImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Recipe(name="s", kind="scratch", side_px=SIDE, batch_size=16, folds=2, seed=5, width=6, epochs=2)
    undisturbed = fit(pictures, small, settings())
    augmented, batches = fit_module._augmented, []

    def dies(*given: Any) -> Any:
        batches.append(1)
        if len(batches) == 5:  # in the third epoch, the first of the second network
            raise Killed
        return augmented(*given)

    monkeypatch.setattr(fit_module, "_augmented", dies)
    with pytest.raises(Killed):
        fit(pictures, small, settings(), resumed_in=tmp_path)
    again = fit(pictures, small, settings(), resumed_in=tmp_path)
    assert len(batches) == 5 + 2 + 2 + 4 + 4  # of 2 × (2 + 2 + 4) batches the first network's were known
    assert again.out_of_fold == pytest.approx(undisturbed.out_of_fold, abs=1e-5)
    assert [(one.fold, one.number) for one in again.epochs] == [(fold, number) for fold in range(3) for number in range(2)]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("how", [{"tune_from": "", "dense": 4}, {"epochs": 1, "dense": 4}, {"epochs": 1, "single_label": True}])
def test_a_network_can_be_read_back_from_its_file_whatever_it_was_trained_by(
    pictures: LabelledImages, tmp_path: Path, how: dict[str, Any]
) -> None:
    fitted = fit(pictures, replace(RECIPE, networks=1, head_epochs=1, **how), settings())
    fitted.network.save(tmp_path / "model.keras")
    again = keras().saving.load_model(tmp_path / "model.keras", compile=False)
    expected, found = (np.asarray(one.predict_on_batch(pictures.pixels)["scores"]) for one in (fitted.network, again))
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.usefixtures("tiny")
def test_one_network_of_several_folds_leaves_the_other_pictures_without_a_score(pictures: LabelledImages) -> None:
    fitted = fit(pictures, replace(RECIPE, networks=1, tune_from="", head_epochs=2, dense=4), settings())
    scored = np.isfinite(fitted.out_of_fold).all(axis=1)
    assert 15 <= scored.sum() <= 25
    scores, truth = fitted.judged(pictures.truth)
    assert np.isfinite(scores).all() and (truth[~scored] == -1).all() and (truth[scored] == pictures.truth[scored]).all()


@pytest.mark.usefixtures("tiny")
def test_tuning_ends_when_the_held_out_loss_no_longer_falls_and_the_best_epoch_is_kept(pictures: LabelledImages) -> None:
    still = replace(RECIPE, epochs=6, learning_rate=1e-12, patience=2, networks=1, optimizer="sgd")
    assert len(fit(pictures, still, settings()).epochs) == 3
    restless = replace(still, epochs=4, learning_rate=0.3, patience=4)
    fitted = fit(pictures, restless, settings())
    watched = fitted.folds == 1  # neither learned from nor, in fold 0, judged on
    scores = np.asarray(fitted.network.predict_on_batch(pictures.pixels[watched])["scores"])
    truth = pictures.truth[watched]
    loss = -np.mean(np.log(np.where(truth == 1, scores, 1 - scores)[truth >= 0]))
    assert loss == pytest.approx(min(one.held_out_loss or 9.0 for one in fitted.epochs), rel=0.01)


@pytest.mark.usefixtures("tiny")
def test_the_epoch_is_chosen_by_pictures_that_are_neither_learned_from_nor_judged_on(
    pictures: LabelledImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, Any]] = []
    branch = transfer._Fits.branch

    def noted(self: Any, number: int, fitted_on: Any, watched: Any, progress: Any) -> Any:
        seen.append((fitted_on, watched))
        return branch(self, number, fitted_on, watched, progress)

    monkeypatch.setattr(transfer._Fits, "branch", noted)
    fitted = fit(pictures, replace(RECIPE, epochs=1, patience=1), settings())
    for number, (fitted_on, watched) in enumerate(seen):
        sides = [set(pictures.groups[rows]) for rows in (fitted_on, watched, fitted.folds == number)]
        assert all(sides) and not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    with pytest.raises(CriticalError, match="needs 3 folds with groups of their own, and there are 2"):
        fit(pictures, replace(RECIPE, epochs=1, patience=1, folds=2), settings())


@pytest.mark.usefixtures("tiny")
def test_of_one_true_concept_the_scores_of_a_picture_add_up_to_one(pictures: LabelledImages) -> None:
    recipe = replace(RECIPE, single_label=True, networks=1, head_epochs=3)
    fitted = fit(pictures, recipe, settings())
    scores = np.asarray(fitted.network.predict_on_batch(pictures.pixels)["scores"])
    assert scores.sum(axis=1) == pytest.approx(np.ones(60), abs=1e-4)


@pytest.mark.usefixtures("tiny")
def test_mixed_precision_ends_with_the_training_and_the_model_answers_in_float32(pictures: LabelledImages) -> None:
    fitted = fit(pictures, replace(RECIPE, mixed_precision=True, networks=1, epochs=1), settings())
    assert keras().mixed_precision.global_policy().name == "float32"
    assert np.asarray(fitted.network.predict_on_batch(pictures.pixels)["scores"]).dtype == np.float32


@pytest.mark.usefixtures("tiny")
def test_the_trunk_sees_each_view_of_a_picture_once_whatever_the_epochs(
    pictures: LabelledImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [0]
    prepared = networks.prepared

    class Counting:
        def __init__(self, model: Any) -> None:
            self._model, self.output = model, model.output

        def predict_on_batch(self, batch: Any) -> Any:
            seen[0] += len(batch)
            return self._model.predict_on_batch(batch)

    model = keras().Model
    monkeypatch.setattr(networks, "prepared", prepared)

    class Keras:
        def __getattr__(self, name: str) -> Any:
            return getattr(keras(), name)

        @staticmethod
        def Model(inputs: Any, outputs: Any, **named: Any) -> Any:  # noqa: N802  Keras's name
            built = model(inputs, outputs, **named)
            return Counting(built) if getattr(inputs, "dtype", "") == "uint8" else built

    monkeypatch.setattr(transfer, "keras", Keras)
    fit(pictures, replace(RECIPE, epochs=6, networks=2), settings())
    assert seen[0] == 3 * 60  # as it is, mirrored, and one changed copy


def test_curves_are_a_picture_with_a_line_for_each_fold_and_side() -> None:
    epochs = [Epoch(fold, number, 1 / (number + 1), 1.2 / (number + 1)) for fold in range(2) for number in range(4)]
    assert curves_svg(epochs).count("<polyline") == 4
    assert curves_svg([]).startswith("<svg")


# --- Broader concepts ---


def test_a_broader_concept_is_never_less_sure_than_what_it_is_made_of() -> None:
    scores = np.array([[0.9, 0.2, 0.1], [0.1, 0.5, 0.8]])
    raised = with_broader_scores(scores, [(1, 2), (0, 1)])  # 0 is a kind of 1, 1 a kind of 2
    assert raised.tolist() == [[0.9, 0.9, 0.9], [0.1, 0.5, 0.8]]
    assert scores[0].tolist() == [0.9, 0.2, 0.1]


def test_what_is_true_of_a_picture_is_true_of_broader_concepts() -> None:
    vocabulary = load_vocabulary(Path(__file__).parents[2] / "vocab" / "concepts.yaml", base_url="urn:test")
    row = CollectionRow("/1/a", "a.jpg", concepts=("relief",), not_annotated=("coin",))
    assert label_row(row, vocabulary, ("relief", "sculpture", "painting", "coin")) == [1, 1, 0, -1]
    assert vocabulary.with_broader(["tapestry", "relief"]) == {"tapestry", "textile", "relief", "sculpture"}


# --- Heads on a frozen backbone ---


@pytest.mark.usefixtures("tiny")
def test_heads_on_several_layers_see_mean_and_maximum_of_each_at_length_one_in_the_picture_and_its_mirror_image(
    pictures: LabelledImages,
) -> None:
    def features(**how: Any) -> Any:
        return networks.frozen_backbone("MobileNetV2", SIDE, None, **how).predict_on_batch(pictures.pixels[:4])

    plain, layered, both = features(), features(layers=["middle"]), features(layers=["middle"], mirror=True)
    assert plain["features"] == pytest.approx(plain["embedding"]) and plain["embedding"].shape == (4, 8)
    mean = plain["embedding"] / np.linalg.norm(plain["embedding"], axis=1, keepdims=True)
    assert layered["features"].shape[1] > 16 and layered["features"][:, -16:-8] == pytest.approx(mean, abs=1e-5)
    assert (layered["features"] ** 2).sum(axis=1) == pytest.approx(np.full(4, 4.0), abs=1e-4)  # four parts of length one
    mirrored = networks.frozen_backbone("MobileNetV2", SIDE, None, layers=["middle"], mirror=True).predict_on_batch(
        pictures.pixels[:4, :, ::-1]
    )
    assert mirrored["features"] == pytest.approx(both["features"], abs=1e-4)
    with pytest.raises(CriticalError, match="has no layer 'nowhere'"):
        features(layers=["nowhere"])


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("landmarks", [0, 20, 1_000])
def test_the_registered_network_scores_as_the_heads_on_its_features_do(pictures: LabelledImages, landmarks: int) -> None:
    recipe = replace(RECIPE, kind="frozen", layers=("middle",), tune_from="", landmarks=landmarks, regularisation=0.1)
    fitted = fit(pictures, recipe, settings())
    found = np.asarray(fitted.network.predict_on_batch(pictures.pixels)["scores"])
    assert np.isfinite(fitted.out_of_fold).all() and found.shape == (60, 2)
    right = (found > 0.5) == (pictures.truth == 1)
    assert right[pictures.truth >= 0].mean() > 0.9


@pytest.mark.usefixtures("tiny")
def test_features_that_were_computed_before_a_kill_are_not_computed_again(
    pictures: LabelledImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, kind="frozen", layers=("middle",), tune_from="", landmarks=20, batch_size=8)
    undisturbed = fit(pictures, recipe, settings())
    looked_at, batches = fit_module._looked_at, []

    def killed_at_the_fourth(backbone: Any, pixels: Any) -> Any:
        batches.append(len(pixels))
        if len(batches) == 4:
            raise KeyboardInterrupt
        return looked_at(backbone, pixels)

    monkeypatch.setattr(fit_module, "_looked_at", killed_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        fit(pictures, recipe, settings(), resumed_in=tmp_path / "kept")
    with (tmp_path / "kept" / "features.f32").open("ab") as file:
        file.write(b"half a row")  # a batch that was cut off while it was written
    again = fit(pictures, recipe, settings(), resumed_in=tmp_path / "kept")
    assert batches == [8, 8, 8, 8] + [8, 8, 8, 8, 4]  # 24 of 60 were known
    np.testing.assert_array_equal(again.out_of_fold, undisturbed.out_of_fold)
    assert again.embeddings is not None and undisturbed.embeddings is not None
    np.testing.assert_array_equal(again.embeddings, undisturbed.embeddings)


@pytest.mark.usefixtures("tiny")
def test_a_narrow_embedding_keeps_which_pictures_are_alike_and_no_score_changes(pictures: LabelledImages) -> None:
    recipe = replace(RECIPE, kind="frozen", layers=("middle",), tune_from="", landmarks=20)
    fitted = fit(pictures, recipe, settings())
    assert fitted.embeddings is not None and fitted.embeddings.shape == (60, 8)
    narrow, of_training = networks.with_narrow_embedding(fitted.network, fitted.embeddings, 5)
    before, after = (
        {name: np.asarray(values) for name, values in network.predict_on_batch(pictures.pixels).items()}
        for network in (fitted.network, narrow)
    )
    assert after["embedding"].shape == (60, 5) and after["scores"] == pytest.approx(before["scores"], abs=1e-6)
    assert after["embedding"].mean(axis=0) == pytest.approx(np.zeros(5), abs=1e-3)
    assert after["embedding"] == pytest.approx(of_training, abs=1e-3)

    def distances(of: Any) -> Any:
        return ((of[:, None] - of[None]) ** 2).sum(axis=2)

    kept, all_of_it = distances(after["embedding"]).sum(), distances(before["embedding"]).sum()
    assert 0.95 * all_of_it < kept <= 1.001 * all_of_it


def _rings(random: np.random.Generator) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """Points near the middle and points around them: no line parts the two. A second concept nobody looked at there."""
    far = np.arange(300) % 2
    angles = random.uniform(0, 2 * np.pi, 300)
    points = (1 + 2 * far)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1) + random.normal(0, 0.2, (300, 2))
    truth = np.stack([far, np.where(np.arange(300) < 150, far, -1), np.ones(300)], axis=1)
    return points.astype(np.float32), truth.astype(np.int8)


@pytest.mark.parametrize("landmarks", [60, 1_000])
def test_heads_that_look_at_landmarks_learn_what_no_line_parts(landmarks: int) -> None:
    points, truth = _rings(np.random.default_rng(0))
    heads = kernel_heads(points, truth, landmarks=landmarks, sharpness=0.6, regularisation=0.1, seed=1)
    assert heads.landmarks.shape == (min(landmarks, 300), 2)
    fresh, asked = _rings(np.random.default_rng(1))
    found = heads.logits(fresh)
    assert ((found[:, 0] > 0) == (asked[:, 0] == 1)).mean() > 0.98
    assert ((found[:, 1] > 0) == (asked[:, 0] == 1)).mean() > 0.98  # from the half that somebody looked at
    assert (found[:, 2] > 5).all()  # true of everything that was seen
    assert ((linear_heads(points, truth, 0.1).logits(fresh)[:, 0] > 0) == (asked[:, 0] == 1)).mean() < 0.7


@pytest.mark.parametrize("landmarks", [0, 60])
def test_heads_say_the_same_as_layers_of_a_network(landmarks: int) -> None:
    points, truth = _rings(np.random.default_rng(0))
    heads: Any = linear_heads(points, truth, 0.1)
    if landmarks:
        heads = kernel_heads(points, truth, landmarks=landmarks, sharpness=0.6, regularisation=0.1, seed=1)
    k = keras()
    inputs = k.Input((2,))
    network = k.Model(inputs, heads.on(inputs))
    for some in (points[:60], points, points[:1]):  # the first batch has as many pictures as there are landmarks
        assert np.asarray(network.predict_on_batch(some)) == pytest.approx(heads.logits(some), abs=1e-3)


def test_a_feature_that_never_changed_in_training_puts_no_picture_far_away() -> None:
    points, truth = _rings(np.random.default_rng(0))
    silent = np.column_stack([points, np.zeros(len(points), np.float32)])
    how: Any = {"landmarks": 1_000, "sharpness": 0.6, "regularisation": 0.1, "seed": 1}
    fresh, _ = _rings(np.random.default_rng(1))
    heard = np.column_stack([fresh, np.full(len(fresh), 0.003, np.float32)])
    expected, found = kernel_heads(points, truth, **how).logits(fresh), kernel_heads(silent, truth, **how).logits(heard)
    np.testing.assert_allclose(found, expected, atol=1e-2)
    assert np.isfinite(kernel_heads(np.ones((3, 2), np.float32), truth[:3], **how).logits(fresh)).all()
