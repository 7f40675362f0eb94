"""Thresholds that really hold what they promise, recipes, and a collection as training data."""

import csv
import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.collection import read_collection
from pipeline.domain.label import Thresholds
from pipeline.errors import CriticalError
from pipeline.reporting.thresholds import choose_thresholds, wilson_lower_bound
from pipeline.settings import Settings
from pipeline.training.calibration import IDENTITY, logit, platt
from pipeline.training.dataset import LabelledImages, load_images
from pipeline.training.fit import _folds
from pipeline.training.recipes import Recipe, load_recipe, on_backbone
from pipeline.vocabulary import Vocabulary, load_vocabulary

PROJECT = Path(__file__).resolve().parents[2]
ROUNDING = 1e-12

_COUNTS = st.integers(1, 400).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))
_LEVELS = st.floats(0.51, 0.999)


# --- Wilson's bound ---


@given(_COUNTS, _LEVELS)
def test_the_bound_is_a_share_below_the_point_estimate(counts: tuple[int, int], level: float) -> None:
    right, total = counts
    bound = wilson_lower_bound(right, total, confidence=level)
    assert -ROUNDING <= bound <= 1
    assert bound <= right / total + ROUNDING


@given(_COUNTS, _LEVELS)
def test_the_bound_grows_with_every_right_one_and_falls_with_every_wrong_one(counts: tuple[int, int], level: float) -> None:
    right, total = counts
    bound = wilson_lower_bound(right, total, confidence=level)
    assert wilson_lower_bound(right + 1, total + 1, confidence=level) >= bound - ROUNDING
    assert wilson_lower_bound(right, total + 1, confidence=level) <= bound + ROUNDING


@given(_COUNTS, _LEVELS, _LEVELS)
def test_being_surer_lowers_the_bound_and_more_of_the_same_raises_it(counts: tuple[int, int], one: float, other: float) -> None:
    right, total = counts
    low, high = sorted((one, other))
    assert wilson_lower_bound(right, total, confidence=high) <= wilson_lower_bound(right, total, confidence=low) + ROUNDING
    more = wilson_lower_bound(10 * right, 10 * total, confidence=low)
    assert more >= wilson_lower_bound(right, total, confidence=low) - ROUNDING


@pytest.mark.parametrize(
    ("right", "total", "level", "expected"),
    [(0, 0, 0.8, 0.0), (9, 10, 0.975, 0.5958), (90, 100, 0.975, 0.8256), (50, 50, 0.975, 0.9287), (10, 10, 0.8, 0.9339)],
)
def test_the_bound_has_the_published_values(right: int, total: int, level: float, expected: float) -> None:
    assert wilson_lower_bound(right, total, confidence=level) == pytest.approx(expected, abs=2e-4)


# --- Thresholds ---

# Few distinct scores, so that ties are common.
_ROWS = st.lists(st.tuples(st.integers(0, 12), st.sampled_from([1, 1, 1, 0, -1])), max_size=80)


def chosen(rows: list[tuple[int, int]], target: float = 0.7, review: float = 0.5, level: float = 0.8) -> Thresholds:
    scores = np.array([score / 12 for score, _ in rows], dtype=np.float64)
    truth = np.array([true for _, true in rows], dtype=np.int8)
    return choose_thresholds(scores, truth, target_precision=target, review_precision=review, confidence=level)


def counts_at(rows: list[tuple[int, int]], threshold: float) -> tuple[int, int]:
    said = [true for score, true in rows if true >= 0 and score / 12 >= threshold]
    return sum(said), len(said)


@settings(max_examples=300)
@given(_ROWS)
def test_the_publication_threshold_holds_its_promise_and_is_the_lowest_that_does(rows: list[tuple[int, int]]) -> None:
    def holds(threshold: float) -> bool:
        right, total = counts_at(rows, threshold)
        return wilson_lower_bound(right, total, confidence=0.8) >= 0.7

    able = [score / 12 for score, true in rows if true >= 0 and holds(score / 12)]
    assert chosen(rows).publish == (min(able) if able else None)


@settings(max_examples=300)
@given(_ROWS)
def test_the_review_threshold_is_the_lowest_with_its_precision_and_never_above_publication(
    rows: list[tuple[int, int]],
) -> None:
    found = chosen(rows)
    able = [
        score / 12
        for score, true in rows
        if true >= 0 and counts_at(rows, score / 12)[0] >= 0.5 * counts_at(rows, score / 12)[1]
    ]
    assert found.review == (min(able) if able else None)
    if found.publish is not None:
        assert found.review is not None and found.review <= found.publish


