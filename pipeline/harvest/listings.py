"""Listings: the pages of one slice from Europeana, from WITH or from a folder, and how to read what stands on them.

All of them yield pages with a cursor from which another process can go on.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from pipeline.clients.europeana import BY_ID, START, Page, Query, SearchClient, hit
from pipeline.clients.with_platform import WithClient
from pipeline.collection import CollectionRow, read_collection
from pipeline.domain.identifiers import RECORD_ID, dataset_id
from pipeline.domain.outcome import Outcome, OutcomeRow, Reason
from pipeline.domain.record import Record
from pipeline.domain.rights import rights_category
from pipeline.domain.scope import Selection
from pipeline.errors import BudgetSpent, TransientError
from pipeline.harvest.parse import STAGE, media_files, parse_item
from pipeline.harvest.parse_record import gone, parse_object
from pipeline.harvest.parse_with import parse_with_record
from pipeline.harvest.slices import any_of, id_groups

Result = Record | OutcomeRow
WITH_GROUP = 20  # what scripts in the wild ask for at once (WITH contract §2.7)
FOLDER_PAGE = 500
RECORDS_AT_ONCE = 4  # parallel calls of the Record API
MOST_NOT_SERVED = 3  # records of a page; more are the API's trouble


class Listing(Protocol):
    """One slice's records, page by page."""

    def pages(self, cursor: str | None, walk: int) -> Iterator[Page]:
        """Pages from a cursor on; None is the beginning. The second walk may take another way."""

    def read(self, item: Any) -> Result:
        """An item of a page as a record or an outcome row; never raises."""

    def details(self, results: Sequence[Result]) -> Iterable[list[Result]]:
        """For each result what more can be told of it: mostly itself, in a list."""

    def total(self) -> int | None:
        """How many there should be, asked once more; None where the pages have said it for good."""

    def still_there(self, record_ids: Sequence[str]) -> Iterator[list[Result]]:
        """For ids that are not in the listing any more: rows for those that are gone or moved, nothing for one that lives."""


@dataclass
class QueryListing:
    """The hits of a search, by cursor; with `with_details`, each of them through the Record API."""

    client: SearchClient
    query: Query
    sort: str = BY_ID
    with_details: bool = False

    def pages(self, cursor: str | None, walk: int) -> Iterator[Page]:
        sort = BY_ID if walk > 1 else self.sort
        asked = self.query
        yield from self.client.pages(
            asked.query, asked.filters, reusability=asked.reusability, cursor=cursor or START, sort=sort
        )

    def read(self, item: Any) -> Result:
        return item if isinstance(item, Record | OutcomeRow) else parse_item(hit(item))

    def details(self, results: Sequence[Result]) -> Iterable[list[Result]]:
        return detailed(self.client, results) if self.with_details else ([result] for result in results)

    def total(self) -> int | None:
        return self.client.count(self.query)

    def still_there(self, record_ids: Sequence[str]) -> Iterator[list[Result]]:
        for group in id_groups(record_ids):
            found = {item.get("id") for item in _hits(self.client, group) if isinstance(item, dict)}
            missing = [record_id for record_id in group if record_id not in found]
            for record_id, results in zip(missing, looked_up_all(self.client, missing), strict=True):
                lives = isinstance(results[0], Record) and results[0].record_id == record_id
                yield [] if lives else results


@dataclass
class IdsListing:
    """Records by id, in groups; the ids that the search does not know are asked of the Record API one by one."""

    client: SearchClient
    ids: Callable[[], Iterator[str]]
    count: int
    with_details: bool = False

    def pages(self, cursor: str | None, walk: int) -> Iterator[Page]:
        done = int(cursor or 0)
        for group in id_groups(islice(self.ids(), done, None)):
            asked = [record_id for record_id in group if RECORD_ID.fullmatch(record_id)]
            hits = _hits(self.client, asked) if asked else []
            found = {item.get("id") for item in hits if isinstance(item, dict)}
            items: list[Any] = list(hits)
            missing = [record_id for record_id in group if record_id not in found]
            items += [result for results in looked_up_all(self.client, missing) for result in results]
            done += len(group)
            yield Page(items, self.count, str(done), str(done - len(group)))

    def read(self, item: Any) -> Result:
        return item if isinstance(item, Record | OutcomeRow) else parse_item(item)

    def details(self, results: Sequence[Result]) -> Iterable[list[Result]]:
        return detailed(self.client, results) if self.with_details else ([result] for result in results)

    def total(self) -> int | None:
        return None

    def still_there(self, record_ids: Sequence[str]) -> Iterator[list[Result]]:
        yield from ([] for _ in record_ids)  # whoever asks by id is told of each


@dataclass
class WithListing:
    """A collection of WITH: one there, or one that it fills for us from a query or a gallery (WITH contract §2.5, §2.6)."""

    client: WithClient
    selection: Selection
    collection_name: str
    limit: int | None = None

    def pages(self, cursor: str | None, walk: int) -> Iterator[Page]:
        ids = self._record_ids()
        for at in range(int(cursor or 0), len(ids), WITH_GROUP):
            group = ids[at : at + WITH_GROUP]
            records = self.client.records(group)
            found = {record.get("dbId") for record in records}
            lost = [_not_there(db_id) for db_id in group if db_id not in found]
            yield Page([*records, *lost], len(ids), str(at + len(group)), str(at))
        if self.limit and self.selection.kind == "query" and self.client.count(self.selection.value) > len(ids):
            raise BudgetSpent(f"max_records: WITH was told to import {len(ids)} of the query's records")

    def read(self, item: Any) -> Result:
        return item if isinstance(item, OutcomeRow) else parse_with_record(item)

    def details(self, results: Sequence[Result]) -> Iterable[list[Result]]:
        return ([result] for result in results)

    def total(self) -> int | None:
        return None  # the list of ids was read at once

    def still_there(self, record_ids: Sequence[str]) -> Iterator[list[Result]]:
        for record_id in record_ids:
            yield [gone(record_id, "it is in the WITH collection no more")]

    def _record_ids(self) -> list[str]:
        """The collection's ids, read once: paging by offset is not stable there."""
        selection = self.selection
        if selection.kind == "with_collection":
            return self.client.collected_ids(selection.value)
        if selection.kind == "gallery":
            return self.client.collected_ids(self.client.import_gallery(self.collection_name, selection.value))
        filled = self.client.import_search(self.collection_name, selection.value, limit=self.limit)
        return self.client.collected_ids(filled)


