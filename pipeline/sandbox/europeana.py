"""Europeana's Search and Record APIs (Europeana contract sections 1 and 2), with the Entity API beside them."""

import base64
import binascii
import hashlib
import re
from functools import lru_cache
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.sandbox import facets
from pipeline.sandbox.access import Gate, Refusal
from pipeline.sandbox.catalogue import Catalogue
from pipeline.sandbox.entity import Entities
from pipeline.sandbox.items import ItemView, relevance
from pipeline.sandbox.listed import Hits, Order
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.query import And, Node, QuerySyntaxError
from pipeline.sandbox.record_view import RecordView, cache_headers, is_another, is_unchanged, tombstone
from pipeline.sandbox.records import Record
from pipeline.sandbox.search_request import Search, bucket_node, echo, invalid_query, parameters_of, read_search
from pipeline.vocabulary import Vocabulary

# Makes every mark hold `+`, `/` and (by its length) `=`, so that a client which forgets to encode it is found out.
_MARK_PREFIX = b"\xfb\xff\xbf"
_SEARCH_PATHS = ("/record/v2/search.json", "/record/search.json", "/api/v2/search.json")
_RECORD_PATHS = ("/record/v2", "/record", "/api/v2/record", "/v2/record")
_ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_ACCEPTED = ("*/*", "application/*", "application/json")
# Remembered result lists hold a number of four bytes for each computed record.
_REMEMBERED = 64
_REMEMBERED_NUMBERS = 16_000_000