def test_unknown_truth_is_left_out() -> None:
    known = [(12, 1)] * 30 + [(3, 0)] * 30
    assert chosen(known + [(12, -1)] * 500) == chosen(known)
    assert chosen([(12, -1)] * 50) == Thresholds(None, None) == chosen([])


def test_a_concept_that_is_never_sure_enough_abstains_but_may_be_reviewed() -> None:
    rows = [(12, 1)] * 60 + [(12, 0)] * 40
    assert chosen(rows, target=0.9) == Thresholds(None, 1.0)
    few = [(12, 1)] * 3
    assert chosen(few, target=0.9).publish is None


# --- Calibration ---


def test_calibration_brings_scores_to_the_share_of_true_ones() -> None:
    chance = np.random.default_rng(3)
    share = chance.uniform(0.02, 0.98, 4000)
    truth = (chance.uniform(size=4000) < share).astype(np.int8)
    overconfident = 1 / (1 + np.exp(-3 * logit(share)))
    slope, shift = platt(overconfident, truth)
    assert slope == pytest.approx(1 / 3, abs=0.05) and shift == pytest.approx(0, abs=0.15)


def test_too_little_or_contrary_truth_leaves_scores_as_they_are() -> None:
    scores = np.linspace(0.05, 0.95, 40)
    assert platt(scores, np.array([1] * 4 + [0] * 36, dtype=np.int8)) == IDENTITY
    assert platt(scores, np.array([1] * 36 + [0] * 4, dtype=np.int8)) == IDENTITY
    assert platt(scores, np.array([-1] * 40, dtype=np.int8)) == IDENTITY
    assert platt(scores, np.array([1] * 20 + [0] * 20, dtype=np.int8)) == IDENTITY
    assert platt(scores, np.array([0] * 20 + [1] * 20, dtype=np.int8)) != IDENTITY


def test_the_ends_of_the_scale_stay_finite() -> None:
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()


# --- Recipes ---


@pytest.mark.parametrize("name", [path.stem for path in sorted((PROJECT / "vocab" / "recipes").glob("*.yaml"))])
def test_every_recipe_of_the_project_is_usable(name: str) -> None:
    recipe = load_recipe(PROJECT / "vocab" / "recipes", name)
    assert recipe.folds >= 2 and recipe.side_px >= 32
    assert bool(recipe.backbone) == (recipe.kind != "scratch")


GOOD = "kind: scratch\nside_px: 64\nbatch_size: 8\nfolds: 2\nseed: 1\n"


def test_every_value_of_a_recipe_changes_its_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    first = load_recipe(tmp_path, "a").fingerprint()
    assert load_recipe(tmp_path, "a").fingerprint() == first
    (tmp_path / "a.yaml").write_text(GOOD.replace("seed: 1", "seed: 2"))
    assert load_recipe(tmp_path, "a").fingerprint() != first


@pytest.mark.parametrize("content", ["", "kind: scratch", f"{GOOD}colour: red", GOOD.replace("scratch", "magic"), "a: [", "[]"])
def test_a_recipe_that_cannot_be_used_names_its_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(CriticalError, match="a.yaml"):
        load_recipe(tmp_path, "a")


@pytest.mark.parametrize(
    ("kind", "field"),
    [("scratch", "landmarks: 20"), ("frozen", "single_label: true"), ("frozen", "loss: focal"), ("transfer", "layers: [a]")],
)
def test_a_field_that_a_recipe_of_its_kind_makes_no_use_of_is_refused_by_name(tmp_path: Path, kind: str, field: str) -> None:
    backbone = "" if kind == "scratch" else "backbone: MobileNetV2\n"
    (tmp_path / "a.yaml").write_text(GOOD.replace("scratch", kind) + backbone + field)
    with pytest.raises(CriticalError, match=f"a.yaml: a recipe of kind {kind} makes no use of {field.partition(':')[0]}"):
        load_recipe(tmp_path, "a")


def test_no_group_is_on_both_sides_of_a_fold_even_of_fewer_groups_than_folds() -> None:
    groups = np.array(["a"] * 9 + ["b"] * 9 + ["c"] * 2)
    nothing = np.zeros((20, 1, 1, 3), np.uint8)
    images = LabelledImages(("coin",), nothing, np.zeros((20, 1), np.int8), groups, np.full(20, "train"), ("",) * 20)
    folds = list(_folds(images, Recipe("r", "scratch", side_px=1, batch_size=1, folds=5, seed=1)))
    assert len(folds) == 3
    for fitted_on, scored in folds:
        assert not set(groups[fitted_on]) & set(groups[scored])


