"""How sure is a figure? Pictures are drawn anew with replacement, and the figure is taken each time (Efron 1979).

The draws depend on the number of pictures and the seed alone: two models measured on the same pictures meet the same
draws, so that the difference of their samples is a paired one.
"""

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
Truth = npt.NDArray[np.int8]
Samples = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float64]

DRAWS = 1_000
SEED = 20260101


def draws(images: int, *, count: int = DRAWS, seed: int = SEED) -> Weights:
    """(count, images): how often each picture is in each draw."""
    random = np.random.default_rng(seed)
    return random.multinomial(images, np.full(images, 1 / images), size=count).astype(np.float64)


def average_precisions(scores: Scores, truth: Truth, weights: Weights) -> Samples:
    """Average precision of one concept (n,) under each row of weights (draws, n); NaN where a draw has no positive.

    Pictures of the same score come at once, as in scikit-learn; unknown ones (truth -1) are left out.
    """
    known = truth >= 0
    order = np.argsort(-scores[known], kind="stable")
    ranked, true = scores[known][order], truth[known][order] == 1
    if not true.any():
        return np.full(len(weights), np.nan)
    last_of_score = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    drawn = weights[:, known][:, order]
    right = np.cumsum(drawn * true, axis=1)[:, last_of_score]
    shown = np.cumsum(drawn, axis=1)[:, last_of_score]
    precision = np.divide(right, shown, out=np.zeros_like(right), where=shown > 0)
    positives = right[:, -1]
    found = np.diff(right, axis=1, prepend=0.0)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(positives > 0, (found * precision).sum(axis=1) / positives, np.nan))


def macro_average_precisions(scores: Scores, truth: Truth, weights: Weights) -> Samples:
    """Mean over the concepts (columns of scores and truth, (n, c)) under each row of weights."""
    columns = range(scores.shape[1])
    each = np.stack([average_precisions(scores[:, column], truth[:, column], weights) for column in columns])
    return np.asarray(np.nanmean(each, axis=0))


def interval(samples: Samples, *, confidence: float = 0.95) -> tuple[float, float] | None:
    """The middle share of the samples; None when there are none."""
    there = samples[np.isfinite(samples)]
    if not len(there):
        return None
    low, high = np.quantile(there, [(1 - confidence) / 2, (1 + confidence) / 2])
    return round(float(low), 4), round(float(high), 4)
