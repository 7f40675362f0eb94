"""How related two records are: what can be seen on them, and what was recognised on both."""

from collections.abc import Mapping

VISUAL_WEIGHT = 0.7  # the rest goes to the agreement of the labels, hidden ones included
SHARED_SCORE = 0.25  # both records need it for a concept to be named as shared
MOST_SHARED = 5


def concept_agreement(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Weighted Jaccard index of two {concept: score} maps, 0–1."""
    concepts = one.keys() | other.keys()
    most = sum(max(one.get(concept, 0.0), other.get(concept, 0.0)) for concept in concepts)
    least = sum(min(one.get(concept, 0.0), other.get(concept, 0.0)) for concept in concepts)
    return least / most if most else 0.0


def relatedness(visual: float, agreement: float) -> float:
    """One score, 0–1, out of cosine similarity and concept agreement."""
    return VISUAL_WEIGHT * max(0.0, min(1.0, visual)) + (1 - VISUAL_WEIGHT) * agreement


def shared_concepts(one: Mapping[str, float], other: Mapping[str, float]) -> list[str]:
    """The concepts that both surely have, surest first."""
    both = {concept: min(score, other.get(concept, 0.0)) for concept, score in one.items()}
    named = [concept for concept, score in both.items() if score >= SHARED_SCORE]
    return sorted(named, key=lambda concept: (-both[concept], concept))[:MOST_SHARED]
