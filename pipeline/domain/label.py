"""From a score to a decision, with the rule that decided (interfaces: decisions on labels)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pipeline.domain.outcome import Reason


class Decision(StrEnum):
    """What may happen with a label: publish ⊃ review ⊃ hidden ⊃ drop, from the most to the least sure."""

    PUBLISH = "publish"
    REVIEW = "review"
    HIDDEN = "hidden"
    DROP = "drop"

    @property
    def strength(self) -> int:
        """The surer, the higher."""
        return (Decision.DROP, Decision.HIDDEN, Decision.REVIEW, Decision.PUBLISH).index(self)


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


@dataclass(frozen=True)
class Ceiling:
    """What a label may become at most because of the picture that it is of, and the name of the rule that says so."""

    most: Decision
    why: str


CROWDED = Ceiling(Decision.HIDDEN, Reason.SHARED_PICTURE)
CEILINGS: Mapping[str, Ceiling] = {  # of institutions
    "review": Ceiling(Decision.REVIEW, "provider_review"),
    "hidden": Ceiling(Decision.HIDDEN, Reason.PROVIDER_HIDDEN),
}


def decide(
    score: float,
    rank: int,
    rule: ConceptRule,
    *,
    floor: float,
    top: int,
    rights_ok: bool = True,
    ceiling: Ceiling | None = None,
) -> tuple[Decision, str]:
    """The decision and the name of the rule that made it.

    `rank` counts from 1 over the concepts of the image; `floor` and `top` bound the hidden labels.
    """
    found, why = _by_concept(score, rank, rule, floor=floor, top=top, rights_ok=rights_ok)
    if ceiling is not None:
        # What is hidden anyway is told so, too: with other reasons it may leave for platforms that show it to nobody.
        is_kept = found is ceiling.most is Decision.HIDDEN
        if is_kept or found.strength > ceiling.most.strength:
            return ceiling.most, ceiling.why
    return found, why


def _by_concept(score: float, rank: int, rule: ConceptRule, *, floor: float, top: int, rights_ok: bool) -> tuple[Decision, str]:
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
