"""May a version be released? It is held against the one in force, on the same held-out pictures.

A version is refused when macro average precision falls, when that over providers which no training picture came from
falls by more than a margin, or when a concept that is published today could not be any more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.model.bundle import Bundle
from pipeline.reporting.bootstrap import draws, interval, macro_average_precisions
from pipeline.reporting.metrics import FEWEST_POSITIVES, average_precision

Scores = npt.NDArray[np.floating[Any]]
Truth = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Judged:
    """A version's calibrated scores (n, its concepts) of the pictures that both are judged on, and their truth."""

    bundle: Bundle
    scores: Scores
    truth: Truth

    def of(self, slugs: Sequence[str]) -> tuple[npt.NDArray[np.float64], Truth]:
        """Scores and truth of these concepts, in their order."""
        own = [head.slug for head in self.bundle.heads]
        columns = [own.index(slug) for slug in slugs]
        return self.scores[:, columns].astype(np.float64), self.truth[:, columns]

    @property
    def published(self) -> set[str]:
        """The concepts with a precision guarantee."""
        return {head.slug for head in self.bundle.heads if head.thresholds.publish is not None}


@dataclass(frozen=True)
class Verdict:
    """`reasons` are sentences for people, none where the version may be released; `figures` are what they rest on."""

    reasons: tuple[str, ...]
    figures: Mapping[str, Any]

    @property
    def allowed(self) -> bool:
        """May it be released without anybody's word?"""
        return not self.reasons

    def to_json(self) -> dict[str, Any]:
        """As it is kept with the version."""
        return {"allowed": self.allowed, "reasons": list(self.reasons), "figures": dict(self.figures)}


def hold_against(new: Mapping[str, Judged], old: Mapping[str, Judged], *, unseen_margin: float) -> Verdict:
    """`new` and `old` by split: `test`, and `unseen` where there is one. Both must be of the same pictures, in order."""
    version = old["test"].bundle.version
    of = f"version {version}, which is in force"
    reasons, figures = [], dict[str, Any](against=version)
    for split, margin, words in (
        ("test", 0.0, "macro average precision"),
        ("unseen", unseen_margin, "macro average precision over unseen providers"),
    ):
        if split not in new or split not in old:
            continue
        compared = _compared(new[split], old[split])
        if compared is None:
            continue
        figures[split] = compared
        if compared["difference"] < -margin:
            low, high = compared["interval"]
            allowed = f" (a fall of {margin:g} is allowed)" if margin else ""
            reasons.append(
                f"{words} falls from {compared['old']:.4f} ({of}) to {compared['new']:.4f} over "
                f"{compared['concepts']} concepts{allowed}; 95 % interval of the difference {low:+.4f} to {high:+.4f}"
            )
    if lost := sorted(old["test"].published - new["test"].published):
        reasons.append(f"no longer sure enough to be published, unlike in {of}: {', '.join(lost)}")
    figures["lost"] = lost
    figures["won"] = sorted(new["test"].published - old["test"].published)
    return Verdict(tuple(reasons), figures)


def _compared(new: Judged, old: Judged) -> dict[str, Any] | None:
    """Macro average precision over the concepts that both know and that are frequent enough; None without any."""
    known = {head.slug for head in old.bundle.heads}
    shared = [head.slug for head in new.bundle.heads if head.slug in known]
    _, truth = new.of(shared)
    judged = [slug for column, slug in enumerate(shared) if (truth[:, column] == 1).sum() >= FEWEST_POSITIVES]
    if not judged:
        return None
    (new_scores, truth), (old_scores, _) = new.of(judged), old.of(judged)
    weights = draws(len(truth))
    samples = macro_average_precisions(new_scores, truth, weights) - macro_average_precisions(old_scores, truth, weights)
    after, before = (_macro(scores, truth) for scores in (new_scores, old_scores))
    return {
        "new": round(after, 4),
        "old": round(before, 4),
        "difference": round(after - before, 4),
        "interval": interval(samples) or (0.0, 0.0),
        "concepts": len(judged),
    }


def _macro(scores: npt.NDArray[np.float64], truth: Truth) -> float:
    each = [average_precision(scores[:, column], truth[:, column]) for column in range(scores.shape[1])]
    return float(np.mean([value for value in each if value is not None]))
