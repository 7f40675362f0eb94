"""A model's figures by who gave the pictures, and what is lost on providers that it has never seen."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.reporting.bootstrap import SEED, draws, interval, macro_average_precisions
from pipeline.reporting.metrics import FEWEST_POSITIVES, average_precision

Flags = npt.NDArray[np.bool_]
NOT_NAMED = "(not named)"


@dataclass(frozen=True)
class Part:
    """Some pictures: calibrated scores, truth in 1, 0, -1 (unknown) and what would be published, each (n, concepts)."""

    scores: npt.NDArray[np.float64]
    truth: npt.NDArray[np.int8]
    published: Flags

    def of(self, rows: Flags) -> "Part":
        """The pictures that are marked."""
        return Part(self.scores[rows], self.truth[rows], self.published[rows])

    def judgeable(self) -> Flags:
        """Concepts with enough positives and negatives: without either, average precision says nothing of the scores."""
        positives, negatives = (self.truth == 1).sum(axis=0), (self.truth == 0).sum(axis=0)
        return np.asarray((positives >= FEWEST_POSITIVES) & (negatives >= FEWEST_POSITIVES))

    def figures(self, columns: Flags) -> dict[str, Any]:
        """Macro average precision over these concepts (None without any), and the published labels of all concepts."""
        right = int((self.published & (self.truth == 1)).sum())
        known, true = int((self.published & (self.truth >= 0)).sum()), int((self.truth == 1).sum())
        each = [average_precision(self.scores[:, column], self.truth[:, column]) for column in np.flatnonzero(columns)]
        return {
            "n_images": len(self.scores),
            "n_concepts": len(each),
            "macro_ap": round(float(np.mean([value for value in each if value is not None])), 4) if each else None,
            "published_n": known,
            "published_precision": round(right / known, 4) if known else None,
            "published_recall": round(right / true, 4) if true else None,
        }


def by_provider(providers: Sequence[str], part: Part) -> list[dict[str, Any]]:
    """The figures of each provider's pictures, the one with most pictures first; `providers` names each picture's."""
    names = np.array([name or NOT_NAMED for name in providers], dtype=np.str_)
    table = []
    for name, _ in sorted(Counter(names.tolist()).items(), key=lambda one: (-one[1], one[0])):
        own = part.of(names == name)
        table.append({"provider": name, **own.figures(own.judgeable())})
    return table


def drop_to_unseen(slugs: Sequence[str], seen: Part, unseen: Part) -> dict[str, Any]:
    """How much worse is it on unseen providers? Over the concepts that can be judged on both sides.

    The pictures of the two sides are others, so they are drawn independently for the interval of the difference.
    """
    shared = seen.judgeable() & unseen.judgeable()
    before, after = seen.figures(shared), unseen.figures(shared)
    spread = None
    if shared.any():
        sides = [
            macro_average_precisions(side.scores[:, shared], side.truth[:, shared], draws(len(side.scores), seed=seed))
            for side, seed in ((seen, SEED), (unseen, SEED + 1))
        ]
        spread = interval(sides[0] - sides[1])
    names = ("macro_ap", "published_precision", "published_recall")
    drops = {
        name: round(before[name] - after[name], 4) if before[name] is not None and after[name] is not None else None
        for name in names
    }
    concepts = [slug for slug, judged in zip(slugs, shared, strict=True) if judged]
    return {"concepts": concepts, "seen": before, "unseen": after, "drop": drops, "macro_ap_drop_interval": spread}
