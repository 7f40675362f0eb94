"""Which labels to ask people about next: where the model is unsure, where little is known, and no picture twice.

A fifth of the budget is drawn at random over the scores instead: what people say of it measures how precise the labels
are, which answers about doubtful labels alone could not.
"""

import hashlib
import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.crowd.verdicts import newest_verdicts
from pipeline.datasets.lake import Lake
from pipeline.datasets.run import Run
from pipeline.domain.identifiers import is_item
from pipeline.domain.label import Decision
from pipeline.domain.outcome import KEPT_IN_HOUSE, Reason
from pipeline.errors import CriticalError
from pipeline.reporting.progress import Progress
from pipeline.settings import Settings

NEAR = 0.95  # cosine of two pictures from which on they are near duplicates, and one of them is enough
RANDOM_SHARE = 0.2
_BANDS = 10  # of the scores, for what is drawn at random
_SPARE = 4  # so many labels of a concept are looked at for each that may be asked about
_COLUMNS = (
    "record_id", "image_id", "image_url", "concept_uri", "label", "score", "decision", "why", "provider", "model_name",
    "model_version",
)  # fmt: skip

Vectors = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Candidate:
    """A label of a record's best picture that people could be asked about. `score` is calibrated, 0–1."""

    record_id: str
    image_id: str
    image_url: str
    concept_uri: str
    label: str
    score: float
    provider: str
    model: str  # name@version

    @property
    def doubt(self) -> float:
        """The entropy of yes or no in bits: 1 at a score of 0.5, 0 where the model is sure."""
        if self.score <= 0 or self.score >= 1:
            return 0.0
        return -self.score * math.log2(self.score) - (1 - self.score) * math.log2(1 - self.score)

    def draw(self, seed: int) -> str:
        """A lot that a seed gives this label: the order of lots is random, and always the same."""
        return _lot(seed, self.record_id, self.label)


def _lot(*values: object) -> str:
    return hashlib.sha256("|".join(map(str, values)).encode()).hexdigest()


def choose_labels(
    lake: Lake, run: Run, budget: int, *, seed: int, settings: Settings, for_with: bool = False
) -> list[Candidate]:
    """Up to `budget` labels of a run to ask about, the most useful first; the same run, seed and votes give the same.

    Left out: labels that were dropped, that have votes already, and what the policy or the rights hold in the house; and
    what WITH could not take, `for_with`: concepts without a public URI, and records that are not Europeana's.
    Raises CriticalError when there is nothing to ask about.
    """
    voted, asked = Counter[str](), set[tuple[str, str]]()
    for row in newest_verdicts(lake):
        if row["up"] + row["down"]:
            voted[row["label"]] += 1
            asked.add((row["record_id"], row["label"]))
    pool = _pool(_candidates(lake, run, asked, for_with, settings), budget, seed)
    if not pool.doubtful:
        raise CriticalError(f"run {run.run_id} has no label to ask about: all are dropped, held back, or have votes already")
    return choose(pool.doubtful, pool.random, _vectors(lake, run, pool.image_ids), voted, budget, seed)


def choose(
    doubtful: Sequence[Candidate],
    random: Mapping[tuple[str, int], Sequence[Candidate]],
    vectors: Vectors,
    voted: Mapping[str, int],
    budget: int,
    seed: int,
) -> list[Candidate]:
    """The choice itself. `random` are labels by concept and band of the score, each in the order of its lots.

    Drawn at random first, from each concept and band in turn, those of concepts with few votes before others. Then always
    the label for which doubt × need × diversity is greatest: need falls as 1/√(1 + n) with the n labels of the concept that
    have votes or are chosen, as the uncertainty of its precision does, and diversity is 1 − the cosine to the most similar
    picture that is chosen for the concept. A picture without a vector is like no other.
    """
    chosen = _Chosen(vectors, Counter(voted))
    groups = sorted(random, key=lambda key: (voted.get(key[0], 0), _lot(seed, *key)))
    waiting = [iter(random[key]) for key in groups]
    while waiting and len(chosen.labels) < round(budget * RANDOM_SHARE):
        waiting = [group for group in waiting if chosen.take_first(group, round(budget * RANDOM_SHARE))]
    # Need and diversity only fall while labels are chosen, so a value from before is an upper bound: the best is the one
    # that still comes first when it is worked out anew.
    heap = [(-one.doubt, one.draw(seed), place) for place, one in enumerate(doubtful)]
    heapq.heapify(heap)
    while heap and len(chosen.labels) < budget:
        _, lot, place = heapq.heappop(heap)
        value = chosen.value(doubtful[place])
        if value is None:
            continue
        if heap and (-value, lot) > heap[0][:2]:
            heapq.heappush(heap, (-value, lot, place))
        else:
            chosen.add(doubtful[place])
    return chosen.labels


