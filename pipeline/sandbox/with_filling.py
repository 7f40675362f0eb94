"""How collections of the WITH stand-in are made and filled (WITH contract 2.5)."""

import asyncio
import re
from collections.abc import Coroutine
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pipeline.sandbox.catalogue import Catalogue
from pipeline.sandbox.listed import Hits
from pipeline.sandbox.state import State
from pipeline.sandbox.with_accounts import Accounts
from pipeline.sandbox.with_collections import Collections
from pipeline.sandbox.with_common import Table, WithError, integer, json_object, needed
from pipeline.sandbox.with_rights import Access
from pipeline.sandbox.with_search import Search

# Items are fetched from Europeana in groups of this size, with a pause: the collection grows while one looks.
_IMPORT_GROUP = 20
_IMPORT_PAUSE_S = 0.02
_IMPORT_LIMIT = 100


class Filling:
    """The calls `/collection/import…`."""

    def __init__(
        self,
        state: State,
        catalogue: Catalogue,
        accounts: Accounts,
        access: Access,
        collections: Collections,
        search: Search,
    ) -> None:
        self._state = state
        self._catalogue = catalogue
        self._accounts = accounts
        self._access = access
        self._collections = collections
        self._search = search
        self._imports: set[asyncio.Task[None]] = set()

    def table(self) -> Table:
        """Method, path and handler of each call."""
        return [
            ("POST", "/collection/importItems", self._import_items),
            ("POST", "/collection/importIDs", self._import_ids),
            ("POST", "/collection/importSearch", self._import_search),
            ("POST", "/collection/importGallery", self._import_gallery),
            ("GET", "/collection/importEuropeanaCollection", self._import_dataset),
        ]

    async def stop(self) -> None:
        """End the imports that still run; their collections stay as they are."""
        for task in self._imports:
            task.cancel()
        await asyncio.gather(*self._imports, return_exceptions=True)

    async def _import_items(self, request: Request) -> Response:
        """Answers at once; the collection fills later, without the ids that Europeana does not know (2.5)."""
        name = self._accounts.known_user(request)
        form = await json_object(request)
        items = form.get("itemIds")
        if not isinstance(items, list):
            raise WithError(400, "Invalid JSON")
        identifier = self._named(form.get("collectionName"), name)
        self._later(self._fill(identifier, [str(item) for item in items]))
        return self._started(request, identifier)

    async def _import_ids(self, request: Request) -> Response:
        name = self._accounts.known_user(request)
        label, ids = needed(request, "cname"), re.split(r"[\s,]+", needed(request, "ids"))
        wanted = ids if needed(request, "source") == "Europeana" else []
        identifier = self._named(label, name)
        self._later(self._fill(identifier, wanted))
        return self._started(request, identifier)

    async def _import_search(self, request: Request) -> Response:
        """The first 20 are there when the answer comes, the rest follows; -1 is everything (2.5)."""
        name = self._accounts.known_user(request)
        form = await json_object(request)
        query, limit = form.get("query"), form.get("limit", _IMPORT_LIMIT)
        if not isinstance(query, dict) or not isinstance(limit, int):
            raise WithError(400, "Invalid JSON")
        hits = await run_in_threadpool(self._search.find, query)
        return self._filled(request, self._named(form.get("collectionName"), name), hits, limit)

    async def _import_gallery(self, request: Request) -> Response:
        """There are no galleries here; a dataset's number stands for one that holds the dataset."""
        name = self._accounts.known_user(request)
        hits = await self._dataset(needed(request, "userGalleryId"))
        return self._filled(request, self._named(needed(request, "collectionName"), name), hits, -1)

    async def _import_dataset(self, request: Request) -> Response:
        name = self._accounts.known_user(request)
        dataset, limit = needed(request, "id"), integer(request, "limit", _IMPORT_LIMIT)
        return self._filled(request, self._named(dataset, name), await self._dataset(dataset), limit)

    async def _dataset(self, number: str) -> Hits:
        # A number alone: what is none finds no dataset, and cannot become a query of its own.
        term = f'edm_datasetName:"{re.sub(r"[^A-Za-z0-9]", "-", number)}_sandbox"'
        return await run_in_threadpool(self._search.find, {"source": ["Europeana"], "searchTerm": term})

    def _filled(self, request: Request, identifier: str, hits: Hits, limit: int) -> Response:
        reach = len(hits) if limit < 0 else min(limit, len(hits))
        self._put(identifier, _ids(hits, 0, reach))
        self._later(self._fill_from(identifier, hits, reach))
        return self._started(request, identifier)

    async def _fill_from(self, collection_id: str, hits: Hits, reach: int) -> None:
        for start in range(_IMPORT_GROUP, reach, _IMPORT_GROUP):
            await asyncio.sleep(_IMPORT_PAUSE_S)
            self._put(collection_id, _ids(hits, start, reach))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._imports.add(task)
        task.add_done_callback(self._imports.discard)

    def _started(self, request: Request, identifier: str) -> Response:
        level = self._access.level(self._accounts.user(request), identifier)
        return JSONResponse({**self._collections.body(identifier), "myAccess": level})

    async def _fill(self, collection_id: str, record_ids: list[str]) -> None:
        for start in range(0, len(record_ids), _IMPORT_GROUP):
            await asyncio.sleep(_IMPORT_PAUSE_S)
            self._put(collection_id, record_ids[start : start + _IMPORT_GROUP])

    def _put(self, collection_id: str, record_ids: list[str]) -> None:
        known = [item for item in record_ids if item in self._catalogue.records]
        with self._state.transaction():
            for record_id in known:
                self._collections.add_entry(collection_id, record_id)

    def _named(self, label: object, owner: str) -> str:
        """The collection with this label, whoever owns it, or a new one."""
        if not isinstance(label, str) or not label:
            raise WithError(400, "Invalid JSON")
        row = self._state.one("SELECT id FROM with_collection WHERE label = ?", (label,))
        return str(row[0]) if row else self._collections.new(label, owner)


def _ids(hits: Hits, start: int, reach: int) -> list[str]:
    """One group of a search's ids."""
    return [record.id for record in hits.page(start, min(_IMPORT_GROUP, reach - start))]
