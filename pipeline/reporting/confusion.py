"""What is taken for what: main types against each other, and which concepts are said and true on the same picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
Truth = npt.NDArray[np.int8]
Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

SAID = 0.5  # the score from which a concept counts as said


def main_type_confusion(scores: Scores, truth: Truth, broader: Sequence[tuple[int, int]] = ()) -> Counts:
    """Pictures by their true main type (row) and the one with the highest score among the known ones (column), (c, c).

    Scores and truth (n, c) of the main types; `broader` holds (column of a type, column of a broader one). A broader
    type steps back where a narrower one is true (row) or said (column): it is true and said of the same pictures, and
    would hide what the narrower is taken for. A picture with several true types counts once: on the diagonal if one
    of them has the highest score, else at the true one with the highest. One without a true type is not counted.
    """
    from sklearn.metrics import confusion_matrix

    judged = (truth == 1).any(axis=1)
    types = scores.shape[1]
    if not judged.any():
        return np.zeros((types, types), np.int64)
    scores, truth = scores[judged], truth[judged]
    meant, sayable = truth == 1, truth >= 0
    for narrow, broad in broader:
        meant[:, broad] &= truth[:, narrow] != 1
        sayable[:, broad] &= (scores[:, narrow] < SAID) | (truth[:, narrow] < 0)
    said = np.where(sayable, scores, -np.inf).argmax(axis=1)
    nearest = np.where(meant, scores, -np.inf).argmax(axis=1)
    true = np.where(meant[np.arange(len(said)), said], said, nearest)
    return np.asarray(confusion_matrix(true, said, labels=np.arange(types)), dtype=np.int64)


def co_occurrence(slugs: list[str], said: Flags, truth: Truth, *, shown: int = 12) -> dict[str, Any]:
    """How many pictures have a pair of concepts, as (c, c) lists in the order of `slugs`.

    `true_and_said`: the row's concept is true and the column's is said; `true_together`, `said_together`: both are.
    What nobody checked on a picture counts as neither. `most_unlike` names the `shown` pairs that are said together
    far more often, or more seldom, than they are true together.
    """
    true, claimed = (truth == 1).astype(np.int64), (said & (truth >= 0)).astype(np.int64)
    true_together, said_together = true.T @ true, claimed.T @ claimed
    pairs: list[dict[str, Any]] = [
        {
            "concepts": [slugs[one], slugs[other]],
            "true_together": int(true_together[one, other]),
            "said_together": int(said_together[one, other]),
        }
        for one in range(len(slugs))
        for other in range(one + 1, len(slugs))
        if true_together[one, other] != said_together[one, other]
    ]
    pairs.sort(key=lambda pair: -abs(pair["said_together"] - pair["true_together"]))
    return {
        "slugs": slugs,
        "true_and_said": (true.T @ claimed).tolist(),
        "true_together": true_together.tolist(),
        "said_together": said_together.tolist(),
        "most_unlike": pairs[:shown],
    }
