"""Search on the WITH stand-in: the old and the new form over the catalogue (WITH contract 2.1 to 2.4).

Of the sources only Europeana holds anything. Two others show how a source fails; the rest does not answer.
"""

import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pipeline.sandbox.catalogue import Catalogue, Record
from pipeline.sandbox.fields import Values
from pipeline.sandbox.listed import Hits
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.query import And, Node, Or, QuerySyntaxError, Range, Term, parse_query
from pipeline.sandbox.with_common import Table, WithError, json_object, needed
from pipeline.sandbox.with_records import Records
from pipeline.sandbox.with_rights import RIGHTS_BY_CATEGORY, rights_name

# The platform puts its own upstream key into the replies of the old search (contract 2.2): clients must not log it.
UPSTREAM_KEY = "canary-upstream-key-never-log-this"
_EUROPEANA = "Europeana"
_SOURCES = (
    _EUROPEANA,
    "EuropeanaFashion",
    "The British Library",
    "Internet Archive",
    "Deutsche Digitale Bibliothek",
    "DigitalNZ",
    "Digital Public Library of America",
    "Youtube",
    "National Library of Australia",
    "Rijksmuseum",
    "Historypin",
    "WITHin",
)
_FAILING = {"Historypin": "TIMEOUT", "DigitalNZ": "SERVER_ERROR"}
_CONTINUATION_IDLE_S = 10.0
_ORDER = (("timestamp_update", True), ("europeana_id", False))
_MODES = ("NONE", "SOME", "DEFAULT", "ALL")


@dataclass(frozen=True)
class Field:
    """How a field of the platform is asked at Europeana. `values` are what facets count."""

    upstream: str
    values: Values = lambda record: ()
    quoted: bool = True
    change: Callable[[str], str] = str


def _year(record: Record) -> tuple[str, ...]:
    return () if record.row.year is None else (str(record.row.year),)


_FIELDS: dict[str, Field] = {
    "anywhere": Field("text", quoted=False),
    "media.type": Field("TYPE", lambda record: ("IMAGE",), change=str.upper),
    "media.withRights": Field("RIGHTS", lambda record: (rights_name(record.row.rights),)),
    "media.mimeType": Field("MIME_TYPE", quoted=False),
    "IMAGE_SIZE": Field("IMAGE_SIZE", quoted=False),
    "IMAGE_COLOUR": Field("IMAGE_COLOUR", quoted=False),
    "hasImage": Field("has_media", change=str.lower),
    "provenance.provider": Field("PROVIDER", lambda record: (record.row.provider,)),
    "provenance.dataprovider": Field("DATA_PROVIDER", lambda record: (record.row.data_provider,)),
    "descriptiveData.dccreator": Field("who", lambda record: (record.row.creator,)),
    "descriptiveData.country": Field("COUNTRY", lambda record: ("Europe",)),
    "descriptiveData.dcdate.year": Field("YEAR", _year),
}


class _Nothing:
    """What a source holds that is not there."""

    def __len__(self) -> int:
        return 0

    def page(self, offset: int, rows: int) -> list[Record]:
        return []

    def after(self, record: Record) -> int:
        return 0

    def counts(self, name: str, values: Values) -> Counter[str]:
        return Counter()


@dataclass
class _Continuation:
    hits: Hits
    start: int
    count: int
    used: float


