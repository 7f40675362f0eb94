"""How often people have found the labels of a model right: by model, concept and provider."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets.lake import Lake
from pipeline.domain.label import Decision
from pipeline.reporting.progress import Progress
from pipeline.reporting.thresholds import wilson_lower_bound
from pipeline.settings import Settings

BINS = 1_000  # of the scores, in equal width
_COLUMNS = ("record_id", "label", "score", "decision", "provider", "model_name", "model_version")
_BOTH_SIDES = 0.975  # two one-sided bounds at this level are an interval of 95 %

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Judged:
    """A label of a model that people have decided on."""

    label: str
    provider: str
    model: str  # name@version
    score: float
    published: bool
    right: bool


@dataclass
class Population:
    """All labels of one model: how many of each concept have which score (BINS,)."""

    by_label: dict[str, Counts] = field(default_factory=lambda: defaultdict(lambda: np.zeros(BINS, np.int64)))

    def at_least(self, label: str, threshold: float | None) -> int:
        """How many of a concept's labels have this score; None: none of them."""
        return 0 if threshold is None else int(self.by_label[label][score_bin(threshold) :].sum())


def score_bin(score: float) -> int:
    """The bin of a score in 0–1."""
    return min(int(score * BINS), BINS - 1)


def judged_labels(
    lake: Lake, verdicts: Mapping[tuple[str, str], bool | None], model: str, *, settings: Settings
) -> tuple[list[Judged], Population]:
    """The labels in the lake that people have decided on, and all labels of `model` (name@version).

    A label that several runs have, or several pictures of a record, is taken once for each model: the newest run's, with
    its best score. Memory grows with what was decided, not with the lake.
    """
    wanted = pa.array(sorted({record_id for record_id, _ in verdicts}), pa.string())
    population = Population()
    judged: dict[tuple[str, str, str], tuple[str, Judged]] = {}
    with Progress("feedback", "labels", settings=settings) as progress:
        for run, batch in _label_batches(lake):
            progress.advance(batch.num_rows)
            _count(batch, model, population)
            for row in batch.filter(pc.is_in(batch["record_id"], value_set=wanted)).to_pylist():
                right = verdicts.get((row["record_id"], row["label"]))
                if right is None:
                    continue
                one = _judged(row, right)
                key = (row["record_id"], row["label"], one.model)
                known = judged.get(key)
                if known is None or known[0] != run or known[1].score < one.score:
                    judged[key] = run, one
    return [one for _, one in judged.values()], population


def _label_batches(lake: Lake) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Every visible row of `labels`, run by run, the oldest run first."""
    keys = (key for key in lake.store.list("labels/") if key.endswith("/_manifest.json"))
    manifests = [json.loads(lake.store.get_bytes(key)) for key in keys]
    for manifest in sorted(manifests, key=lambda one: (one["created_at"], one["run_id"])):
        for part in manifest["parts"]:
            for batch in lake.part_rows(part["key"], _COLUMNS):
                yield manifest["run_id"], batch


def _count(batch: pa.RecordBatch, model: str, population: Population) -> None:
    models = pc.binary_join_element_wise(batch["model_name"], batch["model_version"], "@")
    own = batch.filter(pc.equal(models, model))
    labels = own["label"].dictionary_encode()
    scores = own["score"].to_numpy(zero_copy_only=False)
    bins = np.minimum((scores.astype(np.float64) * BINS).astype(np.int64), BINS - 1)
    codes = labels.indices.to_numpy(zero_copy_only=False)
    for code, label in enumerate(labels.dictionary.to_pylist()):
        population.by_label[label] += np.bincount(bins[codes == code], minlength=BINS)


def _judged(row: Mapping[str, Any], right: bool) -> Judged:
    return Judged(
        label=row["label"],
        provider=row["provider"],
        model=f"{row['model_name']}@{row['model_version']}",
        score=float(row["score"]),
        published=row["decision"] == Decision.PUBLISH,
        right=right,
    )


@dataclass(frozen=True)
class Precision:
    """Of so many decided labels so many are right; the interval of the share has 95 %."""

    by: str  # model, concept, provider
    name: str
    model: str
    decided: int
    right: int
    published_decided: int
    published_right: int
    interval: tuple[float, float]

    @property
    def share(self) -> float:
        """The measured precision."""
        return self.right / self.decided


def measured_precision(judged: Iterable[Judged]) -> list[Precision]:
    """By model as a whole, by concept, and by provider; of every model, the most decided first."""
    groups: dict[tuple[str, str, str], list[Judged]] = defaultdict(list)
    for one in judged:
        groups["model", one.model, one.model].append(one)
        groups["concept", one.label, one.model].append(one)
        groups["provider", one.provider, one.model].append(one)
    found = [_precision(by, name, model, group) for (by, name, model), group in groups.items()]
    order = ("model", "concept", "provider")
    return sorted(found, key=lambda one: (one.model, order.index(one.by), -one.decided, one.name))


def _precision(by: str, name: str, model: str, group: Sequence[Judged]) -> Precision:
    right, published = sum(one.right for one in group), [one for one in group if one.published]
    return Precision(
        by,
        name,
        model,
        decided=len(group),
        right=right,
        published_decided=len(published),
        published_right=sum(one.right for one in published),
        interval=interval(right, len(group)),
    )


def interval(right: int, total: int) -> tuple[float, float]:
    """Wilson's interval of 95 % of a share."""
    low = wilson_lower_bound(right, total, confidence=_BOTH_SIDES)
    return round(low, 4), round(1 - wilson_lower_bound(total - right, total, confidence=_BOTH_SIDES), 4)
