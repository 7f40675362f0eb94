"""Europeana's Annotation API (annotation contract sections 2, 3, 6, 7 and 8)."""

import json
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.sandbox.annotation_document import CONTEXT, AnnotationDocument, AnnotationRefusal, read_annotation
from pipeline.sandbox.annotation_index import ANNOTATION_URI, INDEXED, condition, duplicates
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.query import QuerySyntaxError
from pipeline.sandbox.state import State, now_ms
from pipeline.sandbox.tokens import TokenError, Tokens
from pipeline.vocabulary import Vocabulary

_DENIED = "The user is not authorized to perform the given operation!"
_UNSUPPORTED = "Invalid request. Parameter value not supported or not allowed!"
_NO_KEY = (
    "Invalid apiKey: No authentication information provided, Authorization header not submitted with the request! "
    "No authentication information provided, Authorization header not submitted with the request! "
)
_RESOURCE_LINK = '<http://www.w3.org/ns/ldp#Resource>; rel="type"'
_CONSTRAINTS_LINK = '<http://www.w3.org/TR/annotation-protocol/constraints>; rel="http://www.w3.org/ns/ldp#constrainedBy"'
_LD_JSON = "application/ld+json;charset=utf-8"
_JSON = "application/json;charset=utf-8"
_PAGE_TYPE = f'{_LD_JSON}; profile="http://www.w3.org/ns/anno.jsonld"'
_PATH_TYPES = {"tag": "tagging", "link": "linking"}
_WRITERS = ("user", "tester", "publisher", "admin")
_PROFILES = ("minimal", "standard", "dereference", "facets", "debug")
_PAGE_CAPS = {"minimal": 10000, "standard": 100, "dereference": 100}
_PREFERENCES = {
    'return=representation;include="http://www.w3.org/ns/oa#PreferContainedIRIs"': "minimal",
    'return=representation;include="http://www.w3.org/ns/oa#PreferContainedDescriptions"': "standard",
}
_SORTS = {"created": "created", "generated": "generated", "modified": "generated"}
_MAX_FACETS = 100
_ETAG_SALT = zlib.crc32(b"jsonld sandbox")

Handler = Callable[[Request], Awaitable[Response]]


class WrongTypeError(Exception):
    """A parameter that is not of its type: answered in the newer error shape (7.1, last paragraph)."""


@dataclass(frozen=True)
class Writer:
    """Who writes, as the token says."""

    creator_uri: str
    generator_uri: str
    role: str


@dataclass(frozen=True)
class Stored:
    """One annotation as it lies in the state."""

    id: int
    document: dict[str, Any]
    motivation: str
    creator_uri: str
    created: int
    generated: int
    disabled: int | None

    @property
    def etag(self) -> str:
        """Changes with every write."""
        return f'"{self.generated + _ETAG_SALT:x}"'


