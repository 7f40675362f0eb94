"""Intervals by drawing pictures anew, and the figures of a picture's order of labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score  # noqa: TID253  processes of tests may take long to start

from pipeline.reporting.bootstrap import average_precisions, draws, interval, macro_average_precisions
from pipeline.reporting.ranking import ranking_figures, top1_accuracy

PICTURES = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.5, 0.9]), st.sampled_from([-1, 0, 1])), min_size=2, max_size=30)


@given(PICTURES, st.integers(0, 5))
def test_each_draw_has_the_average_precision_of_the_pictures_that_it_holds(
    pictures: list[tuple[float, int]], seed: int
) -> None:
    scores, truth = np.array([one[0] for one in pictures]), np.array([one[1] for one in pictures], np.int8)
    weights = draws(len(pictures), count=4, seed=seed)
    for drawn, found in zip(weights, average_precisions(scores, truth, weights), strict=True):
        held = np.repeat(np.arange(len(pictures)), drawn.astype(int))
        held = held[truth[held] >= 0]
        if (truth[held] == 1).any():
            assert found == pytest.approx(average_precision_score(truth[held] == 1, scores[held]))
        else:
            assert np.isnan(found)


def test_two_models_meet_the_same_draws_so_that_their_difference_is_a_paired_one() -> None:
    assert (draws(40) == draws(40)).all()
    assert (draws(40).sum(axis=1) == 40).all()
    random = np.random.default_rng(1)
    truth = (random.random((40, 3)) < 0.4).astype(np.int8)
    scores = np.clip(truth * 0.2 + random.random((40, 3)) * 0.8, 0, 1)
    one, same = (macro_average_precisions(scores, truth, draws(40)) for _ in range(2))
    assert interval(one - same) == (0.0, 0.0)
    apart = interval(one)
    assert apart is not None and apart[0] < one.mean() < apart[1]


def test_a_concept_without_positives_has_no_interval() -> None:
    assert interval(average_precisions(np.array([0.2, 0.4]), np.array([0, -1], np.int8), draws(2))) is None


def test_ranking_figures_of_two_pictures_as_worked_by_hand() -> None:
    scores = np.array([[0.9, 0.6, 0.1], [0.2, 0.8, 0.7]])
    truth = np.array([[1, 0, 0], [1, 0, 1]], np.int8)
    found = ranking_figures(scores, truth)
    assert found["lrap"] == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2, abs=1e-4)
    assert found["ranking_loss"] == pytest.approx((0 + 1) / 2)
    assert found["coverage"] == pytest.approx((1 + 3) / 2)
    assert found["subset_accuracy"] == 0.0  # 0.6 is said of the first, wrongly
    assert (found["hit_at_1"], found["hit_at_3"]) == (0.5, 1.0)


def test_what_nobody_checked_is_left_out_of_the_order() -> None:
    random = np.random.default_rng(2)
    scores, truth = random.random((20, 4)), (random.random((20, 4)) < 0.5).astype(np.int8)
    without = ranking_figures(scores, truth)
    unknown = np.column_stack([truth, np.full(20, -1, np.int8)])
    assert ranking_figures(np.column_stack([scores, np.ones(20)]), unknown) == without


def test_pictures_without_a_true_concept_have_no_order_to_judge() -> None:
    assert set(ranking_figures(np.array([[0.1, 0.2]]), np.array([[0, -1]], np.int8)).values()) == {None}
    assert top1_accuracy(np.array([[0.1, 0.2]]), np.array([[0, -1]], np.int8)) is None


def test_the_first_label_counts_when_it_is_one_of_the_true_ones() -> None:
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    truth = np.array([[1, 1], [1, 0], [0, 0]], np.int8)
    assert top1_accuracy(scores, truth) == 0.5
    nobody_looked_at_the_first = np.array([[-1, 1], [1, 0], [0, 0]], np.int8)
    assert top1_accuracy(scores, nobody_looked_at_the_first) == 0.5
