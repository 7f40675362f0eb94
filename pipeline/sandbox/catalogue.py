"""All records of one sandbox: the collection's own, or as many computed ones as are asked for.

A few ids and pictures beyond the ordinary ones exist for the Record API alone (`Kind`, `MOVED`, `DEPUBLISHED` in
`records`); searches, counts and `edmIsShownBy` know nothing of them.
"""

from collections.abc import Mapping

from pipeline.collection import Collection
from pipeline.sandbox.listed import ListedIndex, RecordIndex
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.records import (
    DEPUBLISHED,
    MANY_VIEWS,
    MOVED,
    Kind,
    Record,
    first_moment,
    fold,
    iso,
    make_record,
    md5,
    updated,
)
from pipeline.sandbox.virtual import VirtualIndex, VirtualRecords

__all__ = ["Catalogue", "Record", "fold", "iso"]


class Catalogue:
    """All records, by id, by picture path, by the picture's address and by its MD5 (thumbnail key)."""

    def __init__(self, collection: Collection, options: SandboxOptions) -> None:
        day = first_moment(options)
        records = {
            row.record_id: make_record(row, collection.image_path(row), options, updated(row.record_id, day), number)
            for number, row in enumerate(collection.rows)
        }
        shown = [record for record in records.values() if record.shown_by]
        self.records: Mapping[str, Record] = records
        self.by_media: Mapping[str, Record] = {record.shown_by.partition("/media/")[2]: record for record in shown}
        self.by_address: Mapping[str, Record] = {record.shown_by: record for record in shown}
        self.by_md5: Mapping[str, Record] = {md5(record.shown_by): record for record in shown}
        self.index: RecordIndex = ListedIndex(self.records)
        # The pictures to which records with many views point: the first ones of the collection.
        self.views = tuple(record.shown_by for record in shown[: MANY_VIEWS + 1])
        if options.records is not None:
            self._compute(VirtualRecords(tuple(records.values()), options.records, options))

    def _compute(self, records: VirtualRecords) -> None:
        """Replace the collection's records by as many computed ones as are wanted."""
        self.records = records
        self.by_media, self.by_address, self.by_md5 = records.by_media, records.by_address, records.by_md5
        self.index = VirtualIndex(records)
        self.views = records.views(MANY_VIEWS + 1)

    def moved(self, record_id: str) -> Record | None:
        """The record to which an id was moved (contract 2.2), if it was."""
        return self.records.get(record_id.removesuffix(MOVED)) if record_id.endswith(MOVED) else None

    def depublished(self, record_id: str) -> Record | None:
        """What stood under an id whose tombstone remains (contract 2.2)."""
        return self.records.get(record_id.removesuffix(DEPUBLISHED)) if record_id.endswith(DEPUBLISHED) else None

    def other_views(self, record: Record) -> tuple[str, ...]:
        """`hasView`: pictures of other records, never the record's own."""
        if record.kind is not Kind.MANY_VIEWS:
            return ()
        return tuple(address for address in self.views if address != record.shown_by)[:MANY_VIEWS]
