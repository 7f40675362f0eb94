"""Figures of a multi-label classifier. Truth is 1 (true), 0 (false) or -1 (unknown: left out of every figure)."""

from typing import Any

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating[Any]]
Truth = npt.NDArray[np.int8]
Flags = npt.NDArray[np.bool_]

FEWEST_POSITIVES = 5  # macro figures are taken over concepts with at least so many


def evaluate(slugs: list[str], scores: Scores, truth: Truth, published: Flags) -> dict[str, Any]:
    """All figures for n images × c concepts; F1 at score ≥ 0.5, published figures at the thresholds in force."""
    per_concept = {
        slug: _concept_figures(scores[:, column], truth[:, column], published[:, column]) for column, slug in enumerate(slugs)
    }
    judged = [figures for figures in per_concept.values() if figures["n_pos"] >= FEWEST_POSITIVES]
    known = truth >= 0
    return {
        "n_images": len(scores),
        "n_concepts": len(judged),
        "macro_ap": _mean([figures["ap"] for figures in judged]),
        "macro_f1": _mean([figures["f1"] for figures in judged]),
        "micro_f1": _f1(scores[known] >= 0.5, truth[known] == 1)["f1"],
        "ece": calibration_error(scores[known], truth[known]),
        "published_n": int((published & known).sum()),
        "published_precision": _ratio(int((published & (truth == 1)).sum()), int((published & known).sum())),
        "published_recall": _ratio(int((published & (truth == 1)).sum()), int((truth == 1).sum())),
        "per_concept": per_concept,
    }


def calibration_error(scores: Scores, truth: Truth, bins: int = 15) -> float:
    """Expected calibration error over equal-width bins: Σ share × |mean score − share of true|."""
    if not len(scores):
        return 0.0
    places = np.minimum((scores * bins).astype(int), bins - 1)
    error = 0.0
    for place in range(bins):
        inside = places == place
        if inside.any():
            error += float(inside.mean()) * abs(float(scores[inside].mean()) - float((truth[inside] == 1).mean()))
    return round(error, 5)


def average_precision(scores: Scores, truth: Truth) -> float | None:
    """Average precision of one concept, unknown rows left out; None without a positive."""
    from sklearn.metrics import average_precision_score

    known = truth >= 0
    if not (truth == 1).any():
        return None
    return float(average_precision_score(truth[known] == 1, scores[known]))


def decision_samples(
    said: Flags, truth: Truth, weights: npt.NDArray[np.float64]
) -> tuple[dict[str, npt.NDArray[np.float64]], dict[str, npt.NDArray[np.float64]]]:
    """Precision, recall and F1 under each row of weights (draws, n), as in `bootstrap.draws`.

    Of each concept (draws, c), and of all known pairs together (draws,); NaN where a draw has nothing to divide by.
    `said` and truth (n, c).
    """
    right, claimed, true = (weights @ flags for flags in (said & (truth == 1), said & (truth >= 0), truth == 1))
    return _decision_shares(right, claimed, true), _decision_shares(*(part.sum(axis=1) for part in (right, claimed, true)))


def _decision_shares(
    right: npt.NDArray[np.float64], claimed: npt.NDArray[np.float64], true: npt.NDArray[np.float64]
) -> dict[str, npt.NDArray[np.float64]]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"precision": right / claimed, "recall": right / true, "f1": 2 * right / (claimed + true)}


def _concept_figures(scores: Scores, truth: Truth, published: Flags) -> dict[str, Any]:
    known = truth >= 0
    figures = _f1(scores[known] >= 0.5, truth[known] == 1)
    right = int((published & (truth == 1)).sum())
    return {
        "n_pos": int((truth == 1).sum()),
        "n_known": int(known.sum()),
        "ap": average_precision(scores, truth),
        **figures,
        "published": int((published & known).sum()),
        "published_precision": _ratio(right, int((published & known).sum())),
        "published_recall": _ratio(right, int((truth == 1).sum())),
    }


def _f1(predicted: Flags, true: Flags) -> dict[str, float]:
    right = int((predicted & true).sum())
    precision, recall = _ratio(right, int(predicted.sum())) or 0.0, _ratio(right, int(true.sum())) or 0.0
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return {"precision": precision, "recall": recall, "f1": round(f1, 4)}


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _mean(values: list[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return round(float(np.mean(present)), 4) if present else None
