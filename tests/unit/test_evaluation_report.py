"""What the evaluation report says: figures that can be counted by hand, and a page that shows the failures."""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.collection import CollectionRow
from pipeline.domain.label import Thresholds
from pipeline.model.bundle import Bundle, ConceptHead
from pipeline.reporting.bootstrap import draws
from pipeline.reporting.calibration import calibration_figures, reliability
from pipeline.reporting.confusion import co_occurrence, main_type_confusion
from pipeline.reporting.metrics import decision_samples
from pipeline.reporting.ranking import top_k_accuracy
from pipeline.training.dataset import LabelledImages
from pipeline.training.evaluate import Evaluated, judge
from pipeline.training.evaluation_report import render
from pipeline.training.failures import SHOWN, worst_failures
from pipeline.training.providers import Part, by_provider, drop_to_unseen
from pipeline.vocabulary import Vocabulary, load_vocabulary

SLUGS = ("coin", "map", "material:gold")
NASTY = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    path = tmp_path_factory.mktemp("vocabulary") / "concepts.yaml"
    kinds = {"coin": "type", "map": "type", "material:gold": "material"}
    lines = [f"  - slug: {slug}\n    kind: {kind}\n    labels: {{en: {slug}}}\n" for slug, kind in kinds.items()]
    path.write_text("concepts:\n" + "".join(lines))
    return load_vocabulary(path, base_url="urn:test")


def part(scores: list[list[float]], truth: list[list[int]], limit: float = 0.7) -> Part:
    """Pictures of a model that publishes from one limit."""
    values = np.array(scores, dtype=np.float64)
    return Part(values, np.array(truth, dtype=np.int8), values >= limit)


# --- Precision, recall and F1 with their samples ---


def test_a_draw_of_every_picture_once_has_the_figures_of_the_pictures() -> None:
    said = np.array([[1, 1], [1, 0], [0, 1], [1, 0]], dtype=bool)
    truth = np.array([[1, -1], [1, 0], [1, 1], [0, 1]], dtype=np.int8)
    each, together = decision_samples(said, truth, np.ones((1, 4)))
    # First: 3 said, 2 of them right, 3 true. Second, its first picture unknown: 1 said, right, 2 true.
    assert each["precision"][0].tolist() == pytest.approx([2 / 3, 1])
    assert each["recall"][0].tolist() == pytest.approx([2 / 3, 1 / 2])
    assert each["f1"][0].tolist() == pytest.approx([2 / 3, 2 / 3])
    assert (together["precision"][0], together["recall"][0]) == pytest.approx((3 / 4, 3 / 5))


def test_a_draw_weighs_a_picture_as_often_as_it_holds_it_and_an_empty_one_says_nothing() -> None:
    said, truth = np.array([[True], [True]]), np.array([[1], [0]], dtype=np.int8)
    each, _ = decision_samples(said, truth, np.array([[3.0, 1.0], [0.0, 0.0]]))
    assert each["precision"][0, 0] == pytest.approx(3 / 4)
    assert np.isnan(each["precision"][1, 0])


# --- The main type ---


def test_unknown_types_take_no_place_in_the_order_of_the_main_types() -> None:
    scores = np.array([[0.9, 0.5, 0.1, 0.0], [0.4, 0.3, 0.2, 0.1], [0.9, 0.8, 0.7, 0.6]])
    truth = np.array([[-1, 1, 0, 0], [0, 0, 0, 1], [0, -1, -1, -1]], dtype=np.int8)
    assert top_k_accuracy(scores, truth) == {"1": 0.5, "3": 0.5, "5": 1.0}
    assert top_k_accuracy(scores, np.full((3, 4), -1, np.int8)) == {"1": None, "3": None, "5": None}


def test_the_confusion_matrix_has_the_true_type_in_rows_and_the_first_known_one_in_columns() -> None:
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.1], [0.9, 0.2, 0.4], [0.3, 0.9, 0.2], [0.9, 0.1, 0.2]])
    truth = np.array([[1, 0, 1], [1, 0, 0], [-1, 0, 1], [1, 0, 1], [0, 0, 0]], dtype=np.int8)
    found = main_type_confusion(scores, truth)
    # Both of the first picture's types are true, and its first is one of them; the third's first is not known; the
    # fourth is taken for the second type, and of its two true ones the first comes nearer; the fifth has none.
    assert found.tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 1]]
    assert main_type_confusion(scores, np.zeros((5, 3), np.int8)).sum() == 0