class _Chosen:
    """What is chosen so far."""

    def __init__(self, vectors: Vectors, voted: Counter[str]) -> None:
        self.labels: list[Candidate] = []
        self._vectors = vectors
        self._known = voted
        self._keys: set[tuple[str, str]] = set()
        self._pictures: dict[str, list[npt.NDArray[np.float32]]] = defaultdict(list)

    def take_first(self, group: Iterator[Candidate], most: int) -> bool:
        """Add the next label of a group that may still be chosen; False when it has none, or enough are chosen."""
        if len(self.labels) >= most:
            return False
        for one in group:
            if self.value(one) is not None:
                self.add(one)
                return True
        return False

    def value(self, one: Candidate) -> float | None:
        """Doubt × need × diversity; None when the label is chosen already, or a near duplicate of its picture is."""
        if (one.record_id, one.label) in self._keys:
            return None
        nearest = self._nearest(one)
        if nearest >= NEAR:
            return None
        return one.doubt / math.sqrt(1 + self._known[one.label]) * (1 - nearest)

    def add(self, one: Candidate) -> None:
        self.labels.append(one)
        self._keys.add((one.record_id, one.label))
        self._known[one.label] += 1
        if one.image_id in self._vectors:
            self._pictures[one.label].append(self._vectors[one.image_id])

    def _nearest(self, one: Candidate) -> float:
        """The cosine to the most similar picture chosen for the concept; 0 where none is similar."""
        vector, pictures = self._vectors.get(one.image_id), self._pictures[one.label]
        if vector is None or not pictures:
            return 0.0
        return max(0.0, float(max(picture @ vector for picture in pictures)))


@dataclass(frozen=True)
class _Pool:
    """The candidates that can be chosen at all, in memory: a few of each concept for each that may be asked about."""

    doubtful: list[Candidate]
    random: dict[tuple[str, int], list[Candidate]]

    @property
    def image_ids(self) -> set[str]:
        return {one.image_id for group in (self.doubtful, *self.random.values()) for one in group}


def _pool(candidates: Iterable[tuple[Candidate, bool]], budget: int, seed: int) -> _Pool:
    """Of each concept the most doubtful labels, and of each band of its scores those that the lot puts first."""
    doubtful: dict[str, list[tuple[float, str, Candidate]]] = defaultdict(list)
    drawn: dict[tuple[str, int], list[tuple[int, str, Candidate]]] = defaultdict(list)
    for one, is_shown in candidates:
        lot = one.draw(seed)
        _keep(doubtful[one.label], (one.doubt, lot, one), budget * _SPARE)
        if is_shown:
            # A heap gives away its least, and the first lots are to stay.
            band = min(int(one.score * _BANDS), _BANDS - 1)
            _keep(drawn[one.label, band], (-int(lot, 16), lot, one), _SPARE + budget // 10)
    return _Pool(
        [one for label in sorted(doubtful) for _, _, one in sorted(doubtful[label], key=lambda entry: entry[:2])],
        {key: [one for _, _, one in sorted(group, key=lambda entry: entry[1])] for key, group in sorted(drawn.items())},
    )


def _keep(heap: list[Any], entry: tuple[Any, ...], most: int) -> None:
    if len(heap) < most:
        heapq.heappush(heap, entry)
    elif entry[:2] > heap[0][:2]:
        heapq.heapreplace(heap, entry)


def _candidates(
    lake: Lake, run: Run, asked: Collection[tuple[str, str]], for_with: bool, settings: Settings
) -> Iterator[tuple[Candidate, bool]]:
    """Each label that may be asked about, and whether it is one for publication or review."""
    with Progress("feedback", "labels", settings=settings) as progress:
        for batch in lake.rows(run, "labels", _COLUMNS):
            progress.advance(batch.num_rows)
            for row in batch.to_pylist():
                kept = row["decision"] == Decision.DROP or row["why"] in KEPT_IN_HOUSE
                if kept or (row["record_id"], row["label"]) in asked or (for_with and not _fits_with(row)):
                    continue
                yield _candidate(row), row["decision"] in (Decision.PUBLISH, Decision.REVIEW)


def _fits_with(row: Mapping[str, Any]) -> bool:
    return row["why"] != Reason.NO_PUBLIC_URI and is_item(row["record_id"])


def _candidate(row: Mapping[str, Any]) -> Candidate:
    return Candidate(
        row["record_id"],
        row["image_id"],
        row["image_url"],
        row["concept_uri"],
        row["label"],
        float(row["score"]),
        row["provider"],
        model=f"{row['model_name']}@{row['model_version']}",
    )


def _vectors(lake: Lake, run: Run, image_ids: Collection[str]) -> dict[str, npt.NDArray[np.float32]]:
    """The embeddings of these pictures, each of length 1."""
    found: dict[str, npt.NDArray[np.float32]] = {}
    for batch in lake.rows(run, "features", ("image_id", "embedding")):
        embeddings = batch["embedding"].flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1)
        for place, image_id in enumerate(batch["image_id"].to_pylist()):
            if image_id in image_ids and image_id not in found:
                vector = embeddings[place].astype(np.float32)
                found[image_id] = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return found
