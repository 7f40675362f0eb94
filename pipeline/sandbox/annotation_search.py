"""Reading many annotations: search, deleted ones, statistics (annotation contract section 8)."""

import json
import re
import sqlite3
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import Response

from pipeline.sandbox.annotation_access import AnnotationAccess
from pipeline.sandbox.annotation_body import CONTEXT
from pipeline.sandbox.annotation_index import ANNOTATION_URI, COLUMNS, DATES, INDEXED, NUMBERS, TERMS, condition
from pipeline.sandbox.annotation_refusal import UNEXPECTED, AnnotationRefusal, WrongTypeError, unsupported
from pipeline.sandbox.annotation_replies import RESOURCE_LINK, dump, instant, integer, json_type, reply, required
from pipeline.sandbox.annotation_store import AnnotationStore, zoneless
from pipeline.sandbox.annotation_terms import TEXT
from pipeline.sandbox.query import QuerySyntaxError
from pipeline.sandbox.state import now_ms
from pipeline.vocabulary import Vocabulary

PAGE_MEMBERS = ("isPartOf", "partOf")
_CONSTRAINTS_LINK = '<http://www.w3.org/TR/annotation-protocol/constraints>; rel="http://www.w3.org/ns/ldp#constrainedBy"'
_PAGE_TYPE = 'application/ld+json;charset=utf-8; profile="http://www.w3.org/ns/anno.jsonld"'
_PROFILES = ("minimal", "standard", "dereference", "facets", "debug")
_PAGE_CAPS = {"minimal": 10000, "standard": 100, "dereference": 100}
_PREFERENCES = {
    'return=representation;include="http://www.w3.org/ns/oa#PreferContainedIRIs"': "minimal",
    'return=representation;include="http://www.w3.org/ns/oa#PreferContainedDescriptions"': "standard",
}
_SORTS = ("created", "generated", "modified")
_MAX_FACETS = 100
_MAX_DELETED = 1000


@dataclass(frozen=True)
class _Found:
    """The ids of one page, and how many there are in all."""

    where: str
    values: list[object]
    total: int
    numbers: list[int]