def test_a_broader_type_steps_back_where_a_narrower_one_is_true_or_said() -> None:
    # The second type is a kind of the first, and never has the higher score.
    scores = np.array([[0.9, 0.8, 0.1], [0.9, 0.3, 0.1], [0.9, 0.6, 0.2], [0.6, 0.6, 0.9]])
    truth = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [1, 1, 1]], dtype=np.int8)
    assert main_type_confusion(scores, truth, [(1, 0)]).tolist() == [[0, 1, 0], [1, 1, 0], [0, 0, 1]]
    unknown = truth.copy()
    unknown[2, 1] = -1  # what nobody checked does not step in front
    assert main_type_confusion(scores, unknown, [(1, 0)]).tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]


# --- Concepts on the same picture ---


def test_concepts_that_are_said_together_too_often_come_first() -> None:
    said = np.array([[1, 1, 0]] * 4 + [[0, 1, 1]], dtype=bool)
    truth = np.array([[1, 0, 0]] * 3 + [[1, -1, 0]] + [[0, 1, 1]], dtype=np.int8)
    found = co_occurrence(["a", "b", "c"], said, truth)
    assert found["true_and_said"] == [[4, 3, 0], [0, 1, 1], [0, 1, 1]]
    assert found["true_together"][0][1] == 0 and found["said_together"][0][1] == 3
    assert found["most_unlike"] == [{"concepts": ["a", "b"], "true_together": 0, "said_together": 3}]


# --- Calibration ---


def test_the_reliability_table_counts_every_known_pair_once_in_its_bin() -> None:
    scores, truth = np.array([0.0, 0.05, 0.5, 0.52, 1.0]), np.array([0, 1, 1, 0, 1], dtype=np.int8)
    table = reliability(scores, truth, bins=2)
    assert [row["n"] for row in table] == [2, 3]
    assert table[0] == {"from": 0.0, "to": 0.5, "n": 2, "mean_score": 0.025, "share_true": 0.5}
    assert (table[1]["mean_score"], table[1]["share_true"]) == (
        pytest.approx(2.02 / 3, abs=1e-4),
        pytest.approx(2 / 3, abs=1e-4),
    )
    assert reliability(np.array([1.0]), np.array([1], np.int8), bins=2)[0]["mean_score"] is None


def test_the_calibration_error_is_that_of_the_table_and_unknown_pairs_are_left_out() -> None:
    random = np.random.default_rng(4)
    scores, truth = random.random((200, 3)), random.integers(-1, 2, (200, 3)).astype(np.int8)
    found = calibration_figures(scores, truth)
    known = truth >= 0
    assert found["n_pairs"] == sum(row["n"] for row in found["bins"]) == int(known.sum()) < 600
    by_table = sum(row["n"] * abs(row["mean_score"] - row["share_true"]) for row in found["bins"]) / found["n_pairs"]
    assert len(found["bins"]) == 15 and found["ece"] == pytest.approx(by_table, abs=1e-3)
    assert found["brier"] == pytest.approx(float(((scores - (truth == 1)) ** 2)[known].mean()), abs=1e-5)
    assert calibration_figures(scores, np.full((200, 3), -1, np.int8))["brier"] is None


# --- Providers ---


def test_each_provider_has_its_own_figures_the_largest_first() -> None:
    both = part([[0.9], [0.8], [0.1], [0.9]], [[1], [0], [1], [-1]])
    first, second = by_provider(["B", "A", "B", ""], part([[0.9], [0.8], [0.1], [0.9]], [[1], [0], [1], [-1]]))[:2]
    assert (first["provider"], first["n_images"], first["published_precision"], first["published_recall"]) == ("B", 2, 1.0, 0.5)
    assert second["provider"] == "(not named)" and second["published_n"] == 0  # what it publishes nobody checked
    assert by_provider(["A"] * 4, both)[0]["published_precision"] == 0.5


def test_average_precision_of_a_provider_needs_five_true_and_five_other_pictures() -> None:
    scores = [[0.1 * place, 0.5] for place in range(10)]
    truth = [[int(place >= 5), int(place >= 4)] for place in range(10)]
    (found,) = by_provider(["A"] * 10, part(scores, truth))
    assert (found["n_concepts"], found["macro_ap"]) == (1, 1.0)
    assert by_provider(["A"] * 9, part(scores[:9], truth[:9]))[0]["macro_ap"] is None


