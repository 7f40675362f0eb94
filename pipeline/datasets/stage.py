"""A stage at rest: fixed batches in the plan, one result a batch, one report a stage. The plan is what makes a restart safe."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar, overload

from pipeline.datasets.lake import Lake, Part
from pipeline.datasets.run import Run
from pipeline.errors import CriticalError, PoisonedResultError

Item = TypeVar("Item")


class Items(Sequence[Any]):
    """A batch's items as lines of JSON, each of them read when it is asked for.

    Thousands of dictionaries at once would cost a worker ten times the text, and the interpreter never gives all of it back.
    """

    def __init__(self, lines: Sequence[bytes]) -> None:
        self._lines = lines

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, place: int) -> Any: ...

    @overload
    def __getitem__(self, place: slice) -> "Items": ...

    def __getitem__(self, place: int | slice) -> Any:
        return Items(self._lines[place]) if isinstance(place, slice) else json.loads(self._lines[place])


@dataclass(frozen=True)
class Batch:
    """A unit of mapped work: `items` is all that its worker needs to know."""

    run_key: str
    stage: str
    number: int
    items: Any
    fingerprint: str

    @classmethod
    def from_bytes(cls, content: bytes) -> "Batch":
        """Read back what `to_bytes` wrote; a list comes as `Items`."""
        head, *lines = content.splitlines()
        return cls(**{"items": Items(lines), **json.loads(head)})

    def to_bytes(self) -> bytes:
        """As a line of JSON, followed by one for each item of a list."""
        head = dict(self.__dict__)
        items = head.pop("items") if isinstance(self.items, list) else ()
        return b"\n".join(json.dumps(value).encode() for value in (head, *items))

    @property
    def folder(self) -> str:
        """Where the plan and the result of the batch lie."""
        return f"{self.run_key.rpartition('/')[0]}/{self.stage}"

    @property
    def result_key(self) -> str:
        """Where the batch's result lies once it is done."""
        return f"{self.folder}/result-{self.number:05d}.json"


@dataclass
class Counts:
    """What became of a stage's inputs; `inputs == ok + Σ reasons`, always."""

    inputs: int = 0
    ok: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    extra: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str | None) -> None:
        """Count one input that ended with a reason, or well (None)."""
        self.inputs += 1
        if reason is None:
            self.ok += 1
        else:
            self.reasons[reason] += 1

    def merge(self, other: "Counts") -> None:
        """Add another batch's counts."""
        self.inputs += other.inputs
        self.ok += other.ok
        self.reasons.update(other.reasons)
        self.extra.update(other.extra)

    def check(self, stage: str) -> None:
        """Raise PoisonedResultError when the counts do not add up."""
        if self.inputs != self.ok + self.reasons.total():
            raise PoisonedResultError(
                f"{stage}: {self.inputs} inputs but {self.ok} ok and {self.reasons.total()} with a reason; a row is lost"
            )

    def to_json(self) -> dict[str, Any]:
        """As JSON values, in stable order."""
        return {
            "inputs": self.inputs,
            "ok": self.ok,
            "reasons": dict(sorted(self.reasons.items())),
            "extra": dict(sorted(self.extra.items())),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Counts":
        """Read back what `to_json` wrote."""
        return cls(value["inputs"], value["ok"], Counter(value["reasons"]), Counter(value["extra"]))


@dataclass
class Result:
    """What one batch produced: counts, and the parts by dataset. `final` is False when a retry might do better."""

    counts: Counts
    parts: dict[str, list[Part]] = field(default_factory=dict)
    seconds: float = 0.0
    final: bool = True


def groups_of(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of `size`, the last one shorter; never an empty one."""
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


def plan_stage(lake: Lake, run: Run, stage: str, batches: Iterable[Any], *, fingerprint: str, max_batches: int) -> list[str]:
    """Write the plan of a stage and return the keys of its batches, for mapping.

    Raises CriticalError when the plan is larger than Airflow can map (`[core] max_map_length`, 1024).
    """
    keys = []
    for number, items in enumerate(batches):
        if number >= max_batches:
            raise CriticalError(f"{stage}: more than {max_batches} batches; raise the batch size in the settings")
        mark = hashlib.sha256(json.dumps([items, fingerprint, run.attempt], sort_keys=True).encode()).hexdigest()
        batch = Batch(run.key, stage, number, items, mark)
        key = f"{batch.folder}/batch-{number:05d}.jsonl"
        lake.store.put_bytes(key, batch.to_bytes())
        keys.append(key)
    return keys


def run_batch(lake: Lake, batch_key: str, work: Callable[[Run, Batch], Result]) -> str:
    """Do a batch's work unless it is done already (same items, same settings), and return the key of its result."""
    batch = Batch.from_bytes(lake.store.get_bytes(batch_key))
    run = lake.run(batch.run_key)
    if lake.store.exists(batch.result_key):
        known = lake.read_json(batch.result_key)
        if known["fingerprint"] == batch.fingerprint and known["final"] and _parts_stand(lake, known["parts"]):
            return batch.result_key
    result = work(run, batch)
    result.counts.check(f"{batch.stage} batch {batch.number}")
    value = {
        "stage": batch.stage,
        "fingerprint": batch.fingerprint,
        "counts": result.counts.to_json(),
        "parts": {dataset: [part.__dict__ for part in parts] for dataset, parts in result.parts.items()},
        "seconds": round(result.seconds, 3),
        "final": result.final,
    }
    return lake.write_json(batch.result_key, value)


def merge_results(lake: Lake, stage: str, result_keys: Iterable[str]) -> Result:
    """All batches of a stage as one result: counts added, parts together."""
    total = Result(Counts())
    for key in result_keys:
        value = lake.read_json(key)
        total.counts.merge(Counts.from_json(value["counts"]))
        total.seconds += value["seconds"]
        for dataset, parts in value["parts"].items():
            total.parts.setdefault(dataset, []).extend(Part(**part) for part in parts)
    total.counts.check(stage)
    return total


def publish_stage(
    lake: Lake,
    run: Run,
    stage: str,
    result: Result,
    datasets: Sequence[str],
    *,
    keep: Collection[str] = (),
    **extra: Any,
) -> str:
    """Make the stage's datasets visible (an empty one too) and write its report; returns the report's key."""
    for dataset in datasets:
        lake.publish(run, dataset, result.parts.get(dataset, []), keep=keep)
    report = {
        "stage": stage,
        "run_id": run.run_id,
        "counts": result.counts.to_json(),
        "datasets": {name: sum(part.rows for part in result.parts.get(name, [])) for name in datasets},
        "seconds": round(result.seconds, 3),
        **extra,
    }
    return lake.write_json(f"{run.folder}/{stage}.json", report)


def outcomes_dataset(stage: str) -> str:
    """Each stage writes its own slice of `outcomes`, so that no stage touches another's rows."""
    return f"outcomes/stage={stage}"


def _parts_stand(lake: Lake, parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> bool:
    return all(lake.store.exists(part["key"]) for group in parts.values() for part in group)
