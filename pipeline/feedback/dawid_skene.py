"""Truth and annotators' skill from their answers alone (A. P. Dawid and A. M. Skene, Applied Statistics 28, 1979)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

_ROUNDS = 100
_SETTLED = 1e-6
# Everybody begins as if they had been right three times out of four: few answers say little about anyone.
_RIGHT, _ANSWERS = 3.0, 4.0


@dataclass(frozen=True)
class Skills:
    """`posterior` (items,): how probable it is that the answer is yes. `sensitivity` and `specificity` (annotators,):
    how often each says yes where it is so, and no where it is not."""

    posterior: Floats
    sensitivity: Floats
    specificity: Floats


def dawid_skene(items: Places, annotators: Places, yes: npt.NDArray[np.bool_]) -> Skills:
    """Expectation and maximisation for yes-or-no questions, from the share of yes on.

    The three arrays (answers,) say which item was answered by whom and how; items and annotators are numbered from 0 on,
    each with one answer at least. No randomness.
    """
    count, people = int(items.max()) + 1, int(annotators.max()) + 1
    posterior = np.bincount(items, yes, count) / np.bincount(items, minlength=count)
    while_yes = yes.astype(np.float64)
    for _ in range(_ROUNDS):
        likely = posterior[items]
        sensitivity = (np.bincount(annotators, likely * while_yes, people) + _RIGHT) / (
            np.bincount(annotators, likely, people) + _ANSWERS
        )
        specificity = (np.bincount(annotators, (1 - likely) * (1 - while_yes), people) + _RIGHT) / (
            np.bincount(annotators, 1 - likely, people) + _ANSWERS
        )
        prior = (posterior.sum() + 1) / (count + 2)
        if_yes, if_no = sensitivity[annotators], specificity[annotators]
        odds = np.log(np.where(yes, if_yes, 1 - if_yes)) - np.log(np.where(yes, 1 - if_no, if_no))
        logit = np.bincount(items, odds, count) + np.log(prior / (1 - prior))
        before, posterior = posterior, 1 / (1 + np.exp(-np.clip(logit, -500, 500)))
        if np.abs(posterior - before).max() < _SETTLED:
            break
    return Skills(posterior, sensitivity, specificity)
