"""Calibration and thresholds from out-of-fold scores: how sure is sure enough to publish."""

import math

import numpy as np
import numpy.typing as npt

from pipeline.domain.label import Thresholds

Scores = npt.NDArray[np.float64]
Truth = npt.NDArray[np.int8]

FEWEST_TO_CALIBRATE = 5
IDENTITY = (1.0, 0.0)


def wilson_lower_bound(right: int, total: int, *, confidence: float) -> float:
    """One-sided lower bound of a proportion at the given level (Wilson 1927); 0 for an empty sample."""
    if total == 0:
        return 0.0
    from scipy.stats import norm

    z = float(norm.ppf(confidence))
    share = right / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, (centre - spread) / (1 + z * z / total))


def platt(raw: Scores, truth: Truth) -> tuple[float, float]:
    """(a, b) of calibrated = sigmoid(a · logit + b), fitted on known rows; identity where there is too little to fit."""
    known = truth >= 0
    positives = int((truth[known] == 1).sum())
    if min(positives, int(known.sum()) - positives) < FEWEST_TO_CALIBRATE:
        return IDENTITY
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=100.0).fit(logit(raw[known])[:, None], truth[known] == 1)
    slope = float(fitted.coef_[0, 0])
    # A slope ≤ 0 would turn the ranking round: the scores say nothing, so they are left as they are.
    return (slope, float(fitted.intercept_[0])) if slope > 0 else IDENTITY


def choose_thresholds(
    scores: Scores, truth: Truth, *, target_precision: float, review_precision: float, confidence: float
) -> Thresholds:
    """The lowest threshold whose precision is surely (Wilson) ≥ the target, and the lowest with the review precision.

    The lowest such threshold has the highest recall. None: no threshold reaches it, the concept abstains.
    """
    known = truth >= 0
    order = np.argsort(-scores[known], kind="stable")
    ordered, true = scores[known][order], truth[known][order] == 1
    publish = review = None
    right = np.cumsum(true)
    for place in range(len(ordered)):
        if place + 1 < len(ordered) and ordered[place + 1] == ordered[place]:
            continue  # equal scores stand or fall together
        count, hits = place + 1, int(right[place])
        if wilson_lower_bound(hits, count, confidence=confidence) >= target_precision:
            publish = float(ordered[place])
        if hits / count >= review_precision:
            review = float(ordered[place])
    return Thresholds(publish=publish, review=min(review, publish) if review is not None and publish is not None else review)


def logit(share: Scores) -> Scores:
    """The inverse of the sigmoid, bounded away from infinity."""
    clipped = np.clip(share, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(clipped / (1 - clipped)), dtype=np.float64)
