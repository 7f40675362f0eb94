"""Which labels of a collection are probably wrong? Each is held against scores from models that never saw its picture.

Confident learning (Northcutt, Jiang, Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels"), one
concept at a time: a row is surely so when its score is about that of the rows that are labelled so. From the sure rows
follows how many labels are wrong, and so many are doubted.

The paper asks for at least the mean of those rows. Models that learned from the wrong labels score them a little higher
than the rest, so that hardly any reaches the other side's mean: of simulated scores of wrong labels (a fifth of 56, moved
by a quarter of the distance between the sides) 30–50 % are found then, with `NEAR` 64–78 %, at 76–100 % precision.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
Truth = npt.NDArray[np.int8]
NEAR = 0.3  # of the way from the mean of one side to that of the other: so far a row is still surely of the first
FEWEST = 5  # labels of a concept: of fewer nothing can be said


@dataclass(frozen=True)
class ConceptNoise:
    """One concept: how many rows have the label and have it not, how many of each are doubted, and what follows.

    `precision` and `recall` are those of the labels as given, estimated; `share` is that of all known rows that are
    probably labelled wrongly.
    """

    slug: str
    given: int
    not_given: int
    probably_wrong: int
    probably_missing: int
    precision: float
    recall: float
    share: float


@dataclass(frozen=True)
class Suspicion:
    """A label that is doubted: `row` is its place among the scored pictures, `score` the models' for the concept."""

    row: int
    slug: str
    given: bool
    score: float

    @property
    def strength(self) -> float:
        """How far the score is from the label, 0–1."""
        return 1 - self.score if self.given else self.score


def find_noise(slugs: Sequence[str], scores: Scores, truth: Truth) -> tuple[list[ConceptNoise], list[Suspicion]]:
    """Concepts, the noisiest first, and doubted labels, the most doubtful first.

    `scores` (n, concepts) are out-of-fold, in 0–1; `truth` is 1, 0 or -1 (nobody looked: never doubted).
    """
    concepts, suspicions = [], []
    for column, slug in enumerate(slugs):
        found = _of_concept(slug, scores[:, column], truth[:, column])
        if found is not None:
            concepts.append(found[0])
            suspicions += found[1]
    concepts.sort(key=lambda one: (-one.share, one.slug))
    suspicions.sort(key=lambda one: (-one.strength, one.slug, one.row))
    return concepts, suspicions


def _of_concept(slug: str, scores: Scores, truth: Truth) -> tuple[ConceptNoise, list[Suspicion]] | None:
    given, not_given = truth == 1, truth == 0
    if min(given.sum(), not_given.sum()) < FEWEST:
        return None
    true_mean, false_mean = scores[given].mean(), scores[not_given].mean()
    margin = NEAR * (true_mean - false_mean)
    surely_true = scores >= true_mean - margin
    surely_false = scores <= false_mean + margin
    both = surely_true & surely_false  # the labels say next to nothing of the scores: the nearer side counts
    surely_true &= ~both | (scores >= 0.5)
    surely_false &= ~both | (scores < 0.5)
    # The counts of the sure rows, scaled to all rows: the joint distribution of given and real labels.
    right_share = _share((given & surely_true).sum(), (given & surely_false).sum())
    missing_share = _share((not_given & surely_true).sum(), (not_given & surely_false).sum())
    really_true, overlooked = right_share * given.sum(), missing_share * not_given.sum()
    # As many are doubted as are estimated to be wrong, those furthest from their label first ("prune by noise rate").
    wrong = _first(np.flatnonzero(given & (scores < 0.5)), scores, given.sum() - really_true)
    missing = _first(np.flatnonzero(not_given & (scores >= 0.5)), -scores, overlooked)
    noise = ConceptNoise(
        slug,
        int(given.sum()),
        int(not_given.sum()),
        len(wrong),
        len(missing),
        precision=round(float(right_share), 4),
        recall=round(float(really_true / (really_true + overlooked)), 4) if really_true + overlooked else 0.0,
        share=round(float((given.sum() - really_true + overlooked) / (given.sum() + not_given.sum())), 4),
    )
    doubted = [Suspicion(int(row), slug, bool(given[row]), float(scores[row])) for row in (*wrong, *missing)]
    return noise, doubted


def _share(part: int, rest: int) -> float:
    """`part` of both; 0 of nothing."""
    return float(part / (part + rest)) if part + rest else 0.0


def _first(rows: npt.NDArray[np.intp], values: Scores, count: float) -> npt.NDArray[np.intp]:
    """Of the rows so many, rounded, with the smallest values."""
    return rows[np.argsort(values[rows], kind="stable")][: round(count)]