class Annotations:
    """The API over one state."""

    def __init__(self, state: State, tokens: Tokens, vocabulary: Vocabulary, options: SandboxOptions) -> None:
        self._state = state
        self._tokens = tokens
        self._vocabulary = vocabulary
        self._key = options.key
        self._lag_ms = int(options.index_lag_s * 1000)
        self._url = f"{options.public_url}/europeana/annotation"
        self._last_number: int = (state.one("SELECT max(id) FROM annotation") or (None,))[0] or 0

    def routes(self) -> list[Route]:
        """All routes. `POST /annotation` without the last slash is not one of them (2)."""
        base = "/europeana/annotation"
        return [
            Route(f"{base}/", self._guarded(self._create), methods=["POST"]),
            Route(f"{base}/search", self._guarded(self._search)),
            Route(f"{base}/search.json", self._guarded(self._search)),
            Route(f"{base}/search.jsonld", self._guarded(self._search)),
            Route(f"{base}/{{id}}", self._guarded(self._post), methods=["POST"]),
            Route(f"{base}/{{id}}", self._guarded(self._get), methods=["GET"]),
            Route(f"{base}/{{id}}", self._guarded(self._put), methods=["PUT"]),
            Route(f"{base}/{{id}}", self._guarded(self._delete), methods=["DELETE"]),
            Route("/europeana/annotations/deleted", self._guarded(self._deleted)),
        ]

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            try:
                _check_accept(request)
                return await handler(request)
            except AnnotationRefusal as refusal:
                return _error(request, refusal.status, str(refusal))
            except QuerySyntaxError as error:
                return _error(request, 400, f"Malformed solr query: {error}")
            except WrongTypeError as error:
                return _newer_error(request, str(error))

        return guarded

    # Who asks

    def _writer(self, request: Request, operation: str) -> Writer:
        """The checks on a token before a write, in the server's order (4.2)."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer":
            raise AnnotationRefusal(f"{_DENIED} Invalid token or ApiKey {_NO_KEY}", 401)
        try:
            claims = self._tokens.verify(token.strip())
        except TokenError as error:
            raise AnnotationRefusal(f"{_DENIED} Invalid token or ApiKey {error}", 401) from error
        if not all(claims.get(name) for name in ("sub", "preferred_username", "azp")):
            raise AnnotationRefusal(f"{_DENIED} Invalid token or ApiKey", 401)
        audience = claims.get("aud", [])
        roles = claims.get("resource_access", {}).get("annotations", {}).get("roles", [])
        in_scope = "annotations" in claims.get("scope", "").split()
        if not in_scope or "annotations" not in ([audience] if isinstance(audience, str) else audience) or not roles:
            raise AnnotationRefusal(f"{_DENIED} Invalid token or ApiKey, resource access not granted!", 403)
        allowed = [role for role in roles if role in _WRITERS]
        if not allowed:
            text = f"{_DENIED} Operation not permitted or not GrantedAuthority found for operation:{operation}"
            raise AnnotationRefusal(text, 403)
        return Writer(
            creator_uri=f"http://data.europeana.eu/user/{claims['sub']}",
            generator_uri=f"https://api.europeana.eu/apikey/{claims['client_public_id']}",
            role="admin" if "admin" in allowed else allowed[0],
        )

    def _check_reader(self, request: Request) -> None:
        """Reading needs a key: `wskey`, `X-Api-Key`, then the Authorization header (3)."""
        key = request.query_params.get("wskey", request.headers.get("x-api-key"))
        if key is None:
            scheme, _, credential = request.headers.get("authorization", "").partition(" ")
            if scheme == "Bearer":
                try:
                    self._tokens.verify(credential.strip())
                except TokenError as error:
                    raise AnnotationRefusal(f"{_DENIED} Invalid token or ApiKey {error}", 401) from error
                return
            if scheme != "APIKEY":
                raise AnnotationRefusal(_NO_KEY, 401)
            key = credential.strip()
        if not key:
            raise AnnotationRefusal("Empty apiKey!", 401)
        if key != self._key:
            raise AnnotationRefusal(f"Invalid apiKey: {key} {key}", 401)

    # Writing

    async def _create(self, request: Request) -> Response:
        return self._created(request, await request.body(), None)

    async def _post(self, request: Request) -> Response:
        """`/annotation/{tag|link}` creates; with a plain text body the same path brings a deleted one back."""
        name = request.path_params["id"].removesuffix(".jsonld")
        if request.headers.get("content-type", "").startswith("text/plain"):
            return self._enabled(request, _identifier(request))
        body = await request.body()
        if name not in _PATH_TYPES:
            self._writer(request, "create")
            raise AnnotationRefusal(f"{_UNSUPPORTED} annoType:{name}")
        return self._created(request, body, _PATH_TYPES[name])

    def _created(self, request: Request, body: bytes, path_type: str | None) -> Response:
        writer = self._writer(request, "create")
        annotation = read_annotation(body, path_type=path_type, role=writer.role)
        # No await between the check and the insert: the two are one step for every other request.
        if found := duplicates(self._state, annotation):
            text = f"Found duplicate annotations with the ids: {','.join(map(str, found))}"
            raise AnnotationRefusal(text)
        stored = self._insert(annotation, writer, indexed=request.query_params.get("indexOnCreate", "true") != "false")
        headers = {"ETag": stored.etag, "Link": _RESOURCE_LINK, "Allow": "POST"}
        return _reply(request, stored.document, 201, headers)

    def _insert(self, annotation: AnnotationDocument, writer: Writer, *, indexed: bool) -> Stored:
        now = now_ms()
        created = now if annotation.created is None else annotation.created
        searchable_at = self._searchable_at(annotation, now) if indexed else None
        number = self._last_number + 1
        document = _document(number, annotation, writer, created, now)
        with self._state.transaction():
            self._state.execute(
                "INSERT INTO annotation (id, document, motivation, creator_uri, generator_uri, created, generated,"
                " searchable_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    number,
                    json.dumps(document, ensure_ascii=False),
                    annotation.motivation,
                    writer.creator_uri,
                    writer.generator_uri,
                    created,
                    now,
                    searchable_at,
                ),
            )
            self._index(number, annotation)
            self._log("create", number, annotation)
        self._last_number = number
        return Stored(number, document, annotation.motivation, writer.creator_uri, created, now, None)

    def _searchable_at(self, annotation: AnnotationDocument, now: int) -> int | None:
        """An annotation without a record id is stored, but the index refuses it (5.2)."""
        return now + self._lag_ms if annotation.values("target_record_id") else None

    def _index(self, number: int, annotation: AnnotationDocument) -> None:
        self._state.executemany(
            "INSERT INTO annotation_term (field, value, annotation_id) VALUES (?, ?, ?)",
            [(name, value, number) for name, value in annotation.terms],
        )

    def _log(self, operation: str, number: int, annotation: AnnotationDocument) -> None:
        records, uris = annotation.values("target_record_id"), annotation.values("body_uri")
        body = uris[0] if len(uris) == 1 else annotation.body
        self._state.log("annotation", operation, f"{ANNOTATION_URI}{number}", records[0] if records else None, body)

    async def _put(self, request: Request) -> Response:
        body = await request.body()
        writer = self._writer(request, "update")
        old = self._stored(_identifier(request))
        _check_owner(old, writer)
        _check_match(request, old)
        annotation = read_annotation(_without_id(body), role=writer.role)
        if found := duplicates(self._state, annotation, besides=old.id):
            text = f"Found duplicate annotations with the ids: {','.join(map(str, found))}"
            raise AnnotationRefusal(text)
        stored = self._update(old, annotation)
        headers = {"ETag": stored.etag, "Link": _RESOURCE_LINK, "Allow": "GET,PUT,DELETE"}
        return _reply(request, stored.document, 200, headers)

    def _update(self, old: Stored, annotation: AnnotationDocument) -> Stored:
        """Body, target and the extras are replaced; a canonical once set, creator and motivation stay (6.4)."""
        now = max(now_ms(), old.generated + 1)
        extras = {**annotation.extras}
        if "canonical" in old.document:
            extras["canonical"] = old.document["canonical"]
        document = {**old.document, "target": annotation.target, **extras, "generated": _zoneless(now)}
        if annotation.body is not None:
            document["body"] = annotation.body
        with self._state.transaction():
            self._state.execute(
                "UPDATE annotation SET document = ?, generated = ?, searchable_at = ? WHERE id = ?",
                (json.dumps(document, ensure_ascii=False), now, self._searchable_at(annotation, now), old.id),
            )
            self._state.execute("DELETE FROM annotation_term WHERE annotation_id = ?", (old.id,))
            self._index(old.id, annotation)
            self._log("update", old.id, annotation)
        return Stored(old.id, document, old.motivation, old.creator_uri, old.created, now, None)

    async def _delete(self, request: Request) -> Response:
        writer = self._writer(request, "delete")
        stored = self._stored(_identifier(request))
        _check_owner(stored, writer)
        _check_match(request, stored)
        with self._state.transaction():
            self._state.execute("UPDATE annotation SET disabled = ? WHERE id = ?", (now_ms(), stored.id))
            self._log_stored("delete", stored)
        return Response(status_code=204, headers={"Vary": "Accept"})

    def _enabled(self, request: Request, number: int) -> Response:
        writer = self._writer(request, "update")
        stored = self._stored(number, disabled_too=True)
        _check_owner(stored, writer)
        _check_match(request, stored)
        with self._state.transaction():
            self._state.execute("UPDATE annotation SET disabled = NULL WHERE id = ?", (number,))
            self._log_stored("enable", stored)
        return _reply(request, stored.document, 200, {})

    def _log_stored(self, operation: str, stored: Stored) -> None:
        terms = self._state.all(
            "SELECT field, value FROM annotation_term WHERE annotation_id = ? AND field IN ('target_record_id', 'body_uri')",
            (stored.id,),
        )
        records = [value for field, value in terms if field == "target_record_id"]
        uris = [value for field, value in terms if field == "body_uri"]
        body = uris[0] if len(uris) == 1 else stored.document.get("body")
        self._state.log("annotation", operation, f"{ANNOTATION_URI}{stored.id}", records[0] if records else None, body)

    # Reading

    async def _get(self, request: Request) -> Response:
        self._check_reader(request)
        stored = self._stored(_identifier(request))
        document = stored.document
        if "dereference" in request.query_params.get("profile", "").split(","):
            document = self._dereferenced(document, request.query_params.get("language", ""))
        headers = {"ETag": stored.etag, "Link": _RESOURCE_LINK, "Allow": "GET,PUT,DELETE,OPTIONS,HEAD"}
        return _reply(request, document, 200, headers)

    def _stored(self, number: int, *, disabled_too: bool = False) -> Stored:
        row = self._state.one(
            "SELECT id, document, motivation, creator_uri, created, generated, disabled FROM annotation WHERE id = ?",
            (number,),
        )
        if row is None:
            raise AnnotationRefusal(f"No annotation found with the given identifier! {ANNOTATION_URI}{number}", 404)
        if row[6] is not None and not disabled_too:
            text = (
                "The user is not allowed to access the annotation in the current state! null "
                "Annotation is not accessible! DISABLED"
            )
            raise AnnotationRefusal(text, 410)
        return Stored(row[0], json.loads(row[1]), *row[2:])

    def _dereferenced(self, document: dict[str, Any], languages: str) -> dict[str, Any]:
        """A body that is a plain URI becomes the description of its concept (5.5)."""
        body = document.get("body")
        concept = self._vocabulary.resolve(body) if isinstance(body, str) else None
        if concept is None:
            return document
        wanted = set(languages.split(",")) if languages else set(concept.labels)
        labels = {language: text for language, text in concept.labels.items() if language in wanted}
        return {**document, "body": {"id": body, "type": "Concept", "prefLabel": labels}}

    async def _search(self, request: Request) -> Response:
        self._check_reader(request)
        query = request.query_params.get("query", "")
        if not query.strip():
            raise AnnotationRefusal(f"{_UNSUPPORTED} query:{query}")
        profile, has_facets = _profile(request)
        page = _integer(request, "page", 0)
        size = min(_integer(request, "pageSize", 10), _PAGE_CAPS[profile])
        sql, values = condition(query, request.query_params.getlist("qf"))
        where = f"({sql}) AND {INDEXED}"
        values.append(now_ms())
        total = (self._state.one(f"SELECT count(*) FROM annotation WHERE {where}", values) or (0,))[0]
        numbers = [
            row[0]
            for row in self._state.all(
                f"SELECT id FROM annotation WHERE {where} ORDER BY {_sort(request)} LIMIT ? OFFSET ?",
                (*values, size, page * size),
            )
        ]
        body = self._page(request, page, size, total, self._items(numbers, profile, request))
        if has_facets and (names := request.query_params.getlist("facet")):
            body["facets"] = [self._facet(name, where, values) for name in names]
        headers = {"Vary": "Accept, Prefer", "Allow": "GET"}
        response = Response(_dump(body), 200, headers, media_type=_PAGE_TYPE)
        response.headers.append("Link", _RESOURCE_LINK)
        response.headers.append("Link", _CONSTRAINTS_LINK)
        return response

    def _items(self, numbers: list[int], profile: str, request: Request) -> list[Any]:
        """URIs, or documents read by id: then not in the order of the search (8.3)."""
        if profile == "minimal":
            return [f"{ANNOTATION_URI}{number}" for number in numbers]
        marks = ",".join("?" * len(numbers))
        rows = self._state.all(f"SELECT document FROM annotation WHERE id IN ({marks}) ORDER BY id", numbers)
        documents = [json.loads(row[0]) for row in rows]
        if profile == "dereference":
            language = request.query_params.get("language", "")
            return [self._dereferenced(document, language) for document in documents]
        return documents

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
            "isPartOf": {"id": address(None), "total": total},
            "total": len(items),
        }
        if items:
            body["items"] = items
        if (page + 1) * size < total:
            body["next"] = address(page + 1)
        if page > 0:
            body["prev"] = address(page - 1)
        return body

    def _facet(self, name: str, where: str, values: list[object]) -> dict[str, Any]:
        if name in ("motivation", "creator_uri", "generator_uri"):
            sql = f"SELECT {name}, count(*) AS n FROM annotation WHERE {where} GROUP BY 1"
            rows = self._state.all(f"{sql} ORDER BY n DESC, 1 LIMIT {_MAX_FACETS}", values)
        else:
            sql = (
                "SELECT value, count(*) AS n FROM annotation_term WHERE field = ? AND annotation_id IN"
                f" (SELECT id FROM annotation WHERE {where}) GROUP BY 1"
            )
            rows = self._state.all(f"{sql} ORDER BY n DESC, 1 LIMIT {_MAX_FACETS}", [name, *values])
        return {"field": name, "values": [{"label": label, "count": count} for label, count in rows]}

    async def _deleted(self, request: Request) -> Response:
        """URIs of deleted annotations, newest deletion first (8.5)."""
        self._check_reader(request)
        begin, end = _instant(request, "from", 0), _instant(request, "to", now_ms() + 1)
        if begin >= end:
            raise AnnotationRefusal(f"{_UNSUPPORTED} from:{request.query_params.get('from')}")
        page, limit = _integer(request, "page", 0), min(_integer(request, "limit", 100), 1000)
        motivation = request.query_params.get("motivation")
        rows = self._state.all(
            "SELECT id FROM annotation WHERE disabled >= ? AND disabled < ? AND (? IS NULL OR motivation = ?)"
            " ORDER BY disabled DESC, id DESC LIMIT ? OFFSET ?",
            (begin, end, motivation, motivation, limit, page * limit),
        )
        body = [f"{ANNOTATION_URI}{row[0]}" for row in rows]
        return Response(_dump(body), 200, {"Allow": "GET"}, media_type=_json_type(request))


def _document(number: int, annotation: AnnotationDocument, writer: Writer, created: int, generated: int) -> dict[str, Any]:
    """The document as it is given back: creator and generator from the token, dates without a zone (5.4)."""
    document: dict[str, Any] = {
        "@context": CONTEXT,
        "id": f"{ANNOTATION_URI}{number}",
        "type": "Annotation",
        "motivation": annotation.motivation,
        "created": _zoneless(created),
        "creator": {"id": writer.creator_uri, "type": "Person"},
        "generated": _zoneless(generated),
        "generator": {"id": writer.generator_uri, "type": "Software"},
    }
    if annotation.body is not None:
        document["body"] = annotation.body
    return {**document, "target": annotation.target, **annotation.extras}


def _zoneless(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _identifier(request: Request) -> int:
    text = request.path_params["id"].removesuffix(".jsonld")
    if not re.fullmatch(r"\d{1,18}", text):
        raise WrongTypeError(text)
    return int(text)


def _without_id(body: bytes) -> bytes:
    """On update an id in the document is read and ignored."""
    try:
        document = json.loads(body)
    except ValueError:
        return body
    if not isinstance(document, dict) or "id" not in document:
        return body
    return json.dumps({name: value for name, value in document.items() if name != "id"}).encode()


def _check_owner(stored: Stored, writer: Writer) -> None:
    if stored.creator_uri != writer.creator_uri and writer.role != "admin":
        text = f"{_DENIED} Only the creators of the annotation or admins are authorized to perform this operation."
        raise AnnotationRefusal(text, 403)


def _check_match(request: Request, stored: Stored) -> None:
    """The header is compared as plain text, so `*` never matches (3)."""
    wanted = request.headers.get("if-match")
    if wanted is not None and wanted != stored.etag:
        raise AnnotationRefusal(f"{_UNSUPPORTED} If-Match:{wanted}", 412)


def _check_accept(request: Request) -> None:
    accept = request.headers.get("accept")
    if accept and not re.search(r"\*/\*|application/(\*|json|ld\+json)", accept):
        raise AnnotationRefusal(" Could not find acceptable representation", 406)


def _profile(request: Request) -> tuple[str, bool]:
    """The profile of a search, and whether facets are wanted; the `Prefer` header comes second (3, 8.1)."""
    text = request.query_params.get("profile")
    if text is None:
        preference = re.sub(r"\s", "", request.headers.get("prefer", ""))
        return _PREFERENCES.get(preference, "standard"), False
    words = [word.strip() for word in text.split(",") if word.strip()]
    shapes = [word for word in words if word in _PAGE_CAPS]
    if set(words) - set(_PROFILES) or len(shapes) > 1:
        raise AnnotationRefusal(f"{_UNSUPPORTED} profile:{text}")
    return (shapes[0] if shapes else "standard"), "facets" in words


def _sort(request: Request) -> str:
    name = request.query_params.get("sort")
    if name is None:
        return "id"
    if name not in _SORTS:
        raise WrongTypeError(name)
    direction = "ASC" if request.query_params.get("sortOrder", "desc").lower() == "asc" else "DESC"
    return f"{_SORTS[name]} {direction}, id {direction}"


def _integer(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not re.fullmatch(r"\d{1,9}", text):
        raise WrongTypeError(text)
    return int(text)


def _instant(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError as error:
        raise AnnotationRefusal(f"{_UNSUPPORTED} {name}:{text}") from error


def _dump(body: object) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _json_type(request: Request) -> str:
    accept = request.headers.get("accept", "")
    return _JSON if "application/json" in accept and "ld+json" not in accept else _LD_JSON


def _reply(request: Request, body: object, status: int, headers: Mapping[str, str]) -> Response:
    return Response(_dump(body), status, {"Vary": "Accept", **headers}, media_type=_json_type(request))


def _error(request: Request, status: int, text: str) -> Response:
    """The error body of 7.1: the key only if it came as `wskey`."""
    body: dict[str, Any] = {"action": request.url.path.removeprefix("/europeana"), "success": False, "error": text}
    if key := request.query_params.get("wskey"):
        body["apikey"] = key
    return Response(_dump(body), status, {"Vary": "Accept"}, media_type=_JSON)


def _newer_error(request: Request, value: str) -> Response:
    """The error body of 7.2."""
    body = {
        "@context": "http://www.europeana.eu/schemas/context/api.jsonld",
        "type": "ErrorResponse",
        "success": False,
        "status": 400,
        "error": "Error in parsing request parameter (wrong type).",
        "message": f'For input string: "{value}"',
        "path": request.url.path.removeprefix("/europeana"),
    }
    return Response(_dump(body), 400, {"Vary": "Accept"}, media_type=_JSON)
