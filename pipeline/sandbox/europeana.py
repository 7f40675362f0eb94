"""Europeana's Search, Record and Entity APIs (Europeana contract sections 1, 2 and 3.4)."""

import base64
import binascii
import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pipeline.sandbox.access import Gate, Refusal
from pipeline.sandbox.catalogue import REUSABILITY, Catalogue, Record, content_tier, iso, orientation, predicate
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.query import And, Node, Or, QuerySyntaxError, parse_query
from pipeline.vocabulary import Concept, Vocabulary

_MAX_ROWS = 100
_REACHABLE = 1000
# Makes every mark hold `+`, `/` and (by its length) `=`, so that a client which forgets to encode it is found out.
_MARK_PREFIX = b"\xfb\xff\xbf"
_STANDARD_ORDER = (("timestamp_update", True), ("europeana_id", False))
_FLAGS = {
    "media": "has_media",
    "thumbnail": "has_thumbnails",
    "landingpage": "has_landingpage",
    "text_fulltext": "is_fulltext",
}

SortKey = Callable[[Record], Any]
_SORTABLE: dict[str, SortKey] = {
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


@dataclass(frozen=True)
class Page:
    """What a search request asks for, checked."""

    rows: int
    start: int
    cursor: str | None


class Europeana:
    """The three APIs over one catalogue."""

    def __init__(self, catalogue: Catalogue, vocabulary: Vocabulary, gate: Gate, options: SandboxOptions) -> None:
        self._catalogue = catalogue
        self._gate = gate
        self._url = options.public_url
        self._concepts = {concept.europeana.rpartition("/")[2]: concept for concept in vocabulary.concepts if concept.europeana}
        self._vocabulary = vocabulary
        # The catalogue never changes, so the same question always has the same answer, also while paging through it.
        self._found = lru_cache(maxsize=64)(self._find)

    def routes(self) -> list[Route]:
        """All routes; the entity and search paths also under their older names."""
        search = self._guarded(self._search)
        record = self._guarded(self._record)
        return [
            Route("/europeana/record/v2/search.json", search),
            Route("/europeana/record/search.json", search),
            Route("/europeana/api/v2/search.json", search),
            Route("/europeana/record/v2/{dataset}/{local}.json", record),
            Route("/europeana/record/{dataset}/{local}.json", record),
            Route("/europeana/entity/resolve", self._guarded(self._resolve)),
            Route("/europeana/entity/concept/base/{number}.json", self._guarded(self._concept)),
            Route("/europeana/entity/concept/{number}.json", self._guarded(self._concept)),
        ]

    def _guarded(self, handler: Callable[[Request, str], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            try:
                return await handler(request, self._gate.enter(request))
            except Refusal as refusal:
                return self._gate.refuse(request, refusal)

        return guarded

    # Search

    async def _search(self, request: Request, key: str) -> Response:
        query = request.query_params.get("query")
        if query is None:
            raise Refusal(400, "Required parameter 'query' missing")
        if not query.strip():
            raise Refusal(400, "Empty search query parameter", code="400-SE")
        page = _page(request)
        sort = request.query_params.get("sort", "")
        filters = (*request.query_params.getlist("qf"), *_flag_filters(request))
        reusability = tuple(sorted(_words(request.query_params.getlist("reusability"))))
        try:
            hits = await run_in_threadpool(
                self._found, query, filters, reusability, _order(sort, cursor=page.cursor is not None)
            )
        except QuerySyntaxError as error:
            raise Refusal(400, "Invalid search query", code="400-SA", message=str(error)) from error
        return self._gate.reply(await run_in_threadpool(self._envelope, request, key, hits, page, sort))

    def _find(
        self, query: str, filters: tuple[str, ...], reusability: tuple[str, ...], order: tuple[tuple[str, bool], ...]
    ) -> tuple[Record, ...]:
        matches = predicate(_tree(query, filters))
        wanted = set(reusability) & {*REUSABILITY, "uncategorized"}
        if wanted >= set(REUSABILITY):
            wanted = set()
        hits = [
            record
            for record in self._catalogue.records.values()
            if matches(record) and (not wanted or record.reusability in wanted)
        ]
        for field, descending in reversed(order):
            hits.sort(key=_sort_key(field), reverse=descending)
        return tuple(hits)

    def _envelope(self, request: Request, key: str, hits: tuple[Record, ...], page: Page, sort: str) -> dict[str, Any]:
        offset = page.start - 1 if page.cursor is None else _offset(hits, page.cursor, sort)
        items = hits[offset : offset + page.rows]
        profile = _words([request.query_params.get("profile", "standard")])
        body: dict[str, Any] = {
            "apikey": key,
            "success": True,
            "requestNumber": 999,
            "itemsCount": len(items),
            "totalResults": len(hits),
        }
        if page.cursor is not None and items:
            body["nextCursor"] = _mark(items[-1], sort)
        body["items"] = [self._item(record, key, profile, score=page.cursor is None) for record in items]
        return body

    def _item(self, record: Record, key: str, profile: set[str], *, score: bool) -> dict[str, Any]:
        """One hit with the fields of its profile (contract 1.8); empty fields are left out."""
        is_minimal = "minimal" in profile
        item = {**self._minimal_fields(record, key), "score": _score(record) if score else 1.0}
        if not is_minimal:
            item |= _standard_fields(record)
        if "rich" in profile and not profile & {"minimal", "standard"}:
            item |= {"edmLandingPage": [f"{self._url}/item{record.id}"]}
        if "debug" in profile:
            item |= {"contentTier": content_tier(record), "metadataTier": "A"}
        return _without_empty(item)

    def _minimal_fields(self, record: Record, key: str) -> dict[str, Any]:
        row = record.row
        return {
            "id": record.id,
            "type": "IMAGE",
            "title": _some(row.title),
            "dcTitleLangAware": _lang(row.title),
            "dcCreator": _some(row.creator),
            "dcCreatorLangAware": _lang(row.creator),
            "edmIsShownBy": _some(record.shown_by),
            "edmIsShownAt": [record.shown_at],
            "edmPreview": _some(self._preview(record)),
            "rights": _some(row.rights),
            "dataProvider": _some(row.data_provider),
            "provider": _some(row.provider),
            "language": ["mul"],
            "year": _some("" if row.year is None else str(row.year)),
            "europeanaCompleteness": 0,
            "guid": f"{self._url}/item{record.id}?utm_source=api&utm_medium=api&utm_campaign={quote(key)}",
            "link": f"{self._url}/europeana/record{record.id}.json?wskey={quote(key)}",
        }

    def _preview(self, record: Record) -> str:
        if not record.shown_by:
            return ""
        return f"{self._url}/europeana/thumbnail/v2/url.json?uri={quote(record.shown_by, safe='')}&type=IMAGE"

    # Record

    async def _record(self, request: Request, key: str) -> Response:
        record_id = f"/{request.path_params['dataset']}/{request.path_params['local']}"
        record = self._catalogue.records.get(record_id)
        if record is None:
            body = {"apikey": key, "success": False, "error": f"Invalid record identifier: {record_id}"}
            return self._gate.reply(body, status=404)
        headers = _cache_headers(record)
        if _is_unchanged(request, record, headers["ETag"]):
            return Response(status_code=304, headers={**headers, **self._gate.headers()})
        if request.headers.get("if-match") not in (None, "*", headers["ETag"]):
            return Response(status_code=412, headers=headers)
        body = {
            "apikey": key,
            "success": True,
            "statsDuration": 1,
            "requestNumber": 999,
            "object": await run_in_threadpool(self._object, record),
        }
        return self._gate.reply(body, headers=headers)

    def _object(self, record: Record) -> dict[str, Any]:
        """The object tree (contract 2.3)."""
        row = record.row
        year = "" if row.year is None else str(row.year)
        return _without_empty(
            {
                "about": record.id,
                "type": "IMAGE",
                "title": _some(row.title),
                "year": _some(year),
                "provider": _some(row.provider),
                "country": ["Europe"],
                "language": ["mul"],
                "edmDatasetName": [record.dataset_name],
                "europeanaCollectionName": [record.dataset_name],
                "europeanaCompleteness": 0,
                **_timestamps(record),
                "aggregations": [_aggregation(record)],
                "europeanaAggregation": _without_empty(
                    {
                        "about": f"/aggregation/europeana{record.id}",
                        "aggregatedCHO": f"/item{record.id}",
                        "edmCountry": _lang("Europe"),
                        "edmLanguage": _lang("mul"),
                        "edmLandingPage": f"{self._url}/item{record.id}",
                        "edmPreview": self._preview(record),
                    }
                ),
                "proxies": _proxies(record, year),
                "providedCHOs": [{"about": f"/item{record.id}"}],
            }
        )

    # Entity

    async def _concept(self, request: Request, key: str) -> Response:
        number = request.path_params["number"]
        concept = self._concepts.get(number)
        if concept is None:
            path = f"/entity/concept/{number}.json"
            return self._gate.reply(_entity_error(404, f"Entity '{path}' was not found.", path), status=404)
        return self._gate.reply(_entity(concept, self._vocabulary))

    async def _resolve(self, request: Request, key: str) -> Response:
        uri = request.query_params.get("uri", "")
        concept = self._vocabulary.resolve(uri)
        if concept is None or concept.europeana is None:
            body = {
                "apikey": key,
                "action": "/entity/resolve",
                "success": False,
                "error": f"No entity found for sameAs/exactMatch URI : {uri}",
            }
            return self._gate.reply(body, status=404)
        number = concept.europeana.rpartition("/")[2]
        return RedirectResponse(f"{self._url}/europeana/entity/concept/{number}.json", 301)


def _page(request: Request) -> Page:
    """Paging parameters with their limits (contract 1.4 and 1.6)."""
    rows = _integer(request, "rows", 12)
    start = _integer(request, "start", 1)
    cursor = request.query_params.get("cursor")
    if rows < 0 or start < 1:
        raise Refusal(400, "Invalid search query", code="400-SA", message="'start' and 'rows' may not be negative")
    rows = min(rows, _MAX_ROWS)
    if cursor is not None and start > 1:
        text = "Parameters 'start' and 'cursorMark' cannot be used together"
        raise Refusal(400, text, code="400-SD")
    if cursor is None and start - 1 + rows > _REACHABLE:
        text = "It is not possible to paginate beyond the first 1000 search results. Please use cursor-based pagination instead"
        raise Refusal(400, text, code="400-SL", message=text)
    return Page(rows, start, cursor)


def _integer(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[+-]?\d{1,9}", text):
        raise Refusal(400, f"Failed to convert value of type 'java.lang.String' to required type 'int': {name}")
    return int(text)


def _words(values: Iterable[str]) -> set[str]:
    return {word for value in values for word in re.split(r"[\s,+]+|%2C", value) if word}


def _flag_filters(request: Request) -> tuple[str, ...]:
    """`media=true` and its like are filters on index fields."""
    flags = ((field, request.query_params.get(name, "").lower()) for name, field in _FLAGS.items())
    return tuple(f"{field}:{value}" for field, value in flags if value in ("true", "false"))


def _tree(query: str, filters: tuple[str, ...]) -> Node:
    """Query and filters as one tree: filters on one field are alternatives, different fields all hold (1.5)."""
    # The server escapes closing braces in `query`, which breaks half-open ranges there, but not in `qf`.
    query = re.sub(r"(?<!\\)}", r"\\}", query).replace(":https://", ":http://")
    query = re.sub(r"\bCOUNTRY:([a-z])", lambda match: f"COUNTRY:{match[1].upper()}", query)
    groups: dict[str, list[Node]] = {}
    for text in filters:
        field = text.partition(":")[0]
        groups.setdefault(field, []).append(parse_query(_prepared(text)))
    return And((parse_query(query), *(Or(tuple(nodes)) for nodes in groups.values())))


def _prepared(text: str) -> str:
    """A filter as the server rewrites it: RIGHTS is quoted or escaped, TYPE is upper-cased and unquoted."""
    field, _, value = text.partition(":")
    if field == "RIGHTS" and not value.startswith(("(", '"')):
        if value.endswith("*"):
            return "RIGHTS:" + re.sub(r"([:/])", r"\\\1", value)
        return f'RIGHTS:"{value}"'
    if field == "TYPE" and not value.startswith(("(", "[", "{")):
        return "TYPE:" + value.strip('"').upper()
    return text


def _order(sort: str, *, cursor: bool) -> tuple[tuple[str, bool], ...]:
    """Sort fields with their direction (True: descending). A cursor needs the unique key in a client's sort (1.6)."""
    if not sort.strip():
        return _STANDARD_ORDER
    order = []
    for part in sort.split(","):
        name, _, direction = part.strip().partition(" ")
        direction = direction.strip().lower() or "desc"
        if direction not in ("asc", "desc") or not (name in _SORTABLE or name.startswith("random")):
            raise Refusal(400, "Invalid search query", code="400-SA", message=f"Can't determine a Sort Order: {part}")
        order.append((f"random_{time.time_ns()}" if name == "random" else name, direction == "desc"))
    if cursor and "europeana_id" not in {name for name, _ in order}:
        message = "Cursor functionality requires a sort containing a uniqueKey field tie breaker (cursorMark)"
        raise Refusal(400, "Invalid cursor", code="400-SC", message=message)
    return tuple(order)


def _sort_key(field: str) -> SortKey:
    if field.startswith("random"):
        return lambda record: hashlib.sha256(f"{field}{record.id}".encode()).digest()
    return _SORTABLE[field]


def _mark(record: Record, sort: str) -> str:
    content = _MARK_PREFIX + hashlib.sha256(sort.encode()).digest()[:3] + record.id.encode()
    if len(content) % 3 == 0:
        content += b" "
    return base64.b64encode(content).decode()


def _offset(hits: tuple[Record, ...], cursor: str, sort: str) -> int:
    """Where the page after a mark begins; the mark names the last record of the page before."""
    if cursor == "*":
        return 0
    refusal = Refusal(
        400,
        "Invalid cursor",
        code="400-SC",
        message="Please make sure you encode the cursor value before sending it to the API.",
    )
    try:
        content = base64.b64decode(cursor, validate=True)
        record_id = content[6:].decode().rstrip(" ")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise refusal from error
    if content[:6] != _MARK_PREFIX + hashlib.sha256(sort.encode()).digest()[:3]:
        raise refusal
    for position, record in enumerate(hits):
        if record.id == record_id:
            return position + 1
    raise refusal


def _score(record: Record) -> float:
    return round(0.5 + hashlib.sha256(record.id.encode()).digest()[0] / 512, 7)


def _standard_fields(record: Record) -> dict[str, Any]:
    return {
        "country": ["Europe"],
        "dcLanguage": ["mul"],
        "dcLanguageLangAware": _lang("mul"),
        "edmDatasetName": [record.dataset_name],
        "europeanaCollectionName": [record.dataset_name],
        "ugc": [False],
        "completeness": 0,
        "previewNoDistribute": False,
        "index": 0,
        "timestamp": _epoch(record.updated),
        **_timestamps(record),
    }


def _timestamps(record: Record) -> dict[str, Any]:
    return {
        "timestamp_created": iso(record.created),
        "timestamp_created_epoch": _epoch(record.created),
        "timestamp_update": iso(record.updated),
        "timestamp_update_epoch": _epoch(record.updated),
    }


def _epoch(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _some(value: str) -> list[str]:
    return [value] if value else []


def _lang(value: str) -> dict[str, list[str]]:
    return {"def": [value]} if value else {}


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in ("", [], {}, None)}


def _aggregation(record: Record) -> dict[str, Any]:
    return _without_empty(
        {
            "about": f"/aggregation/provider{record.id}",
            "aggregatedCHO": f"/item{record.id}",
            "edmDataProvider": _lang(record.row.data_provider),
            "edmProvider": _lang(record.row.provider),
            "edmIsShownBy": record.shown_by,
            "edmIsShownAt": record.shown_at,
            "edmObject": record.shown_by,
            "edmRights": _lang(record.row.rights),
            "edmUgc": "false",
            "edmPreviewNoDistribute": False,
            "webResources": _web_resources(record),
        }
    )


def _web_resources(record: Record) -> list[dict[str, Any]]:
    """Landing page first, then the picture, whose technical fields are missing as a block if unreadable (2.4)."""
    resources: list[dict[str, Any]] = [{"about": record.shown_at, "ebucoreHasMimeType": "text/html"}]
    if not record.shown_by:
        return resources
    media: dict[str, Any] = {"about": record.shown_by, "webResourceEdmRights": _lang(record.row.rights)}
    if picture := record.picture:
        media |= {
            "ebucoreHasMimeType": picture.mime_type,
            "ebucoreFileByteSize": picture.byte_size,
            "ebucoreWidth": picture.width,
            "ebucoreHeight": picture.height,
            "ebucoreOrientation": orientation(picture),
            "edmHasColorSpace": "grayscale" if picture.is_grey else "sRGB",
        }
    return [*resources, _without_empty(media)]


def _proxies(record: Record, year: str) -> list[dict[str, Any]]:
    """Europeana's own proxy first, then the provider's; only the latter says what the provider said."""
    common = {"proxyFor": f"/item{record.id}", "edmType": "IMAGE"}
    europeana = {
        "about": f"/proxy/europeana{record.id}",
        "proxyIn": [f"/aggregation/europeana{record.id}"],
        "europeanaProxy": True,
        "year": _lang(year),
        **common,
    }
    provider = {
        "about": f"/proxy/provider{record.id}",
        "proxyIn": [f"/aggregation/provider{record.id}"],
        "europeanaProxy": False,
        "dcTitle": _lang(record.row.title),
        "dcCreator": _lang(record.row.creator),
        "dcDate": _lang(year),
        "dcIdentifier": _lang(record.id.rpartition("/")[2]),
        **common,
    }
    return [_without_empty(europeana), _without_empty(provider)]


def _cache_headers(record: Record) -> dict[str, str]:
    digest = hashlib.sha256(f"{record.row!r}{record.updated}".encode()).hexdigest()
    return {
        "ETag": f'W/"{digest}"',
        "Last-Modified": record.updated.strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "Cache-Control": "public, max-age=86400",
    }


def _is_unchanged(request: Request, record: Record, etag: str) -> bool:
    known = request.headers.get("if-none-match")
    if known is not None:
        return known.strip() == "*" or etag in [tag.strip() for tag in known.split(",")]
    try:
        since = parsedate_to_datetime(request.headers.get("if-modified-since", ""))
    except ValueError:
        return False
    return record.updated.replace(microsecond=0) <= since.replace(tzinfo=UTC)


def _entity(concept: Concept, vocabulary: Vocabulary) -> dict[str, Any]:
    """A concept; a label is one string per language here, an array in the Record API (3.4)."""
    parents = [vocabulary.by_slug[slug].europeana for slug in concept.broader]
    return _without_empty(
        {
            "@context": "https://www.europeana.eu/schemas/context/entity.jsonld",
            "id": concept.europeana,
            "type": "Concept",
            "prefLabel": dict(concept.labels),
            "broader": [parent for parent in parents if parent],
            "exactMatch": [uri for uri in (concept.wikidata, concept.aat) if uri],
        }
    )


def _entity_error(status: int, error: str, path: str) -> dict[str, Any]:
    return {
        "@context": "https://api.europeana.eu/schema/context/api.jsonld",
        "type": "ErrorResponse",
        "success": False,
        "status": status,
        "code": "404_not_found",
        "error": error,
        "timestamp": iso(datetime.now(UTC)),
        "path": path,
    }
