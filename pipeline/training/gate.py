"""May a version be released? It is held against the one in force, on the same held-out pictures.

A version is refused when macro average precision falls, when that over providers which no training picture came from
falls by more than a margin, when a concept that is published today could not be any more, or when nothing can be told.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.reporting.metrics import FEWEST_POSITIVES
from pipeline.training.compare import Judged, compared

NOTHING_TO_JUDGE = (
    f"whether it is worse cannot be told: no concept that both versions know is true of {FEWEST_POSITIVES} pictures in split "
    "test of this collection; label more of them"
)


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
        change = compared(new[split], old[split]).get("macro_ap")
        if change is None:
            if split == "test":
                reasons.append(NOTHING_TO_JUDGE)
            continue
        figures[split] = change
        if change["difference"] < -margin:
            low, high = change["interval"]
            allowed = f" (a fall of {margin:g} is allowed)" if margin else ""
            reasons.append(
                f"{words} falls from {change['old']:.4f} ({of}) to {change['new']:.4f} over "
                f"{change['concepts']} concepts{allowed}; 95 % interval of the difference {low:+.4f} to {high:+.4f}"
            )
    if lost := sorted(old["test"].bundle.published_concepts - new["test"].bundle.published_concepts):
        reasons.append(f"no longer sure enough to be published, unlike in {of}: {', '.join(lost)}")
    figures["lost"] = lost
    figures["won"] = sorted(new["test"].bundle.published_concepts - old["test"].bundle.published_concepts)
    return Verdict(tuple(reasons), figures)
