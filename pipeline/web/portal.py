"""What may be shown of the catalogue: the one place that keeps hidden labels from end users."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.datasets.run import Run
from pipeline.domain.label import Decision
from pipeline.settings import Settings
from pipeline.vocabulary import Vocabulary, load_vocabulary
from pipeline.web.catalogue import Catalogue, Picture

PUBLIC_DECISIONS = (Decision.PUBLISH, Decision.REVIEW)
INTERNAL_DECISIONS = (*PUBLIC_DECISIONS, Decision.HIDDEN)
CONCEPT_REASON = "concept:"
MODEL_COLUMNS = ("model_name", "model_version", "model_sha256", "preprocessing_version", "vocabulary_version")


@dataclass(frozen=True)
class Label:
    """A label as shown: `name` is for people."""

    slug: str
    name: str
    concept_uri: str
    score: float
    decision: str
    why: str


@dataclass(frozen=True)
class Related:
    """A related record as shown; `shared` are (slug, name) of concepts that both have."""

    record_id: str
    title: str
    rank: int
    score: float
    visual_similarity: float
    shared: list[tuple[str, str]]
    reasons: list[str]
    picture: Picture | None


class Portal:
    """The questions that API and pages ask."""

    def __init__(self, settings: Settings, *, internal: bool) -> None:
        self.catalogue = Catalogue(settings)
        self.internal = internal
        self._settings = settings

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Labels with these decisions are shown when nothing else is asked for."""
        return INTERNAL_DECISIONS if self.internal else PUBLIC_DECISIONS

    def labels(self, run: Run, record_id: str, decisions: Collection[str]) -> list[Label]:
        """A record's labels, surest first."""
        return [self._label(row) for row in self.catalogue.labels(run, [record_id], decisions)[record_id]]

    def related(self, run: Run, record_id: str, limit: int) -> tuple[list[Related], dict[str, str] | None]:
        """A record's suggestions and the model behind them (None without suggestions).

        A hidden label is withheld as a reason too: only concepts that are visible on both records are named.
        """
        rows = self.catalogue.suggestions(run, record_id, limit)
        if not rows:
            return [], None
        others = [row["related_record_id"] for row in rows]
        titles = self.catalogue.records(run, others, ("title",))
        pictures = self.catalogue.pictures(run, others)
        visible = self._visible_concepts(run, [record_id, *others])
        found = []
        for row in rows:
            other = row["related_record_id"]
            shared = [slug for slug in row["shared_concepts"] if slug in visible[record_id] & visible[other]]
            found.append(
                Related(
                    record_id=other,
                    title=titles[other]["title"] if other in titles else other,
                    rank=row["rank"],
                    score=round(row["score"], 4),
                    visual_similarity=round(row["visual_similarity"], 4),
                    shared=[(slug, self.concept_name(slug)) for slug in shared],
                    reasons=[reason for reason in row["reasons"] if _concept_of(reason) in (None, *shared)],
                    picture=pictures.get(other),
                )
            )
        return found, {name: rows[0][name] for name in MODEL_COLUMNS}

    def concept_name(self, slug: str) -> str:
        """The concept in the label language; the slug for one that the vocabulary no longer has."""
        concept = self._vocabulary.by_slug.get(slug)
        return concept.label(self._settings.label_language.partition(",")[0].strip()) if concept else slug

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return load_vocabulary(self._settings.vocabulary_file, base_url=self._settings.vocab_base)

    def _visible_concepts(self, run: Run, record_ids: Collection[str]) -> dict[str, set[str]]:
        labels = self.catalogue.labels(run, record_ids, self.decisions)
        return {record_id: {row["label"] for row in rows} for record_id, rows in labels.items()}

    def _label(self, row: dict[str, Any]) -> Label:
        return Label(
            slug=row["label"],
            name=self.concept_name(row["label"]),
            concept_uri=row["concept_uri"],
            score=round(row["max_score"], 4),
            decision=row["decision"],
            why=row["why"],
        )


def _concept_of(reason: str) -> str | None:
    """The concept that a reason names; None for reasons of another kind."""
    return reason.removeprefix(CONCEPT_REASON) if reason.startswith(CONCEPT_REASON) else None