class Search:
    """The search calls, and the one search that imports use."""

    def __init__(self, catalogue: Catalogue, records: Records, options: SandboxOptions) -> None:
        self._catalogue = catalogue
        self._records = records
        self._url = options.public_url
        self._continuations: dict[str, _Continuation] = {}

    def table(self) -> Table:
        """Method, path and handler of each call."""
        return [
            ("GET", "/api/searchsources", self._sources),
            ("POST", "/api/search", self._search),
            ("POST", "/api/advancedsearch", self._advanced),
            ("POST", "/api/search2", self._search2),
            ("GET", "/api/getrightsbycategory", self._rights),
        ]

    def find(self, query: dict[str, Any]) -> Hits:
        """All records of a CommonQuery, in the standard order; what cannot be read is 400 (2.2, 2.4)."""
        if _EUROPEANA not in _texts(query.get("source")):
            return _Nothing()
        nodes = [_parsed(str(query.get("searchTerm") or "*:*"))]
        for given in query.get("filters") or []:
            values = _texts(given.get("values")) if isinstance(given, dict) else []
            if values and given.get("filterID") in _FIELDS:
                nodes.append(Or(tuple(_value(str(given["filterID"]), value) for value in values)))
        if query.get("hasMedia") in (True, "true"):
            nodes.append(_value("hasImage", "true"))
        # The tail goes into the upstream address as it is, so its filters count like ours.
        nodes += [_parsed(value) for name, value in parse_qsl(str(query.get("tail") or "")) if name == "qf"]
        return self._matching(And(tuple(nodes)))

    def _matching(self, node: Node) -> Hits:
        try:
            return self._catalogue.index.find(node, _ORDER)
        except QuerySyntaxError as error:
            raise WithError(400, str(error)) from error

    async def _sources(self, request: Request) -> Response:
        europeana = {"id": _EUROPEANA, "supportedFields": list(_FIELDS), "apiConsole": f"{self._url}/europeana/record/v2"}
        others: list[dict[str, Any]] = [{"id": name, "supportedFields": ["anywhere"]} for name in _SOURCES[1:]]
        return JSONResponse([europeana, *others])

    # The old search

    async def _search(self, request: Request) -> Response:
        answers = await self._answers(request)
        return JSONResponse(answers) if answers else Response(status_code=204)

    async def _advanced(self, request: Request) -> Response:
        answers = await self._answers(request)
        filters = [one for answer in answers for one in answer["filters"]]
        return JSONResponse({"responses": answers, "filters": filters}) if answers else Response(status_code=204)

    async def _answers(self, request: Request) -> list[dict[str, Any]]:
        query = await json_object(request)
        page, size = _positive(query.get("page", "1")), _positive(query.get("pageSize", "20"))
        mode = query.get("facetsMode", "DEFAULT")
        if mode not in _MODES:
            raise WithError(400, f"Unknown facetsMode {mode}")
        answers = []
        for source in dict.fromkeys(_texts(query.get("source"))):
            if source == _EUROPEANA:
                hits = await run_in_threadpool(self.find, query)
                answers.append(self._answer(query, hits, page, size, with_filters=mode != "NONE"))
            elif source in _FAILING:
                answers.append(_failed(source))
        return answers

    def _answer(self, query: dict[str, Any], hits: Hits, page: int, size: int, *, with_filters: bool) -> dict[str, Any]:
        start = (page - 1) * size
        items = [self._item(record) for record in hits.page(start, size)]
        term = quote(str(query.get("searchTerm") or ""))
        upstream = f"{self._url}/europeana/record/v2/search.json?wskey={UPSTREAM_KEY}&query={term}"
        return {
            "source": _EUROPEANA,
            # With the platform's own key, start counted from 1, and the client's tail as it came.
            "query": f"{upstream}&start={start + 1}&rows={size}&profile=rich%20facets{query.get('tail') or ''}",
            "totalCount": len(hits),
            "startIndex": start,
            "count": len(items),
            "items": {"culturalCHO": items, "recordResource": [], "itemsCount": len(items)},
            "filters": _filters(hits) if with_filters else [],
            "error": None,
        }

    def _item(self, record: Record) -> dict[str, Any]:
        administrative = {"externalId": record.id, "access": {"isPublic": True, "acl": []}}
        described = self._records.description(record, "ALL")
        return {"administrative": administrative, "resourceType": "CulturalObject", **described}

    # The new search

    async def _search2(self, request: Request) -> Response:
        query = await json_object(request)
        if identifier := query.get("continuationId"):
            return JSONResponse(self._continued(str(identifier), query))
        start, count = query.get("start", 0), query.get("count", 20)
        if not all(isinstance(number, int) and number >= 0 for number in (start, count)):
            raise WithError(400, "Invalid JSON")
        sources = _texts(query.get("sources"))
        nodes = _conjunction(query.get("filters"))
        # A source that supports none of the filters is not asked at all.
        hits = await run_in_threadpool(self._matching, And(tuple(nodes))) if _EUROPEANA in sources and nodes else None
        if hits is not None and count == 0:
            raise WithError(500, "/ by zero")
        results = [] if hits is None else [self._result(query, hits, start, count)]
        results += [
            {"source_id": source, "totalCount": 0, "items": [], "facets": {}, "error": _FAILING[source]}
            for source in sources
            if source in _FAILING
        ]
        body = self._envelope(query, sources, results)
        if query.get("continuation") is True and hits is not None:
            body["continuationId"] = self._open(hits, start + count, count)
        return JSONResponse(body)

    def _result(self, query: dict[str, Any], hits: Hits, start: int, count: int) -> dict[str, Any]:
        items = [self._item(record) for record in hits.page(start, count)]
        facets = {name: _counted(hits, _FIELDS[name]) for name in _texts(query.get("facets")) if name in _FIELDS}
        return {
            "source_id": _EUROPEANA,
            "totalCount": len(hits),
            "start": start,
            "count": len(items),
            "page": start // count + 1,
            "pageSize": count,
            "items": items,
            "facets": facets,
            "counts": {},
            "error": None,
        }

    def _envelope(self, query: dict[str, Any], sources: list[str], results: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "results": results,
            "sources_ids": [source for source in sources if source in _SOURCES],
            "accumulatedValues": {},
            "continuationId": None,
            "query": query,
        }

    def _open(self, hits: Hits, start: int, count: int) -> str:
        identifier = str(uuid.uuid4())
        now = time.monotonic()
        alive = {name: one for name, one in self._continuations.items() if now - one.used <= _CONTINUATION_IDLE_S}
        self._continuations = {**alive, identifier: _Continuation(hits, start, count, now)}
        return identifier

    def _continued(self, identifier: str, query: dict[str, Any]) -> dict[str, Any]:
        going, now = self._continuations.pop(identifier, None), time.monotonic()
        if going is None or now - going.used > _CONTINUATION_IDLE_S:
            raise WithError(400, "Unknown UUID for request. Probably expired!")
        result = self._result(query, going.hits, going.start, going.count)
        going.start, going.used = going.start + going.count, now
        self._continuations[identifier] = going
        return {**self._envelope(query, [_EUROPEANA], [result]), "continuationId": identifier}

    async def _rights(self, request: Request) -> Response:
        category = needed(request, "category")
        if category not in RIGHTS_BY_CATEGORY:
            raise WithError(400, f"Unknown category {category}")
        return JSONResponse(list(RIGHTS_BY_CATEGORY[category]))


