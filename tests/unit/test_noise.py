"""Doubted labels: about as many as there are, those furthest from their label first, and never what nobody looked at."""

import numpy as np
import pytest

from pipeline.training.noise import find_noise

RANDOM = np.random.default_rng(11)
ROWS, REAL = 300, 80


def scores_of(real: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Good but not perfect models."""
    return np.clip(np.where(real, 0.85, 0.08) + random.normal(0, 0.09, len(real)), 0.001, 0.999)


def planted(wrong: int, missing: int) -> tuple[np.ndarray, np.ndarray, set[int], set[int]]:
    """Scores and labels of one concept; the rows that are labelled and are not so, and those that lack the label."""
    random = np.random.default_rng(2)
    real = np.arange(ROWS) < REAL
    given = real.copy()
    added = set(random.choice(np.arange(REAL, ROWS), wrong, replace=False).tolist())
    dropped = set(random.choice(np.arange(REAL), missing, replace=False).tolist())
    given[list(added)], given[list(dropped)] = True, False
    return scores_of(real, random), given.astype(np.int8), added, dropped


@pytest.mark.parametrize(("wrong", "missing", "share"), [(20, 0, 0.7), (0, 20, 0.6), (16, 12, 0.7)])
def test_most_of_what_was_planted_is_found(wrong: int, missing: int, share: float) -> None:
    scores, given, added, dropped = planted(wrong, missing)
    (noise,), suspicions = find_noise(["coin"], scores[:, None], given[:, None])
    doubted = {one.row for one in suspicions}
    assert len(doubted & (added | dropped)) >= share * (wrong + missing)
    assert len(doubted & (added | dropped)) >= 0.9 * len(doubted)
    assert all(one.given == (one.row in added) for one in suspicions if one.row in added | dropped)
    assert noise.precision == pytest.approx(1 - wrong / given.sum(), abs=0.1)
    assert noise.recall == pytest.approx((REAL - missing) / REAL, abs=0.1)


def test_wrong_labels_that_the_models_have_learned_a_little_are_still_found() -> None:
    shares = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        logits = np.where(np.arange(180) < 45, 3.0, -3.0) + random.normal(0, 1.5, 180)
        wrong = set(random.choice(np.arange(45, 180), 11, replace=False).tolist())
        logits[list(wrong)] += 1.5
        given = ((np.arange(180) < 45) | np.isin(np.arange(180), list(wrong))).astype(np.int8)
        _, suspicions = find_noise(["coin"], 1 / (1 + np.exp(-logits[:, None])), given[:, None])
        doubted = {one.row for one in suspicions}
        shares.append((len(doubted & wrong) / len(wrong), len(doubted & wrong) / len(doubted)))
    recall, precision = np.mean(shares, axis=0)
    assert recall >= 0.65 and precision >= 0.75  # of all doubts, also of labels that may be missing


def test_clean_labels_are_hardly_doubted() -> None:
    scores, given, _, _ = planted(0, 0)
    (noise,), suspicions = find_noise(["coin"], scores[:, None], given[:, None])
    assert len(suspicions) <= 2 and noise.share <= 0.01


def test_the_noisiest_concept_comes_first_and_the_most_doubtful_label() -> None:
    clean, noisy = planted(0, 0), planted(20, 0)
    scores, truth = np.stack([clean[0], noisy[0]], axis=1), np.stack([clean[1], noisy[1]], axis=1)
    concepts, suspicions = find_noise(["clean", "noisy"], scores, truth)
    assert [one.slug for one in concepts] == ["noisy", "clean"]
    strengths = [one.strength for one in suspicions]
    assert strengths == sorted(strengths, reverse=True)


def test_unknown_labels_are_neither_doubted_nor_counted() -> None:
    scores, given, added, _ = planted(20, 0)
    given[list(added)] = -1
    (noise,), suspicions = find_noise(["coin"], scores[:, None], given[:, None])
    assert not {one.row for one in suspicions} & added
    assert noise.given + noise.not_given == ROWS - len(added)


def test_nothing_is_said_of_a_concept_with_too_few_labels() -> None:
    truth = np.zeros((40, 1), np.int8)
    truth[:4] = 1
    assert find_noise(["coin"], RANDOM.random((40, 1)), truth) == ([], [])
