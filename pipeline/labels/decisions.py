"""From scores to label tables: what is stored, how it is ranked, what is decided and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.datasets.schemas import LABELS, RECORD_LABELS
from pipeline.domain.label import CEILINGS, CROWDED, ConceptRule, Decision, Thresholds, decide
from pipeline.errors import CriticalError
from pipeline.labels.held import PICTURES, Held
from pipeline.labels.predictions import NO_KEYS, keys_of_images, keys_of_records
from pipeline.labels.tables import filled_table, texts
from pipeline.model.bundle import Bundle, Floats
from pipeline.settings import Settings
from pipeline.vocabulary import Concept, Policy, Vocabulary

Places = npt.NDArray[np.intp]

_SAID_ALREADY = (Decision.DROP, "same_concept")  # another head says it, which has the same URI
_CEILINGS = (None, CROWDED, *CEILINGS.values())


@dataclass(frozen=True)
class _Cells:
    """`decide`, asked once for every case that it tells apart: concept, interval of the score, in the top or not, rights,
    ceiling of the picture.

    `limits` (concepts, 3) are the borders of the intervals, `places` (concepts, 4, 2, 2, ceilings) lead into `verdicts`.
    """

    limits: npt.NDArray[np.float64]
    places: Places
    verdicts: Sequence[tuple[Decision, str]]


@dataclass(frozen=True)
class Decided:
    """Rank (from 1) and verdict (a place in the judge's verdicts) of every image and concept, both (n, c); and which images
    (n, 1) are under a ceiling."""

    ranks: Places
    verdicts: Places
    held: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Judge:
    """Decides on labels of one model under one policy.

    `held`: which pictures and records are held back (`held.held_back`).
    """

    concepts: Sequence[Concept]
    rules: Sequence[ConceptRule]
    rights: frozenset[str]
    floor: float
    top: int
    held: Held = field(default_factory=dict)

    @classmethod
    def of(
        cls, bundle: Bundle, vocabulary: Vocabulary, policy: Policy, settings: Settings, *, held: Held | None = None
    ) -> "Judge":
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
                held_back=why[0] if (why := policy.held_back(concept)) else None,
            )
            for head, concept in zip(bundle.heads, concepts, strict=True)
        ]
        floor, top = settings.hidden_floor, settings.hidden_top
        return cls(concepts, rules, policy.publishable_rights, floor, top, held or {})

    @cached_property
    def _cells(self) -> _Cells:
        limits, places, verdicts = list[list[float]](), list[int](), dict[tuple[Decision, str], int]()
        for rule in self.rules:
            known = {self.floor, rule.thresholds.review, rule.thresholds.publish}
            edges = sorted(edge for edge in known if edge is not None)
            edges += [np.inf] * (3 - len(edges))
            limits.append(edges)
            for score in (-np.inf, *edges):
                for rank in (self.top + 1, self.top):
                    for rights_ok, ceiling in product((False, True), _CEILINGS):
                        found = decide(score, rank, rule, floor=self.floor, top=self.top, rights_ok=rights_ok, ceiling=ceiling)
                        places.append(verdicts.setdefault(found, len(verdicts)))
        verdicts.setdefault(_SAID_ALREADY, len(verdicts))
        shape = (len(self.rules), 4, 2, 2, len(_CEILINGS))
        return _Cells(np.array(limits, np.float64).reshape(-1, 3), np.array(places, np.intp).reshape(shape), list(verdicts))

    def decide(self, images: Sequence[Mapping[str, Any]], scores: Floats) -> Decided:
        """Rank and decide scores (n, c) of n images; equal scores keep the order of the model."""
        order, ranks = np.argsort(-scores, axis=1, kind="stable"), np.empty(scores.shape, np.intp)
        np.put_along_axis(ranks, order, np.arange(1, scores.shape[1] + 1)[None, :], axis=1)
        interval = (scores.astype(np.float64)[:, :, None] >= self._cells.limits[None]).sum(axis=2)
        rights_ok = np.array([image["rights_category"] in self.rights for image in images], np.intp).reshape(-1, 1)
        concept = np.arange(scores.shape[1])[None, :]
        in_top = (ranks <= self.top).astype(np.intp)
        ceilings = self._ceilings(images)
        verdicts = self._cells.places[concept, interval, in_top, rights_ok, ceilings]
        verdicts[~self._said_best(verdicts, scores)] = self._cells.verdicts.index(_SAID_ALREADY)
        return Decided(ranks, verdicts, ceilings > 0)

    def _said_best(self, verdicts: Places, scores: Floats) -> npt.NDArray[np.bool_]:
        """Which of (n, c) stand: of heads that are one concept to the outside the one with the strongest decision, then with
        the highest score."""
        stand = np.ones(scores.shape, bool)
        for columns in self._one_to_the_outside:
            order = self._strengths[verdicts[:, columns]] * 2 + scores[:, columns]  # scores are at most 1
            stand[:, columns] = np.arange(len(columns))[None, :] == order.argmax(axis=1)[:, None]
        return stand

    @cached_property
    def _one_to_the_outside(self) -> Sequence[list[int]]:
        """Columns of concepts with the same URI, where there are several."""
        columns: dict[str, list[int]] = {}
        for column, concept in enumerate(self.concepts):
            columns.setdefault(concept.concept_uri, []).append(column)
        return [found for found in columns.values() if len(found) > 1]

    def _ceilings(self, images: Sequence[Mapping[str, Any]]) -> Places:
        """Of each image (n, 1) the place of its ceiling in `_CEILINGS`: a picture of many records, else its record's."""
        places = np.zeros((len(images), 1), np.intp)
        if any(most in self.held for most in CEILINGS):
            records = keys_of_records(image["record_id"] for image in images)
            for most, ceiling in CEILINGS.items():
                places[np.isin(records, self.held.get(most, NO_KEYS))] = _CEILINGS.index(ceiling)
        if PICTURES in self.held:
            keys = keys_of_images(image["image_id"] for image in images)
            places[np.isin(keys, self.held[PICTURES])] = _CEILINGS.index(CROWDED)
        return places

    def label_table(
        self,
        images: Sequence[Mapping[str, Any]],
        raw: Floats,
        scores: Floats,
        decided: Decided,
        columns: Mapping[str, Any],
        *,
        dropped: bool = False,
    ) -> pa.Table:
        """`labels`: of each image the concepts that are not dropped, best first; with `dropped` all of them.

        `raw` and `scores` (n, c); `columns` are those that have the same value in every row.
        """
        order = np.argsort(decided.ranks, axis=1)
        kept = self._strengths[decided.verdicts] >= (0 if dropped else 1)
        place, rank = np.nonzero(np.take_along_axis(kept, order, axis=1))
        concept = order[place, rank]
        arrays = {
            **{name: texts(images, name).take(pa.array(place)) for name in ("record_id", "image_id", "image_url", "provider")},
            **self._named(concept, decided.verdicts[place, concept]),
            "score": pa.array(scores[place, concept], pa.float32()),
            "raw_score": pa.array(raw[place, concept], pa.float32()),
            "threshold": pa.array([rule.thresholds.publish for rule in self.rules], pa.float32()).take(pa.array(concept)),
            "rank": pa.array(rank + 1, pa.int32()),
        }
        return filled_table(LABELS, arrays, columns)

    def record_table(
        self, images: Sequence[Mapping[str, Any]], scores: Floats, decided: Decided, columns: Mapping[str, Any]
    ) -> pa.Table:
        """`record_labels`: every concept of each record, surest first; the best image decides, the mean informs. Of heads
        with the same URI the strongest stands.

        All images of a record must be among `images`.
        """
        records = {image["record_id"]: None for image in images}
        places = {record_id: place for place, record_id in enumerate(records)}
        of = np.array([places[image["record_id"]] for image in images], np.intp)
        counts = np.bincount(of, minlength=len(records))
        last = np.cumsum(counts) - 1
        best = self._best_images(of, scores, decided)[last]
        means = np.add.reduceat(scores[np.argsort(of, kind="stable")].astype(np.float64), last - counts + 1, axis=0)
        column = np.arange(scores.shape[1])[None, :]
        highest = scores[best, column]
        concept = np.argsort(-highest, axis=1, kind="stable")
        record = np.repeat(np.arange(len(records)), scores.shape[1])
        stand = self._said_best(decided.verdicts[best, column], highest)[record, concept.ravel()]
        record = record[stand]
        flat = (record, concept.ravel()[stand])
        arrays = {
            "record_id": pa.array(list(records), pa.string()).take(pa.array(record)),
            **self._named(flat[1], decided.verdicts[best, column][flat]),
            "max_score": pa.array(highest[flat], pa.float32()),
            "mean_score": pa.array((means / counts[:, None])[flat], pa.float32()),
            "image_id": texts(images, "image_id").take(pa.array(best[flat])),
            "images": pa.array(counts[record], pa.int32()),
        }
        return filled_table(RECORD_LABELS, arrays, columns)

    def _best_images(self, of: Places, scores: Floats, decided: Decided) -> Places:
        """Images by record, and within a record for each concept (n, c) by score, decision and place: the best one is last.

        One under a ceiling, as a picture of many records is, is better than no other.
        """
        strength = self._strengths[decided.verdicts]
        record = np.broadcast_to(of[:, None], scores.shape)
        first_wins = np.broadcast_to(-np.arange(len(of))[:, None], scores.shape)
        free = np.broadcast_to(~decided.held, scores.shape)
        return np.lexsort((first_wins, strength, scores, free, record), axis=0)

    @cached_property
    def _strengths(self) -> Places:
        return np.array([decision.strength for decision, _ in self._cells.verdicts], np.intp)

    def _named(self, concept: Places, verdict: Places) -> dict[str, pa.Array]:
        """The columns that name concepts and verdicts."""
        verdicts = self._cells.verdicts
        return {
            "concept_uri": pa.array([one.concept_uri for one in self.concepts], pa.string()).take(pa.array(concept)),
            "label": pa.array([one.slug for one in self.concepts], pa.string()).take(pa.array(concept)),
            "decision": pa.array([str(decision) for decision, _ in verdicts], pa.string()).take(pa.array(verdict)),
            "why": pa.array([str(why) for _, why in verdicts], pa.string()).take(pa.array(verdict)),
        }

    def counts(self, decided: Decided) -> dict[str, int]:
        """How many (image, concept) pairs were decided how."""
        found = np.bincount(decided.verdicts.ravel(), minlength=len(self._cells.verdicts))
        by_decision = {str(decision): 0 for decision in Decision}
        for (decision, _), number in zip(self._cells.verdicts, found, strict=True):
            by_decision[decision] += int(number)
        return by_decision