class AnnotationSearch:
    """Search over the index. Two switches: the name of `isPartOf`, and whether the index can be reached at all."""

    def __init__(self, store: AnnotationStore, access: AnnotationAccess, vocabulary: Vocabulary, url: str) -> None:
        self._state = store.state
        self._access = access
        self._vocabulary = vocabulary
        self._url = url
        self.page_member = PAGE_MEMBERS[0]
        self.is_reachable = True

    def check_reachable(self, query: str) -> None:
        """504 while the search engine is away: for searches and for the check on duplicates (7.3)."""
        if not self.is_reachable:
            raise AnnotationRefusal(f"Unexpected error on solr search with query: {query}", 504)

    async def search(self, request: Request) -> Response:
        """`GET /annotation/search` (8.1, 8.3)."""
        self._access.check_reader(request)
        query = required(request, "query")
        if not query.strip():
            raise unsupported("query", query)
        profile, has_facets = _profile(request)
        page = integer(request, "page", 0)
        size = min(integer(request, "pageSize", 10), _PAGE_CAPS[profile])
        order = _order(request)
        self.check_reachable(query)
        try:
            found = self._find(query, _filters(request), order, page, size)
            facets = [self._facet(name, found) for name in request.query_params.getlist("facet")] if has_facets else []
        except (sqlite3.OperationalError, sqlite3.DataError) as error:
            raise QuerySyntaxError(str(error)) from error
        body = self._page(request, page, size, found.total, self._items(found.numbers, profile, request))
        if facets:
            body["facets"] = facets
        response = Response(dump(body), 200, {"Vary": "Accept, Prefer", "Allow": "GET"}, media_type=_PAGE_TYPE)
        response.headers.append("Link", RESOURCE_LINK)
        response.headers.append("Link", _CONSTRAINTS_LINK)
        return response

    def _find(self, query: str, filters: list[str], order: str, page: int, size: int) -> _Found:
        sql, values = condition(query, filters)
        where = f"({sql}) AND {INDEXED}"
        values.append(now_ms())
        total = (self._state.one(f"SELECT count(*) FROM annotation WHERE {where}", values) or (0,))[0]
        rows = self._state.all(
            f"SELECT id FROM annotation WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?", (*values, size, page * size)
        )
        return _Found(where, values, total, [row[0] for row in rows])

    def _items(self, numbers: list[int], profile: str, request: Request) -> list[Any]:
        """URIs in the order of the search; documents are read by id, in an order of their own (8.3)."""
        if profile == "minimal":
            return [f"{ANNOTATION_URI}{number}" for number in numbers]
        marks = ",".join("?" * len(numbers))
        rows = self._state.all(f"SELECT id, document FROM annotation WHERE id IN ({marks})", numbers)
        documents = [json.loads(text) for _, text in sorted(rows, key=lambda row: row[0] * 2654435761 % 2**32)]
        if profile != "dereference":
            return documents
        bodies = [document.get("body") for document in documents]
        if None in bodies and any(isinstance(body, str) for body in bodies):
            raise AnnotationRefusal(f"{UNEXPECTED} null", 500)
        languages = request.query_params.get("language", "")
        return [self.dereferenced(document, languages) for document in documents]

    def dereferenced(self, document: dict[str, Any], languages: str) -> dict[str, Any]:
        """A body that is a plain URI becomes the description of its concept (5.5)."""
        body = document.get("body")
        concept = self._vocabulary.resolve(body) if isinstance(body, str) else None
        if concept is None:
            return document
        wanted = {language.strip() for language in languages.split(",")} if languages else set(concept.labels)
        labels = {language: text for language, text in concept.labels.items() if language in wanted}
        return {**document, "body": {"id": body, "type": "Concept", "prefLabel": labels}}

    def _page(self, request: Request, page: int, size: int, total: int, items: list[Any]) -> dict[str, Any]:
        """`total` above is this page's, the one in `isPartOf` is the collection's; links echo the query (8.3)."""
        pairs = parse_qsl(request.url.query, keep_blank_values=True)
        rest = [(name, value) for name, value in pairs if name not in ("page", "pageSize")]

        def address(number: int | None) -> str:
            paging = [] if number is None else [("page", str(number)), ("pageSize", str(size))]
            return f"{self._url}/search?{urlencode([*rest, *paging])}"

        body: dict[str, Any] = {
            "@context": CONTEXT,
            "id": address(page),
            "type": "AnnotationPage",
            self.page_member: {"id": address(None), "total": total},
            "total": len(items),
        }
        if items:
            body["items"] = items
        if (page + 1) * size < total and size:
            body["next"] = address(page + 1)
        if page > 0:
            body["prev"] = address(page - 1)
        return body

    def _facet(self, name: str, found: _Found) -> dict[str, Any]:
        """At most a hundred values, each at least once, the most frequent first (8.1)."""
        if name in COLUMNS or name in DATES or name in NUMBERS:
            column = {**COLUMNS, **DATES, **NUMBERS}[name]
            sql = f"SELECT {column} AS v, count(*) AS n FROM annotation WHERE {found.where} GROUP BY 1 HAVING v IS NOT NULL"
            values = found.values
        elif name in TERMS or name.startswith(TEXT):
            sql = (
                "SELECT value, count(*) AS n FROM annotation_term WHERE field = ? AND annotation_id IN"
                f" (SELECT id FROM annotation WHERE {found.where}) GROUP BY 1"
            )
            values = [name, *found.values]
        else:
            raise QuerySyntaxError(f"undefined field: {name}")
        rows = self._state.all(f"{sql} ORDER BY n DESC, 1 LIMIT {_MAX_FACETS}", values)
        labels = [f"{zoneless(value)}Z" if name in DATES else str(value).strip() for value, _ in rows]
        return {"field": name, "values": [{"label": label, "count": row[1]} for label, row in zip(labels, rows, strict=True)]}

    async def deleted(self, request: Request) -> Response:
        """`GET /annotations/deleted`: URIs, newest deletion first (8.5)."""
        self._access.check_reader(request)
        begin, end = instant(request, "from", 0), instant(request, "to", now_ms() + 1)
        if begin >= end:
            raise unsupported("from", request.query_params.get("from"))
        page, limit = integer(request, "page", 0), min(integer(request, "limit", 100), _MAX_DELETED)
        motivation = request.query_params.get("motivation")
        rows = self._state.all(
            "SELECT id FROM annotation WHERE disabled >= ? AND disabled < ? AND (? IS NULL OR motivation = ?)"
            " ORDER BY disabled DESC, id DESC LIMIT ? OFFSET ?",
            (begin, end, motivation, motivation, limit, page * limit),
        )
        body = [f"{ANNOTATION_URI}{row[0]}" for row in rows]
        return Response(dump(body), 200, {"Allow": "GET"}, media_type=json_type(request))

    async def statistics(self, request: Request) -> Response:
        """`GET /annotation/stats`: the key has to be in the query (2). The real members are not known."""
        required(request, "wskey")
        self._access.check_reader(request)
        rows = self._state.all("SELECT motivation, count(*) FROM annotation WHERE disabled IS NULL GROUP BY 1 ORDER BY 1")
        body = {"type": "AnnotationMetric", "total": sum(row[1] for row in rows), "annotations": dict(rows)}
        return reply(request, body, 200, {"Allow": "GET"})


def _filters(request: Request) -> list[str]:
    """Spring splits a parameter that is given once at its commas (8.1)."""
    filters = request.query_params.getlist("qf")
    if len(filters) == 1:
        filters = filters[0].split(",")
    return [text for text in filters if text.strip()]


def _profile(request: Request) -> tuple[str, bool]:
    """The profile of a search, and whether facets are wanted; the `Prefer` header comes second (3, 8.1)."""
    text = request.query_params.get("profile")
    if text is None:
        preference = re.sub(r"\s", "", request.headers.get("prefer", ""))
        return _PREFERENCES.get(preference, "standard"), False
    names = [word.strip() for word in text.split(",") if word.strip()]
    shapes = [word for word in names if word in _PAGE_CAPS]
    if set(names) - set(_PROFILES) or len(shapes) > 1:
        raise unsupported("profile", text)
    return (shapes[0] if shapes else "standard"), "facets" in names


def _order(request: Request) -> str:
    direction = request.query_params.get("sortOrder", "desc").lower()
    if direction not in ("asc", "desc"):
        raise WrongTypeError(direction)
    name = request.query_params.get("sort")
    if name is None:
        return "id"
    if name not in _SORTS:
        raise WrongTypeError(name)
    return f"{DATES[name]} {direction}, id {direction}"
