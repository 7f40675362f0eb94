"""How sure is sure enough: thresholds from scores and truth, by the lower bound of the precision above them."""

import math

import numpy as np
import numpy.typing as npt

from pipeline.domain.label import Thresholds

Scores = npt.NDArray[np.float64]
Truth = npt.NDArray[np.int8]


def wilson_lower_bound(right: float, total: float, *, confidence: float) -> float:
    """One-sided lower bound of a proportion at the given level (Wilson 1927); 0 for an empty sample.

    The counts may be those of a weighted sample, and then need not be whole.
    """
    if total == 0:
        return 0.0
    from scipy.stats import norm

    z = float(norm.ppf(confidence))
    share = right / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(max(0.0, share * (1 - share)) / total + z * z / (4 * total * total))
    return max(0.0, (centre - spread) / (1 + z * z / total))


def choose_thresholds(
    scores: Scores,
    truth: Truth,
    *,
    target_precision: float,
    review_precision: float,
    confidence: float,
    weights: Scores | None = None,
) -> Thresholds:
    """The lowest threshold whose precision is surely (Wilson) ≥ the target, and the lowest with the review precision.

    Scores in 0–1, truth 1, 0 or -1 (unknown, left out), both (n,). `weights` (n,) say for how many labels each stands where
    they are an uneven sample; it then counts as one of Kish's effective size. The lowest such threshold has the highest
    recall. None: no threshold reaches it, the concept abstains.
    """
    known = truth >= 0
    order = np.argsort(-scores[known], kind="stable")
    ordered, true = scores[known][order], truth[known][order] == 1
    each = np.ones(len(ordered)) if weights is None else weights[known][order]
    shown, right, squares = np.cumsum(each), np.cumsum(each * true), np.cumsum(each * each)
    publish = review = None
    for place in range(len(ordered)):
        if place + 1 < len(ordered) and ordered[place + 1] == ordered[place]:
            continue  # equal scores stand or fall together
        effective = shown[place] / squares[place]  # the sample's size is `shown` times this
        hits, count = float(right[place] * effective), float(shown[place] * effective)
        if wilson_lower_bound(hits, count, confidence=confidence) >= target_precision:
            publish = float(ordered[place])
        if right[place] / shown[place] >= review_precision:
            review = float(ordered[place])
    return Thresholds(publish=publish, review=min(review, publish) if review is not None and publish is not None else review)