def test_the_drop_to_unseen_providers_is_that_of_the_concepts_on_both_sides() -> None:
    truth = [[int(place >= 5), int(place < 5)] for place in range(10)]
    seen = part([[0.1 * place, 1 - 0.1 * place] for place in range(10)], truth)
    # The first concept is in the wrong order there, the second is not true of any picture.
    unseen = part([[1 - 0.1 * place, 0.0] for place in range(10)], [[one, 0] for one, _ in truth])
    found = drop_to_unseen(["coin", "map"], seen, unseen)
    # Ranks 6 to 10 of 10: the mean of 1/6, 2/7, 3/8, 4/9 and 5/10.
    worst = (1 / 6 + 2 / 7 + 3 / 8 + 4 / 9 + 5 / 10) / 5
    assert found["concepts"] == ["coin"]
    assert (found["seen"]["macro_ap"], found["unseen"]["macro_ap"]) == (1.0, pytest.approx(worst, abs=1e-4))
    assert found["drop"]["macro_ap"] == pytest.approx(1 - worst, abs=1e-4)
    low, high = found["macro_ap_drop_interval"]
    assert 0 < low < found["drop"]["macro_ap"] < high
    nothing = drop_to_unseen(["coin", "map"], seen, part([[0.5, 0.5]], [[1, 0]]))
    assert (nothing["drop"]["macro_ap"], nothing["macro_ap_drop_interval"]) == (None, None)


# --- Failures ---


def row(place: int, **changes: str) -> CollectionRow:
    return CollectionRow(f"/1/{place}", f"{place}.jpg", **({"title": f"Title {place}", "provider": "A museum"} | changes))


def test_the_surest_wrong_label_and_the_least_sure_true_one_come_first_and_unknown_ones_never() -> None:
    scores = [[0.9, 0.1], [0.95, 0.3], [0.99, 0.6], [0.8, 0.75]]
    truth = [[0, 1], [0, 1], [-1, 1], [1, 1]]
    found = worst_failures(("coin", "map"), part(scores, truth), [row(place) for place in range(4)])
    assert [(one["record_id"], one["concept"], one["score"]) for one in found["wrong"]] == [
        ("/1/1", "coin", 0.95),
        ("/1/0", "coin", 0.9),
    ]
    assert [(one["record_id"], one["score"]) for one in found["missed"]] == [("/1/0", 0.1), ("/1/1", 0.3), ("/1/2", 0.6)]
    assert found["wrong"][0]["title"] == "Title 1" and found["wrong"][0]["provider"] == "A museum"
    assert found["wrong"][0]["true"] == ["map"]


def test_a_gallery_ends_after_so_many() -> None:
    many = part([[0.9]] * 60, [[0]] * 60)
    assert len(worst_failures(("coin",), many, [row(place) for place in range(60)])["wrong"]) == SHOWN


# --- All figures of a model, and the page ---


@pytest.fixture(scope="module")
def evaluated(vocabulary: Vocabulary) -> Evaluated:
    """A model on 40 pictures: the first is published as a coin, and is none; gold is never published."""
    random = np.random.default_rng(6)
    truth = (random.random((40, 3)) < 0.4).astype(np.int8)
    truth[30:, 2] = -1
    scores = np.clip(0.4 * np.maximum(truth, 0) + 0.6 * random.random((40, 3)), 0, 1).astype(np.float32)
    truth[0, 0], scores[0, 0] = 0, 0.997
    limits = (Thresholds(0.7, 0.5), Thresholds(0.7, 0.5), Thresholds(None, 0.5))
    heads = tuple(ConceptHead(slug, (0.5, 0.0), limit) for slug, limit in zip(SLUGS, limits, strict=True))
    bundle = Bundle("m", 2, "sha", heads, 16, 4, "p", "v", "small", "data", {})
    rows = [row(place, title=NASTY if place == 0 else f"Title {place}") for place in range(40)]
    own = part(scores.tolist(), truth.tolist())
    own.published[:, 2] = False
    pixels = random.integers(0, 255, (40, 16, 16, 3)).astype(np.uint8)
    ids = tuple(one.record_id for one in rows)
    images = LabelledImages(SLUGS, pixels, truth, np.array(ids), np.array(["test"] * 40), ids)
    figures: dict[str, Any] = {
        "model": "m@2",
        "collection": "somewhere",
        "split": "test",
        **judge(bundle, scores, truth, vocabulary, raw=scores**2),
        "per_provider": by_provider(["A museum"] * 40, own),
        "unseen": drop_to_unseen(SLUGS, own, own),
        "failures": worst_failures(SLUGS, own, rows),
    }
    return Evaluated(bundle, figures, images, scores, predictor=None)  # type: ignore[arg-type]  pages need none


def test_every_interval_holds_its_figure(evaluated: Evaluated) -> None:
    figures = evaluated.figures
    held = [(figures, name) for name in figures if f"{name}_interval" in figures]
    held += [(own, name) for own in figures["per_concept"].values() for name in own if f"{name}_interval" in own]
    assert {name for _, name in held} >= {"macro_ap", "micro_f1", "macro_f1", "ap", "precision", "recall", "f1"}
    assert len(held) == 9 + 3 * 6
    for own, name in held:
        if own[name] is None or own[f"{name}_interval"] is None:
            assert own is figures["per_concept"]["material:gold"]  # it is never published
            continue
        low, high = own[f"{name}_interval"]
        assert low - 1e-9 <= own[name] <= high + 1e-9, name


