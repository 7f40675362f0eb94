"""Each input once in a run: what changed while its windows were listed, or has several concepts, is met twice."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.datasets.lake import Lake, Part
from pipeline.datasets.run import PARTS_PER_ATTEMPT, Run
from pipeline.datasets.schemas import OUTCOMES, RECORDS
from pipeline.datasets.stage import Result
from pipeline.harvest.rows import OUTCOMES_OF_STAGE
from pipeline.harvest.seen import SeenIds

Row = dict[str, Any]


@dataclass(frozen=True)
class _Kind:
    """A dataset, and which of its rows are about the same input: `columns` are those that `key` and `counted` need."""

    dataset: str
    schema: pa.Schema
    columns: tuple[str, ...]
    key: Callable[[Row], str]
    counted: Callable[[Row], str | None]  # the reason that the row counts for; "" is ok, None counts elsewhere


# A record without an image counts by its outcome row.
_KINDS = (
    _Kind(
        "records",
        RECORDS,
        ("record_id", "image_url"),
        key=lambda row: str(row["record_id"]),
        counted=lambda row: "" if row["image_url"] else None,
    ),
    _Kind(
        OUTCOMES_OF_STAGE,
        OUTCOMES,
        ("input_id", "reason", "raw"),
        key=lambda row: f"{row['input_id']}|{row['reason']}|{row['raw']}",
        counted=lambda row: str(row["reason"]),
    ),
)


def drop_duplicates(lake: Lake, run: Run, result: Result) -> None:
    """Leave out what came in more than one window; parts and counts of the result are changed.

    Parts come in the order of their windows: the last one has the record as it is now, and that one stays. A part that
    loses rows is written anew beside the old one.
    """
    for kind in _KINDS:
        parts = result.parts.get(kind.dataset, [])
        if len(parts) < 2:
            continue
        result.parts[kind.dataset], dropped = _once(lake, run, kind, parts)
        for reason, number in dropped.items():
            result.counts.inputs -= number
            if reason:
                result.counts.reasons[reason] -= number
            else:
                result.counts.ok -= number
        result.counts.extra["repeated_across_windows"] += dropped.total()


def _once(lake: Lake, run: Run, kind: _Kind, parts: Sequence[Part]) -> tuple[list[Part], Counter[str]]:
    kept: list[Part] = []
    dropped: Counter[str] = Counter()
    with SeenIds() as seen:
        for part in reversed(parts):
            repeated: set[int] = set()
            for position, row in enumerate(_rows(lake, part, kind.columns)):
                if not seen.add(kind.key(row)):
                    repeated.add(position)
                    reason = kind.counted(row)
                    if reason is not None:
                        dropped[reason] += 1
            kept.append(_without(lake, run, kind, part, repeated) if repeated else part)
    return kept[::-1], dropped


def _rows(lake: Lake, part: Part, columns: Sequence[str]) -> Iterator[Row]:
    for batch in lake.part_rows(part.key, columns):
        yield from batch.to_pylist()


def _without(lake: Lake, run: Run, kind: _Kind, part: Part, repeated: set[int]) -> Part:
    number, _, piece = part.key.rpartition("/part-")[2].removesuffix(".parquet").partition("-")

    def rows() -> Iterator[pa.Table]:
        position = 0
        for batch in lake.part_rows(part.key):
            kept = [at for at in range(batch.num_rows) if position + at not in repeated]
            position += batch.num_rows
            yield pa.Table.from_batches([batch], schema=kind.schema).take(pa.array(kept, pa.int64()))

    number_of_batch = int(number) % PARTS_PER_ATTEMPT
    return lake.write_part(run, kind.dataset, number_of_batch, rows(), kind.schema, piece=f"{piece}-once")
