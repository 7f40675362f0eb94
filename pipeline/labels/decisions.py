"""From scores to label rows: what is stored, how it is ranked, what is decided and why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.domain.label import ConceptRule, Decision, Thresholds, decide
from pipeline.errors import CriticalError
from pipeline.model.bundle import Bundle
from pipeline.model.predictor import Floats
from pipeline.settings import Settings
from pipeline.vocabulary import Concept, Policy, Vocabulary


@dataclass(frozen=True)
class Judge:
    """Decides on labels of one model under one policy."""

    concepts: Sequence[Concept]
    rules: Sequence[ConceptRule]
    rights: frozenset[str]
    floor: float
    top: int
    language: str

    @classmethod
    def of(cls, bundle: Bundle, vocabulary: Vocabulary, policy: Policy, settings: Settings) -> "Judge":
        """CriticalError when the vocabulary has lost a concept that the model knows."""
        if missing := [head.slug for head in bundle.heads if head.slug not in vocabulary.by_slug]:
            raise CriticalError(
                f"{settings.vocabulary_file}: model {bundle.name} {bundle.version} knows {missing}, the file does not"
            )
        concepts = [vocabulary.by_slug[head.slug] for head in bundle.heads]
        rules = [
            ConceptRule(
                thresholds=Thresholds(None, head.thresholds.review) if head.slug in policy.abstain else head.thresholds,
                has_public_uri=concept.body_uri is not None,
                held_back=held[0] if (held := policy.held_back(concept)) else None,
            )
            for head, concept in zip(bundle.heads, concepts, strict=True)
        ]
        return cls(
            concepts, rules, policy.publishable_rights, settings.hidden_floor, settings.hidden_top, settings.label_language
        )

    def label_rows(self, image: Mapping[str, Any], raw: Floats, scores: Floats) -> Iterator[dict[str, Any]]:
        """One row a concept for one image, best first; `raw` and `scores` have shape (concepts,)."""
        rights_ok = image["rights_category"] in self.rights
        for rank, column in enumerate(np.argsort(-scores, kind="stable"), start=1):
            concept, rule = self.concepts[column], self.rules[column]
            score = float(scores[column])
            decision, why = decide(score, rank, rule, floor=self.floor, top=self.top, rights_ok=rights_ok)
            yield {
                "record_id": image["record_id"],
                "image_id": image["image_id"],
                "image_url": image["image_url"],
                "concept_uri": concept.concept_uri,
                "label": concept.slug,
                "score": score,
                "raw_score": float(raw[column]),
                "threshold": rule.thresholds.publish,
                "decision": decision,
                "why": why,
                "rank": rank,
                "provider": image["provider"],
            }


_STRENGTH = {Decision.PUBLISH: 3, Decision.REVIEW: 2, Decision.HIDDEN: 1, Decision.DROP: 0}


def record_rows(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Labels of all images of some records → one row a record and concept: the maximum decides, the mean informs."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["record_id"], row["label"]), []).append(row)
    for (record_id, label), group in groups.items():
        best = max(group, key=lambda row: (row["score"], _STRENGTH[Decision(row["decision"])]))
        yield {
            "record_id": record_id,
            "concept_uri": best["concept_uri"],
            "label": label,
            "max_score": best["score"],
            "mean_score": sum(row["score"] for row in group) / len(group),
            "image_id": best["image_id"],
            "images": len(group),
            "decision": best["decision"],
            "why": best["why"],
        }
