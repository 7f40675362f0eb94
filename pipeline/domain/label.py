"""From a score to a decision, with the rule that decided (interfaces: decisions on labels)."""

from dataclasses import dataclass
from enum import StrEnum

from pipeline.domain.outcome import Reason


class Decision(StrEnum):
    """What may happen with a label: publish ⊃ review ⊃ hidden ⊃ drop, from the most to the least sure."""

    PUBLISH = "publish"
    REVIEW = "review"
    HIDDEN = "hidden"
    DROP = "drop"


@dataclass(frozen=True)
class Thresholds:
    """A concept's thresholds on the calibrated score; None: the wanted precision is never reached."""

    publish: float | None
    review: float | None


@dataclass(frozen=True)
class ConceptRule:
    """Everything but the score that decides on a concept's labels."""

    thresholds: Thresholds
    has_public_uri: bool
    held_back: Reason | None = None  # why the policy keeps the concept in the house


def decide(
    score: float, rank: int, rule: ConceptRule, *, floor: float, top: int, rights_ok: bool = True
) -> tuple[Decision, str]:
    """The decision and the name of the rule that made it.

    `rank` counts from 1 over the concepts of the image; `floor` and `top` bound the hidden labels.
    """
    if not (score >= floor or rank <= top):
        return Decision.DROP, "below_floor"
    if rule.held_back:
        return Decision.HIDDEN, rule.held_back
    if not rule.has_public_uri:
        return Decision.HIDDEN, Reason.NO_PUBLIC_URI
    publish, review = rule.thresholds.publish, rule.thresholds.review
    if publish is not None and score >= publish:
        return (Decision.PUBLISH, "threshold") if rights_ok else (Decision.HIDDEN, Reason.RIGHTS_RESTRICTED)
    if review is not None and score >= review:
        return Decision.REVIEW, Reason.ABSTAINS if publish is None else "review_threshold"
    return Decision.HIDDEN, "floor" if score >= floor else "top"