def test_an_unknown_recipe_lists_those_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    with pytest.raises(CriticalError, match="there are: a"):
        load_recipe(tmp_path, "b")


def test_a_recipe_may_be_tried_on_another_backbone() -> None:
    folder = PROJECT / "vocab" / "recipes"
    cleo = on_backbone(load_recipe(folder, "cleo_vgg19"), "MobileNetV2")
    assert (cleo.name, cleo.backbone, cleo.tune_from) == ("cleo_vgg19:MobileNetV2", "MobileNetV2", 4)
    assert cleo.fingerprint() != load_recipe(folder, "cleo_vgg19").fingerprint()
    with pytest.raises(CriticalError, match="has no backbone"):
        on_backbone(load_recipe(folder, "small"), "MobileNetV2")
    for named in ("default", "tuned"):
        with pytest.raises(CriticalError, match="copy the recipe and name such of ResNet50"):
            on_backbone(load_recipe(folder, named), "ResNet50")


# --- A collection as training data ---


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return load_vocabulary(PROJECT / "vocab" / "concepts.yaml", base_url="urn:test")


def write_collection(folder: Path, rows: list[dict[str, str]]) -> None:
    for row in rows:
        if row["image_file"].endswith(".jpg"):
            Image.effect_noise((80, 60), 90).convert("RGB").save(folder / row["image_file"])
        elif row["image_file"]:
            (folder / row["image_file"]).write_text("<html>")
    columns = ["record_id", "image_file", "concepts", "not_annotated", "split", "group"]
    with (folder / "metadata.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def test_a_collection_becomes_pixels_truth_groups_and_splits(tmp_path: Path, vocabulary: Vocabulary) -> None:
    slugs = [concept.slug for concept in vocabulary.concepts if concept.kind == "type" and not concept.broader][:3]
    rows = [
        {
            "record_id": f"/1/{number}",
            "image_file": f"{number}.jpg",
            "concepts": f"{slugs[number % 2]};no-such-concept",
            "not_annotated": slugs[1] if number == 0 else "",
            "split": "test" if number >= 10 else "train",
            "group": f"g{number // 2}",
        }
        for number in range(12)
    ]
    rows.append({"record_id": "/1/broken", "image_file": "broken.bin", "concepts": slugs[0], "split": "train"})
    rows.append({"record_id": "/1/unsplit", "image_file": "u.jpg", "concepts": slugs[0], "split": ""})
    rows.append({"record_id": "/1/rare", "image_file": "r.jpg", "concepts": slugs[2], "split": "train"})
    write_collection(tmp_path, rows)
    data = load_images(read_collection(tmp_path), vocabulary, side_px=48, settings=Settings(_env_file=None))
    # A concept with fewer than five examples is not trained; its record is kept as an example of the others' absence.
    assert set(data.slugs) == set(slugs[:2])
    train, test = data.split("train"), data.split("test")
    assert data.record_ids == test.record_ids + train.record_ids
    assert train.record_ids == (*(f"/1/{number}" for number in range(10)), "/1/rare")
    assert (data.pixels.shape, data.pixels.dtype) == ((13, 48, 48, 3), np.uint8)
    columns = [data.slugs.index(slug) for slug in slugs[:2]]
    assert train.truth[:, columns][:3].tolist() == [[1, -1], [0, 1], [1, 0]]
    assert train.truth[-1].tolist() == [0, 0]
    assert test.record_ids == ("/1/10", "/1/11")
    assert train.groups[:2].tolist() == ["g0", "g0"]
    assert np.shares_memory(train.pixels, data.pixels)


def test_a_disk_that_has_no_room_for_the_pictures_is_told_before_they_are_read(
    tmp_path: Path, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    write_collection(tmp_path, [{"record_id": "/1/a", "image_file": "a.jpg", "concepts": "painting", "split": "train"}])
    with pytest.raises(CriticalError, match="no room left to write"):
        load_images(read_collection(tmp_path), vocabulary, side_px=48, settings=Settings(_env_file=None))


def test_nothing_to_train_on_is_one_clear_message(tmp_path: Path, vocabulary: Vocabulary) -> None:
    write_collection(tmp_path, [{"record_id": "/1/a", "image_file": "a.jpg", "concepts": "painting", "split": "train"}])
    with pytest.raises(CriticalError, match="at least 5 examples"):
        load_images(read_collection(tmp_path), vocabulary, side_px=48, settings=Settings(_env_file=None))