def _conjunction(filters: object) -> list[Node]:
    """Every group must hold, one filter of it suffices; unknown fields and further `anywhere` values drop out (2.3)."""
    if not isinstance(filters, list):
        raise WithError(400, "Invalid JSON")
    nodes: list[Node] = []
    free_text_seen = False
    for group in filters:
        alternatives: list[Node] = []
        for one in group if isinstance(group, list) else []:
            name = one.get("fieldId") if isinstance(one, dict) else None
            if name not in _FIELDS or (name == "anywhere" and free_text_seen):
                continue
            free_text_seen |= name == "anywhere"
            if "from" in one or "to" in one:
                alternatives.append(_range(str(name), one.get("from"), one.get("to")))
            elif one.get("value") is not None:
                alternatives.append(_value(str(name), str(one["value"])))
        if alternatives:
            nodes.append(Or(tuple(alternatives)))
    return nodes


def _range(name: str, low: object, high: object) -> Node:
    lower, upper = (None if bound in (None, "") else str(bound) for bound in (low, high))
    return Range(_FIELDS[name].upstream, lower, upper, includes_low=True, includes_high=True)


def _value(name: str, value: str) -> Node:
    """One filter value. The search term is Lucene as it comes; a licence is named by the platform's name or its URI."""
    field = _FIELDS[name]
    if name == "anywhere":
        return _parsed(value)
    if name == "media.withRights" and not value.startswith("http"):
        return Or(tuple(Term("RIGHTS", "", glob=pattern) for pattern in _RIGHTS_PATTERNS.get(value, ("-",))))
    return Term(field.upstream, field.change(value), quoted=field.quoted)


_RIGHTS_PATTERNS = {
    "Public": ("*/publicdomain/mark/*",),
    "PublicCC0": ("*/publicdomain/zero/*",),
    "Creative_BY": ("*/licenses/by/*",),
    "Creative_BY_SA": ("*/licenses/by-sa/*",),
    "Creative_BY_NC": ("*/licenses/by-nc/*",),
    "Creative_BY_ND": ("*/licenses/by-nd/*",),
    "InC": ("*/vocab/InC/*", "*/vocab/InC-OW-EU/*"),
    "InC_EDU": ("*/vocab/InC-EDU/*",),
    "NoC_NC": ("*/vocab/NoC-NC/*",),
    "CNE": ("*/vocab/CNE/*",),
}


def _parsed(text: str) -> Node:
    try:
        return parse_query(text)
    except QuerySyntaxError as error:
        raise WithError(400, str(error)) from error


def _texts(values: object) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _positive(text: object) -> int:
    """`page` and `pageSize` are strings; the platform fails over anything that is no number."""
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > 6 or int(text) == 0:
        raise WithError(400, f'For input string: "{text}"')
    return int(text)


def _failed(source: str) -> dict[str, Any]:
    items = {"culturalCHO": [], "recordResource": [], "itemsCount": 0}
    counts = {"totalCount": 0, "startIndex": 0, "count": 0}
    return {"source": source, "query": "", **counts, "items": items, "filters": [], "error": _FAILING[source]}


def _filters(hits: Hits) -> list[dict[str, Any]]:
    counted = ((name, _counted(hits, field)) for name, field in _FIELDS.items())
    return [{"filterID": name, "filterName": name, "suggestedValues": values} for name, values in counted if values]


def _counted(hits: Hits, field: Field) -> list[dict[str, Any]]:
    counts = hits.counts(field.upstream, field.values)
    return [{"value": value, "count": count} for value, count in counts.most_common(50) if value]
