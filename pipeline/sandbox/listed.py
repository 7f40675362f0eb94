"""Searching and sorting records that lie in memory (Europeana contract 1.5, 1.6)."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from pipeline.sandbox.fields import Values, content_tier, predicate
from pipeline.sandbox.query import Node
from pipeline.sandbox.records import Record

# Fields with their direction; True: descending.
Order = tuple[tuple[str, bool], ...]
SortKey = Callable[[Record], Any]

SORTABLE: dict[str, SortKey] = {
    "europeana_id": lambda record: record.id,
    "timestamp_update": lambda record: record.updated,
    "timestamp_created": lambda record: record.created,
    "timestamp": lambda record: record.updated,
    "YEAR": lambda record: "" if record.row.year is None else str(record.row.year),
    "contentTier": content_tier,
    "metadataTier": lambda record: "A",
    "COMPLETENESS": lambda record: 0,
    "score": lambda record: 0,
}


class Hits(Protocol):
    """What a query found, in its order."""

    def __len__(self) -> int:
        """How many records match."""

    def page(self, offset: int, rows: int) -> list[Record]:
        """Some of them."""

    def after(self, record: Record) -> int:
        """How many stand before or at a record, which need not be among them: a mark is a place, not a hit."""

    def counts(self, name: str, values: Values) -> Counter[str]:
        """How often each value of a field occurs."""


class RecordIndex(Protocol):
    """Something that can be searched."""

    def find(self, node: Node, order: Order) -> Hits:
        """All matches; raises QuerySyntaxError for fields that do not exist."""


class ListedHits:
    """Records in a tuple."""

    def __init__(self, records: Sequence[Record], order: Order) -> None:
        self._records = _sorted(records, order)
        self._order = order

    def __len__(self) -> int:
        """How many records match."""
        return len(self._records)

    def page(self, offset: int, rows: int) -> list[Record]:
        """Some of them."""
        return self._records[offset : offset + rows]

    def after(self, record: Record) -> int:
        """How many stand before or at a record."""
        for position, other in enumerate(self._records):
            if other.id == record.id:
                return position + 1
        return _sorted([*self._records, record], self._order).index(record)

    def counts(self, name: str, values: Values) -> Counter[str]:
        """How often each value of a field occurs."""
        return Counter(value for record in self._records for value in values(record))


class ListedIndex:
    """An index that looks at every record."""

    def __init__(self, records: Mapping[str, Record]) -> None:
        self._records = records

    def find(self, node: Node, order: Order) -> Hits:
        """All matches in order; what is equal keeps the order of the collection."""
        matches = predicate(node)
        return ListedHits([record for record in self._records.values() if matches(record)], order)


def _sorted(records: Sequence[Record], order: Order) -> list[Record]:
    found = list(records)
    for field, descending in reversed(order):
        found.sort(key=_sort_key(field), reverse=descending)
    return found


def _sort_key(field: str) -> SortKey:
    if field.startswith("random"):
        return lambda record: hashlib.sha256(f"{field}{record.id}".encode()).digest()
    return SORTABLE[field]
