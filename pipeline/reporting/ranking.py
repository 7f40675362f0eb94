"""Figures of the order in which a picture's concepts come: what a person sees who reads the first few labels.

Concepts that nobody checked on a picture are left out of its order. Each figure is the mean over the pictures that have
both a true and a false concept.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
Truth = npt.NDArray[np.int8]

FIRST = (1, 3, 5)


def ranking_figures(scores: Scores, truth: Truth) -> dict[str, float | None]:
    """LRAP, ranking loss, coverage, NDCG, subset accuracy and top-k hits of n pictures × c concepts."""
    sums: dict[str, float] = {}
    judged = 0
    for known in np.unique(truth >= 0, axis=0):
        rows = ((truth >= 0) == known).all(axis=1)
        true = truth[rows][:, known] == 1
        usable = true.any(axis=1) & ~true.all(axis=1)
        if not usable.any():
            continue
        judged += int(usable.sum())
        for name, value in _figures(scores[rows][:, known][usable], true[usable]).items():
            sums[name] = sums.get(name, 0.0) + value * int(usable.sum())
    names = ("lrap", "ranking_loss", "coverage", "ndcg", "subset_accuracy", *(f"hit_at_{first}" for first in FIRST))
    return {name: round(sums[name] / judged, 4) if judged else None for name in names}


def top1_accuracy(scores: Scores, truth: Truth) -> float | None:
    """Share of pictures with a true one among these concepts whose highest score, of those that were checked, is a true one."""
    return top_k_accuracy(scores, truth)["1"]


def top_k_accuracy(scores: Scores, truth: Truth) -> dict[str, float | None]:
    """Share of pictures with a true one among these concepts that have a true one among the first k, by k as text.

    Scores and truth (n, c). Concepts that nobody checked on a picture do not take a place in its order. None without
    a picture to judge.
    """
    judged = (truth == 1).any(axis=1)
    if not judged.any():
        return {str(first): None for first in FIRST}
    order = np.argsort(-np.where(truth >= 0, scores, -np.inf)[judged], axis=1, kind="stable")
    ranked = np.take_along_axis(truth[judged] == 1, order, axis=1)
    return {str(first): round(float(ranked[:, :first].any(axis=1).mean()), 4) for first in FIRST}


def _figures(scores: Scores, true: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Means over pictures whose concepts are all known."""
    from sklearn import metrics

    order = np.argsort(-scores, axis=1, kind="stable")
    ranked: Any = np.take_along_axis(true, order, axis=1)
    return {
        "lrap": float(metrics.label_ranking_average_precision_score(true, scores)),
        "ranking_loss": float(metrics.label_ranking_loss(true, scores)),
        "coverage": float(metrics.coverage_error(true, scores)),
        "ndcg": float(metrics.ndcg_score(true, scores)),
        "subset_accuracy": float(((scores >= 0.5) == true).all(axis=1).mean()),
        **{f"hit_at_{first}": float(ranked[:, :first].any(axis=1).mean()) for first in FIRST},
    }
