"""Calibration of a concept's scores from what a network says of pictures that it has not seen."""

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
Truth = npt.NDArray[np.int8]

FEWEST_TO_CALIBRATE = 5
IDENTITY = (1.0, 0.0)


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


def logit(share: Scores) -> Scores:
    """The inverse of the sigmoid, bounded away from infinity."""
    clipped = np.clip(share, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(clipped / (1 - clipped)), dtype=np.float64)