def test_macro_and_micro_figures_are_those_of_the_concepts_and_of_all_pairs(evaluated: Evaluated) -> None:
    figures, images = evaluated.figures, evaluated.images
    concepts = figures["per_concept"].values()
    for name in ("precision", "recall", "f1"):
        assert figures[f"macro_{name}"] == pytest.approx(np.mean([own[name] for own in concepts]), abs=1e-4)
    true = int((images.truth == 1).sum())
    assert figures["micro_recall"] == pytest.approx(sum(own["recall"] * own["n_pos"] for own in concepts) / true, abs=1e-3)
    micro = 2 * figures["micro_precision"] * figures["micro_recall"] / (figures["micro_precision"] + figures["micro_recall"])
    assert figures["micro_f1"] == pytest.approx(micro, abs=1e-3)


def test_calibration_is_told_before_and_after(evaluated: Evaluated) -> None:
    calibration = evaluated.figures["calibration"]
    assert calibration["after"]["ece"] == evaluated.figures["ece"] != calibration["before"]["ece"]
    assert calibration["before"]["n_pairs"] == calibration["after"]["n_pairs"] == 110


def test_abstentions_are_counted(evaluated: Evaluated) -> None:
    figures, gold = evaluated.figures, evaluated.figures["per_concept"]["material:gold"]
    assert figures["abstention"]["concepts"] == figures["abstaining"] == ["material:gold"]
    assert figures["abstention"]["true_labels"] == gold["n_pos"] > 0
    assert (gold["threshold"], gold["review_threshold"], gold["published"]) == (None, 0.5, 0)
    assert gold["for_review"] > 0
    assert 0 < figures["abstention"]["images_without_published"] < 40


def test_the_figures_are_plain_json(evaluated: Evaluated) -> None:
    assert json.loads(json.dumps(evaluated.figures, allow_nan=False))["main_type"]["slugs"] == ["coin", "map"]


def test_the_page_shows_the_failures_first_and_tells_a_title_from_markup(evaluated: Evaluated) -> None:
    page = render(evaluated, "somewhere")
    wrong = page[page.index('<h2 id="wrong">') : page.index('<h2 id="missed">')]
    assert "&lt;script&gt;" in wrong and NASTY not in page
    assert wrong.index("&lt;script&gt;") < wrong.index("score 0.997")
    assert wrong.count('src="data:image/jpeg;base64,') == len(evaluated.figures["failures"]["wrong"]) > 0
    missed = page[page.index('<h2 id="missed">') :]
    assert missed.count('src="data:image/jpeg;base64,') == len(evaluated.figures["failures"]["missed"]) > 0


def test_the_page_needs_nothing_but_itself_and_has_every_section(evaluated: Evaluated) -> None:
    page = render(evaluated, "somewhere")
    assert set(re.findall(r'(?:src|href)="(?!#|data:)([^"]*)"', page)) == set()
    assert "<link" not in page and "<script" not in page and "url(" not in page
    for words in ("Subset accuracy", "Coverage error", "Ranking loss", "NDCG", "Before calibration", "After calibration",
                  "A museum", "Never sure enough", "Providers that no training picture comes from"):  # fmt: skip
        assert words in page, words
    assert page.count("<svg") >= 5  # two reliability plots, two tables of colours, each concept's interval
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(re.findall(r'id="([^"]*)"', page))


def test_a_collection_of_which_nothing_is_known_has_a_page_too(evaluated: Evaluated, vocabulary: Vocabulary) -> None:
    bundle = evaluated.bundle
    truth = np.full((40, 3), -1, np.int8)
    scores = np.full((40, 3), 0.9, np.float32)
    nothing = part(scores.tolist(), truth.tolist())
    figures = evaluated.figures | {
        **judge(bundle, scores, truth, vocabulary),
        "per_provider": by_provider([""] * 40, nothing),
        "unseen": None,
        "failures": worst_failures(SLUGS, nothing, [row(place) for place in range(40)]),
    }
    page = render(replace(evaluated, figures=figures), "somewhere")
    assert figures["micro_precision"] is None and figures["micro_ap"] is None
    assert "No picture with a known main type" in page and page.count("None.") == 2
    assert "Before calibration" not in page and json.dumps(figures, allow_nan=False)


def test_as_many_draws_as_the_page_says(evaluated: Evaluated) -> None:
    assert f"{len(draws(2)):,} times" in render(evaluated, "somewhere")
