"""Two versions on the same pictures: how much better is one, and how sure is that?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.model.bundle import Bundle
from pipeline.reporting.bootstrap import Weights, draws, interval, macro_average_precisions
from pipeline.reporting.confusion import SAID
from pipeline.reporting.metrics import FEWEST_POSITIVES, decision_samples

Doubles = npt.NDArray[np.float64]
Truth = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Judged:
    """A version's calibrated scores (n, its concepts) of the pictures that both are judged on, and their truth."""

    bundle: Bundle
    scores: npt.NDArray[np.floating[Any]]
    truth: Truth

    def of(self, slugs: Sequence[str]) -> tuple[Doubles, Truth]:
        """Scores and truth of these concepts, in their order."""
        own = [head.slug for head in self.bundle.heads]
        columns = [own.index(slug) for slug in slugs]
        return self.scores[:, columns].astype(np.float64), self.truth[:, columns]


def _macro_f1(scores: Doubles, truth: Truth, weights: Weights) -> Doubles:
    """At a score of 0.5; a concept of which nothing is said and nothing true counts as 0, as in `metrics.evaluate`."""
    each, _ = decision_samples(scores >= SAID, truth, weights)
    return np.asarray(np.nan_to_num(each["f1"]).mean(axis=1))


FIGURES: Mapping[str, Callable[[Doubles, Truth, Weights], Doubles]] = {
    "macro_ap": macro_average_precisions,
    "macro_f1": _macro_f1,
}


def compared(new: Judged, old: Judged) -> dict[str, dict[str, Any]]:
    """By figure: {new, old, difference, interval, concepts}, over the concepts that both know and that are frequent enough.

    The interval (95 %) is of the difference, from the same draws for both. Empty where there is no such concept.
    """
    known = {head.slug for head in old.bundle.heads}
    shared = [head.slug for head in new.bundle.heads if head.slug in known]
    _, truth = new.of(shared)
    judged = [slug for column, slug in enumerate(shared) if (truth[:, column] == 1).sum() >= FEWEST_POSITIVES]
    if not judged:
        return {}
    (new_scores, truth), (old_scores, _) = new.of(judged), old.of(judged)
    every = np.ones((1, len(truth)))
    weights = np.concatenate([every, draws(len(truth))])
    found = {}
    for name, figure in FIGURES.items():
        after, before = figure(new_scores, truth, weights), figure(old_scores, truth, weights)
        found[name] = {
            "new": round(float(after[0]), 4),
            "old": round(float(before[0]), 4),
            "difference": round(float(after[0] - before[0]), 4),
            "interval": interval(after[1:] - before[1:]) or (0.0, 0.0),
            "concepts": len(judged),
        }
    return found
