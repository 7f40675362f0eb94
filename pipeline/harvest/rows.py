"""Records and outcomes as Arrow: what one checkpoint of a window writes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.datasets.lake import Lake, Part, as_table
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import OUTCOMES, RECORDS
from pipeline.datasets.stage import Counts, outcomes_dataset
from pipeline.domain.outcome import Outcome, OutcomeRow, Reason
from pipeline.domain.record import Record
from pipeline.errors import PoisonedResultError
from pipeline.harvest.parse import STAGE

OUTCOMES_OF_STAGE = outcomes_dataset(STAGE)
ROWS_PER_BATCH = 500
_COLUMNS = tuple(name for name in RECORDS.names if name not in ("run_id", "created_at"))


@dataclass
class Chunk:
    """Rows between two checkpoints; Python objects become Arrow memory every few hundred rows."""

    run: Run
    counts: Counts = field(default_factory=Counts)
    pages: int = 0
    promised: int | None = None  # what the source says there is in all
    _records: list[Record] = field(default_factory=list)
    _outcomes: list[OutcomeRow] = field(default_factory=list)
    _batches: list[pa.Table] = field(default_factory=list)

    def add(self, result: Record | OutcomeRow) -> None:
        """Take a record or the row that says why there is none; every input is counted once."""
        if isinstance(result, OutcomeRow):
            self._outcomes.append(result)
            self.counts.add(result.reason)
            return
        if self.run.rules.rights and result.rights_category not in self.run.rules.rights:
            self.add(_not_licensed(result, self.run.rules.rights))
            return
        self._records.append(result)
        self.counts.add(None if result.image_url else Reason.NO_IMAGE)
        if result.image_url is None:
            self._outcomes.append(_no_image(result))
        if len(self._records) >= ROWS_PER_BATCH:
            self._pack()

    def write(self, lake: Lake, number: int, piece: str) -> dict[str, Part]:
        """Write the rows as one part a dataset; nothing for a dataset without rows."""
        self._pack()
        parts: dict[str, Part] = {}
        if self._batches:
            parts["records"] = lake.write_part(self.run, "records", number, self._batches, RECORDS, piece=piece)
        if self._outcomes:
            rows = [row.__dict__ | self.run.columns() for row in self._outcomes]
            table = as_table("outcomes", rows)
            parts[OUTCOMES_OF_STAGE] = lake.write_part(self.run, OUTCOMES_OF_STAGE, number, [table], OUTCOMES, piece=piece)
        return parts

    def _pack(self) -> None:
        if self._records:
            self._batches.append(record_table(self._records, self.run))
            self._records = []


def record_table(records: Sequence[Record], run: Run) -> pa.Table:
    """Records as a table of the dataset's schema, with the run's provenance; PoisonedResultError when they do not fit."""
    try:
        return _record_table(records, run)
    except (pa.ArrowException, UnicodeError, OverflowError, TypeError) as error:
        raise PoisonedResultError(f"records do not fit the schema: {error}") from error


def _record_table(records: Sequence[Record], run: Run) -> pa.Table:
    columns: list[Any] = []
    for name in _COLUMNS:
        values = [getattr(record, name) for record in records]
        kind = RECORDS.field(name).type
        if pa.types.is_map(kind):
            values = [list(value.items()) for value in values]
        elif name == "media":
            values = [[file.__dict__ for file in value] for value in values]
        columns.append(pa.array(values, type=kind))
    columns += [pa.array([value] * len(records), type=RECORDS.field(name).type) for name, value in run.columns().items()]
    return pa.Table.from_arrays(columns, schema=RECORDS)


def _no_image(record: Record) -> OutcomeRow:
    detail = "the record names no image (edmIsShownBy)"
    return OutcomeRow(STAGE, record.record_id, record.record_id, Outcome.SKIPPED, Reason.NO_IMAGE, detail)


def _not_licensed(record: Record, wanted: Sequence[str]) -> OutcomeRow:
    detail = f"{record.rights or 'no statement'} is {record.rights_category}; the source takes {', '.join(wanted)}"
    return OutcomeRow(STAGE, record.record_id, record.record_id, Outcome.REJECTED, Reason.RIGHTS_RESTRICTED, detail)