class Europeana:
    """The APIs over one catalogue."""

    def __init__(self, catalogue: Catalogue, vocabulary: Vocabulary, gate: Gate, options: SandboxOptions) -> None:
        self._catalogue = catalogue
        self._gate = gate
        self._items = ItemView(options.public_url)
        self._records = RecordView(catalogue, self._items)
        self._entities = Entities(vocabulary, gate, options)
        # The catalogue never changes, so the same question always has the same answer, also while paging through it.
        remembered = max(2, min(_REMEMBERED, _REMEMBERED_NUMBERS // max(1, len(catalogue.records))))
        self._found = lru_cache(maxsize=remembered)(catalogue.index.find)

    def routes(self) -> list[Route]:
        """All routes; search and record also under their older paths (contract 1.1, 2.1)."""
        search = self._gate.guarded(self._search, self._gate.refuse)
        record = self._gate.guarded(self._record, self._gate.refuse)
        return [
            *(Route(f"/europeana{path}", search, methods=_ALL_METHODS) for path in _SEARCH_PATHS),
            *(Route(f"/europeana{path}/{{dataset}}/{{local}}.json", record, methods=_ALL_METHODS) for path in _RECORD_PATHS),
            *self._entities.routes(),
        ]

    # Search

    async def _search(self, request: Request, key: str) -> Response:
        _check_method(request, "GET", "HEAD", "POST")
        parameters = await parameters_of(request)
        has_token = request.headers.get("authorization", "").lower().startswith("bearer ")
        search = read_search(parameters, has_token=has_token)
        try:
            # Away from the event loop: a query that no one asked before looks at every record.
            body = await run_in_threadpool(self._envelope, search, key)
        except QuerySyntaxError as error:
            raise invalid_query(error) from error
        return self._padded(self._gate.reply(body), parameters.get("callback"))

    def _envelope(self, search: Search, key: str) -> dict[str, Any]:
        """The reply's fields (contract 1.7)."""
        hits = self._find(search.node, search.order)
        offset = search.start - 1 if search.cursor is None else self._offset(hits, search.cursor, search.sort)
        found = hits.page(offset, search.rows)
        body: dict[str, Any] = {
            **({"apikey": key} if key else {}),
            "success": True,
            "requestNumber": 999,
            "itemsCount": len(found),
            "totalResults": len(hits),
        }
        if search.cursor is not None and found:
            mark = _mark(found[-1], search.sort)
            # The server compares the two marks without regard to case (contract 1.6).
            if mark.lower() != search.cursor.lower():
                body["nextCursor"] = mark
        body["items"] = [self._item(record, key, search) for record in found]
        return body | self._extras(search, hits)

    def _find(self, node: Node, order: Order) -> Hits:
        return self._found(node, order)

    def _item(self, record: Record, key: str, search: Search) -> dict[str, Any]:
        score = relevance(record) if search.cursor is None else 1.0
        without = search.without_language_free
        return self._items.item(record, key, search.profile, score, without_language_free=without)

    def _extras(self, search: Search, hits: Hits) -> dict[str, Any]:
        """What further words of the profile add."""
        extras: dict[str, Any] = {}
        if search.profile & {"facets", "portal"}:
            found = facets.facets(search.parameters, hits)
            if buckets := search.buckets:
                order = (("europeana_id", False),)
                found.append(
                    facets.ranges(
                        buckets, lambda n: len(self._catalogue.index.find(And((search.node, bucket_node(buckets, n))), order))
                    )
                )
            if found:
                extras["facets"] = found
        if "params" in search.profile:
            extras["params"] = echo(search)
        return extras

    def _offset(self, hits: Hits, cursor: str, sort: str) -> int:
        """Where the page after a mark begins; the mark names the last record of the page before."""
        if cursor == "*":
            return 0
        text = "Please make sure you encode the cursor value before sending it to the API."
        refusal = Refusal(400, "Invalid cursor", code="400-SC", message=text)
        try:
            content = base64.b64decode(cursor, validate=True)
            record = self._catalogue.records.get(content[6:].decode().rstrip(" "))
        except (binascii.Error, ValueError) as error:
            raise refusal from error
        if record is None or content[:6] != _MARK_PREFIX + hashlib.sha256(sort.encode()).digest()[:3]:
            raise refusal
        return hits.after(record)

    def _padded(self, response: Response, callback: str | None) -> Response:
        """JSONP (contract 1.1)."""
        if not callback or not re.fullmatch(r"[A-Za-z_$][\w$.]*", callback, re.ASCII):
            return response
        headers = {name: value for name, value in response.headers.items() if name not in ("content-type", "content-length")}
        content = f"{callback}({bytes(response.body).decode()});"
        return Response(content, response.status_code, headers, media_type="application/javascript")

    # Record

    async def _record(self, request: Request, key: str) -> Response:
        """One record; a moved id answers with the record under its new one, a depublished one with 410 (contract 2.2)."""
        _check_method(request, "GET", "HEAD")
        record_id = f"/{request.path_params['dataset']}/{request.path_params['local']}"
        profile = request.query_params.get("profile", "")
        if "translate" in profile and not request.headers.get("authorization", "").lower().startswith("bearer "):
            raise Refusal(403, "Translation is only available with a token")
        record = self._catalogue.records.get(record_id) or self._catalogue.moved(record_id)
        echoed = {"apikey": key} if key else {}
        if record is None and (gone := self._catalogue.depublished(record_id)):
            body = {**echoed, "success": True, "statsDuration": 1, "requestNumber": 999, "object": tombstone(gone, record_id)}
            return self._gate.reply(body, status=410)
        if record is None:
            body = {**echoed, "success": False, "error": f"Invalid record identifier: {record_id}"}
            return self._gate.reply(body, status=404)
        headers = cache_headers(record)
        if is_another(request, headers["ETag"]):
            return Response(status_code=412, headers={**headers, **self._gate.headers()})
        if is_unchanged(request, record, headers["ETag"]):
            return Response(status_code=304, headers={**headers, **self._gate.headers()})
        described = await run_in_threadpool(self._records.object, record)
        body = {**echoed, "success": True, "statsDuration": 1, "requestNumber": 999, "object": described}
        return self._gate.reply(body, headers=headers)


def _check_method(request: Request, *allowed: str) -> None:
    """405 and 406, both without a code (contract 1.9)."""
    if request.method not in allowed:
        raise Refusal(405, f"Request method '{request.method}' not supported")
    accepted = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "*/*").split(",")]
    if not any(part in _ACCEPTED or not part for part in accepted):
        raise Refusal(406, "Could not find acceptable representation")


def _mark(record: Record, sort: str) -> str:
    content = _MARK_PREFIX + hashlib.sha256(sort.encode()).digest()[:3] + record.id.encode()
    if len(content) % 3 == 0:
        content += b" "
    return base64.b64encode(content).decode()
