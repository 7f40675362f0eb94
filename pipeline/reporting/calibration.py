"""Does a score say how often it is right? Scores in equal-width bins against the share of true ones in each."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.reporting.metrics import calibration_error

Scores = npt.NDArray[np.floating[Any]]
Truth = npt.NDArray[np.int8]

BINS = 15


def calibration_figures(scores: Scores, truth: Truth) -> dict[str, Any]:
    """Over all known pairs of n pictures × c concepts: how many they are, ECE, Brier score, the reliability table.

    Scores in 0–1, truth 1, 0 or -1 (unknown, left out); both (n, c). The Brier score is None when nothing is known.
    """
    from sklearn.metrics import brier_score_loss

    known = truth >= 0
    pairs, true = scores[known].astype(np.float64), truth[known]
    brier = float(brier_score_loss(true, pairs, pos_label=1)) if len(pairs) else None
    return {
        "n_pairs": len(pairs),
        "ece": calibration_error(pairs, true, BINS),
        "brier": None if brier is None else round(brier, 5),
        "bins": reliability(pairs, true),
    }


def reliability(scores: Scores, truth: Truth, bins: int = BINS) -> list[dict[str, Any]]:
    """Each bin's bounds, number of pairs, mean score and share of true ones; the last two are None for an empty bin.

    Scores (n,) in 0–1, truth (n,) in 1 and 0. A score on a bound belongs to the upper bin, 1 to the last.
    """
    places = np.minimum((scores * bins).astype(int), bins - 1)
    table = []
    for place in range(bins):
        inside = places == place
        count = int(inside.sum())
        table.append(
            {
                "from": round(place / bins, 4),
                "to": round((place + 1) / bins, 4),
                "n": count,
                "mean_score": round(float(scores[inside].mean()), 4) if count else None,
                "share_true": round(float((truth[inside] == 1).mean()), 4) if count else None,
            }
        )
    return table