class FolderListing:
    """A folder with `metadata.csv`: its rows as records whose images are files."""

    def __init__(self, folder: Path) -> None:
        self._collection = read_collection(folder)

    def pages(self, cursor: str | None, walk: int) -> Iterator[Page]:
        rows, skipped = self._collection.rows, self._collection.skipped
        start = int(cursor or 0)
        for at in range(start, max(len(rows), 1), FOLDER_PAGE):
            items: list[Any] = list(rows[at : at + FOLDER_PAGE])
            if at == 0:  # the bad lines once
                items += [_bad_line(line, problem) for line, problem in skipped]
            upto = min(at + FOLDER_PAGE, len(rows))
            yield Page(items, len(rows) + len(skipped), str(max(upto, 1)), str(at))

    def read(self, item: Any) -> Result:
        return item if isinstance(item, OutcomeRow) else self._record(item)

    def details(self, results: Sequence[Result]) -> Iterable[list[Result]]:
        return ([result] for result in results)

    def total(self) -> int | None:
        return None  # the file was read at once

    def still_there(self, record_ids: Sequence[str]) -> Iterator[list[Result]]:
        for record_id in record_ids:
            yield [gone(record_id, "it stands in metadata.csv no more")]

    def _record(self, row: CollectionRow) -> Record:
        path = self._collection.image_path(row)
        image_url = path.resolve().as_uri() if path else None
        category = rights_category(row.rights)
        return Record(
            record_id=row.record_id,
            dataset_id=dataset_id(row.record_id),
            title=row.title,
            titles={"def": [row.title]} if row.title else {},
            creators=(row.creator,) if row.creator else (),
            creator_names={"def": [row.creator]} if row.creator else {},
            year=row.year,
            media_type="IMAGE",
            provider=row.provider,
            data_provider=row.data_provider,
            rights=row.rights,
            rights_category=category,
            record_rights=row.rights,
            image_url=image_url,
            image_urls=(image_url,) if image_url else (),
            media=media_files({image_url: None}, row.rights) if image_url else (),
        )


def detailed(client: SearchClient, results: Sequence[Result]) -> list[list[Result]]:
    """Search hits as the Record API tells them, in their order; what has gone or moved meanwhile, as rows."""
    ids = [one.record_id for one in results if isinstance(one, Record)]
    told = dict(zip(ids, looked_up_all(client, ids), strict=True))
    return [told[one.record_id] if isinstance(one, Record) else [one] for one in results]


def looked_up_all(client: SearchClient, record_ids: Sequence[str]) -> list[list[Result]]:
    """What the Record API has of each id, a few at a time.

    A record that the API cannot serve is a row; when it can serve hardly any, the trouble is the API's, and is raised.
    """
    with ThreadPoolExecutor(RECORDS_AT_ONCE) as threads:
        asked = [threads.submit(looked_up, client, record_id) for record_id in record_ids]
    found: list[list[Result]] = []
    trouble: list[TransientError] = []
    for record_id, future in zip(record_ids, asked, strict=True):
        try:
            found.append(future.result())
        except TransientError as error:
            trouble.append(error)
            found.append([OutcomeRow(STAGE, record_id, record_id, Outcome.FAILED, Reason.HTTP_5XX, str(error))])
    if len(trouble) > max(MOST_NOT_SERVED, len(record_ids) // 10):
        raise trouble[0]
    return found


def looked_up(client: SearchClient, record_id: str) -> list[Result]:
    """A record by the Record API. One that has moved comes under its new id, with a row for the old one (§2.2)."""
    if not RECORD_ID.fullmatch(record_id):
        return [gone(record_id, "this is no record id: one has the form /dataset/local")]
    found = client.record(record_id)
    if found is None:
        return [gone(record_id, "the Record API answers 404 or 410")]
    result = parse_object(found)
    now = result.record_id
    if now is None or now == record_id:
        return [result]
    moved = OutcomeRow(STAGE, record_id, record_id, Outcome.SKIPPED, Reason.MOVED, f"the record answers as {now} now")
    return [result, moved]


def _hits(client: SearchClient, group: list[str]) -> list[Any]:
    """What the search has of some records; a group fits on one page."""
    return [hit(item) for item in client.page(Query(any_of(group))).items]


def _not_there(db_id: str) -> OutcomeRow:
    return OutcomeRow(STAGE, f"/with/{db_id}", f"/with/{db_id}", Outcome.GONE, Reason.GONE, "WITH lists it and has it not")


def _bad_line(line: int, problem: str) -> OutcomeRow:
    return OutcomeRow(STAGE, f"metadata.csv line {line}", None, Outcome.REJECTED, Reason.MISSING_FIELD, problem)
