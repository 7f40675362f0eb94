"""The parts of WITH, the platform behind CrowdHeritage, that a pipeline uses (WITH contract 1.2, 1.3, 2.5 to 3.4).

Every user name with the password `sandbox` is an account, except `nobody`. A record is on the platform once it has
been imported into a collection. Missing things answer 500, as there; some unknown ids answer 200 with `null`.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pipeline.sandbox.catalogue import Catalogue, Record
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.state import State, now_ms
from pipeline.sandbox.tokens import PASSWORD, TokenError, Tokens
from pipeline.vocabulary import Vocabulary, canonical_uri

_COOKIE = "PLAY_SESSION"
_WEEK_S = 7 * 86_400
_TOKEN_LIFETIME_S = 600
_MISSING_ACCOUNT = "nobody"
# Items are fetched from Europeana in groups of this size, with a pause: the collection grows while one looks.
_IMPORT_GROUP = 20
_IMPORT_PAUSE_S = 0.02
_MOTIVATIONS = (
    "Tagging",
    "GeoTagging",
    "Linking",
    "Commenting",
    "Editing",
    "ColorTagging",
    "Polling",
    "ImageTagging",
    "SubTagging",
)
_VOCABULARIES = {"www.wikidata.org/entity": "wikidata", "vocab.getty.edu/aat": "aat"}

Handler = Callable[[Request], Awaitable[Response]]


class WithError(Exception):
    """An answer other than 200; an empty error is an answer without a body."""

    def __init__(self, status: int, error: object) -> None:
        super().__init__(str(error))
        self.status = status
        self.error = error


class WithPlatform:
    """The platform over one state and one catalogue."""

    def __init__(
        self,
        state: State,
        tokens: Tokens,
        catalogue: Catalogue,
        vocabulary: Vocabulary,
        options: SandboxOptions,
    ) -> None:
        self._state = state
        self._tokens = tokens
        self._catalogue = catalogue
        self._vocabulary = vocabulary
        self._media_url = f"{options.public_url}/europeana/thumbnail/v3/400/"
        self._imports: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        """All routes, under `/with`."""
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/user/login", self._login),
            ("GET", "/user/logout", self._logout),
            ("GET", "/user/me", self._me),
            ("GET", "/user/token", self._token),
            ("POST", "/collection/importItems", self._import_items),
            ("GET", "/collection/{id}", self._collection),
            ("GET", "/collection/{id}/list", self._collection_records),
            ("GET", "/collection/{id}/getCollectedRecordIds", self._collected_ids),
            ("GET", "/collection/{id}/annotations", self._collection_annotations),
            ("POST", "/record/annotation", self._annotate),
            ("GET", "/record/{id}", self._record),
            ("GET", "/record/{id}/listAnnotations", self._record_annotations),
            ("GET", "/annotation/{id}", self._annotation),
            ("DELETE", "/annotation/{id}", self._delete_annotation),
        ]
        return [Route(f"/with{path}", _guarded(handler), methods=[method]) for method, path, handler in table]

    async def stop(self) -> None:
        """End the imports that still run; their collections stay as they are."""
        for task in self._imports:
            task.cancel()
        await asyncio.gather(*self._imports, return_exceptions=True)

    # Accounts

    async def _login(self, request: Request) -> Response:
        form = await _json_object(request)
        name, password = form.get("email"), form.get("password")
        if not name or not isinstance(name, str):
            raise WithError(400, {"email": "Need Email or Username"})
        if not password:
            raise WithError(400, {"password": "Password is Empty"})
        if name == _MISSING_ACCOUNT:
            raise WithError(400, {"email": "Invalid Email Address or Username"})
        if password != PASSWORD:
            raise WithError(400, {"password": "Invalid Password"})
        response = JSONResponse({**_account(name), "userToken": self._user_token(name)})
        self._keep_session(response, name)
        return response

    async def _logout(self, request: Request) -> Response:
        response = Response(status_code=200)
        response.delete_cookie(_COOKIE)
        return response

    async def _me(self, request: Request) -> Response:
        name = self._user(request)
        if name is None:
            raise WithError(400, "User not logged in")
        response = JSONResponse(_account(name))
        self._keep_session(response, name)
        return response

    async def _token(self, request: Request) -> Response:
        return PlainTextResponse(self._user_token(self._known_user(request)))

    def _user_token(self, name: str) -> str:
        return self._tokens.sign({"typ": "With", "user": name}, _TOKEN_LIFETIME_S)

    def _keep_session(self, response: Response, name: str) -> None:
        """The session's idle time begins anew; the cookie is readable by scripts, as there."""
        session = self._tokens.sign({"typ": "WithSession", "user": name}, _WEEK_S)
        response.set_cookie(_COOKIE, session, max_age=_WEEK_S)

    def _user(self, request: Request) -> str | None:
        """Who asks. An expired token or session is no error: the call goes on as anonymous (1.2, 1.3)."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme == "Bearer":
            return self._user_of(token.strip(), "With", is_cookie=False)
        return self._user_of(request.cookies.get(_COOKIE, ""), "WithSession", is_cookie=True)

    def _user_of(self, token: str, kind: str, *, is_cookie: bool) -> str | None:
        try:
            claims = self._tokens.read(token)
        except TokenError as error:
            if is_cookie or error.code == "401_token_expired":
                return None
            raise WithError(500, "Cannot decrypt token") from error
        return str(claims["user"]) if claims.get("typ") == kind else None

    def _known_user(self, request: Request) -> str:
        name = self._user(request)
        if name is None:
            raise WithError(400, "User not logged in")
        return name

    # Collections and records

    async def _import_items(self, request: Request) -> Response:
        """Answers at once; the collection fills later, without the ids that Europeana does not know (2.5)."""
        name = self._known_user(request)
        form = await _json_object(request)
        label, items = form.get("collectionName"), form.get("itemIds")
        if not isinstance(label, str) or not label or not isinstance(items, list):
            raise WithError(400, "Invalid JSON")
        identifier = self._collection_named(label, name)
        task = asyncio.create_task(self._fill(identifier, [str(item) for item in items]))
        self._imports.add(task)
        task.add_done_callback(self._imports.discard)
        return JSONResponse({**self._collection_body(identifier), "myAccess": "OWN"})

    def _collection_named(self, label: str, owner: str) -> str:
        """The collection with this label, whoever owns it, or a new one."""
        row = self._state.one("SELECT id FROM with_collection WHERE label = ?", (label,))
        if row:
            return str(row[0])
        identifier = _object_id("collection", label)
        with self._state.transaction():
            self._state.execute(
                "INSERT INTO with_collection (id, label, owner, created) VALUES (?, ?, ?, ?)",
                (identifier, label, owner, now_ms()),
            )
            self._state.log("with", "create_collection", identifier, None, {"label": label})
        return identifier

    async def _fill(self, collection_id: str, record_ids: list[str]) -> None:
        for start in range(0, len(record_ids), _IMPORT_GROUP):
            await asyncio.sleep(_IMPORT_PAUSE_S)
            group = [item for item in record_ids[start : start + _IMPORT_GROUP] if item in self._catalogue.records]
            with self._state.transaction():
                for record_id in group:
                    self._add_entry(collection_id, record_id)

    def _add_entry(self, collection_id: str, record_id: str) -> None:
        db_id = _object_id("record", record_id)
        cursor = self._state.execute(
            "INSERT OR IGNORE INTO with_entry (collection_id, record_db_id, record_id) VALUES (?, ?, ?)",
            (collection_id, db_id, record_id),
        )
        if cursor.rowcount:
            self._state.log("with", "import", db_id, record_id, {"collection": collection_id})

    async def _collection(self, request: Request) -> Response:
        return JSONResponse(self._collection_body(self._readable_collection(request)))

    def _readable_collection(self, request: Request) -> str:
        identifier = str(request.path_params["id"])
        if not self._state.one("SELECT 1 FROM with_collection WHERE id = ?", (identifier,)):
            raise WithError(500, f"Cannot retrieve resource {identifier} from database")
        if self._user(request) is None:
            raise WithError(403, f"User does not have READ access for resource {identifier}")
        return identifier

    def _collection_body(self, identifier: str) -> dict[str, Any]:
        row = self._state.one("SELECT label, owner, created FROM with_collection WHERE id = ?", (identifier,))
        if row is None:
            raise WithError(500, f"Cannot retrieve resource {identifier} from database")
        label, owner, created = row
        return {
            "dbId": identifier,
            "administrative": {
                "access": {"isPublic": False, "acl": [{"user": _object_id("user", owner), "level": "OWN"}]},
                "withCreator": _object_id("user", owner),
                "withURI": f"/collection/{identifier}",
                "created": _day(created),
                "lastModified": _day(created),
                "entryCount": self._entry_count(identifier),
            },
            "resourceType": "SimpleCollection",
            "descriptiveData": {"label": {"default": [label], "en": [label]}},
        }

    def _entry_count(self, identifier: str) -> int:
        row = self._state.one("SELECT count(*) FROM with_entry WHERE collection_id = ?", (identifier,))
        return int(row[0]) if row else 0

    async def _collection_records(self, request: Request) -> Response:
        identifier = self._readable_collection(request)
        start, count = _integer(request, "start", 0), _integer(request, "count", 10)
        rows = self._state.all(
            "SELECT record_id FROM with_entry WHERE collection_id = ? ORDER BY position LIMIT ? OFFSET ?",
            (identifier, count, start),
        )
        records = [self._record_body(str(row[0])) for row in rows]
        return JSONResponse({"entryCount": self._entry_count(identifier), "records": records})

    async def _collected_ids(self, request: Request) -> Response:
        identifier = self._readable_collection(request)
        sql = "SELECT record_db_id FROM with_entry WHERE collection_id = ? ORDER BY position"
        return JSONResponse({"collectedRecordsIds": [row[0] for row in self._state.all(sql, (identifier,))]})

    async def _record(self, request: Request) -> Response:
        identifier = str(request.path_params["id"])
        record_id = self._record_id_of(identifier)
        if record_id is None:
            raise WithError(500, f"Cannot retrieve resource {identifier} from database")
        if self._user(request) is None:
            raise WithError(403, f"User does not have READ access for resource {identifier}")
        return JSONResponse(self._record_body(record_id))

    def _record_id_of(self, db_id: str) -> str | None:
        row = self._state.one("SELECT record_id FROM with_entry WHERE record_db_id = ?", (db_id,))
        return str(row[0]) if row else None

    def _record_body(self, record_id: str) -> dict[str, Any]:
        """A record as it was imported (2.7); one that the collection no longer holds keeps its ids only."""
        db_id = _object_id("record", record_id)
        collections = self._state.all("SELECT collection_id FROM with_entry WHERE record_db_id = ?", (db_id,))
        annotations = self._state.all("SELECT id FROM with_annotation WHERE record_db_id = ? ORDER BY rowid", (db_id,))
        body: dict[str, Any] = {
            "dbId": db_id,
            "administrative": {
                "access": {"isPublic": False, "acl": []},
                "withURI": f"/record/{db_id}",
                "externalId": record_id,
            },
            "collectedIn": [row[0] for row in collections],
            "resourceType": "CulturalObject",
            "annotationIds": [row[0] for row in annotations],
        }
        record = self._catalogue.records.get(record_id)
        return body if record is None else {**body, **self._description(record)}

    def _description(self, record: Record) -> dict[str, Any]:
        row = record.row
        described: dict[str, Any] = {
            "label": {"default": [row.title]},
            "isShownAt": record.shown_at,
            "dates": [] if row.year is None else [{"year": row.year, "free": str(row.year)}],
        }
        if row.creator:
            described["dccreator"] = {"default": [row.creator]}
        if record.shown_by:
            described["isShownBy"] = record.shown_by
        portal = f"https://www.europeana.eu/item{record.id}"
        return {
            "provenance": [
                {"provider": row.data_provider, "uri": record.shown_at},
                {"provider": row.provider},
                {"provider": "Europeana", "uri": portal, "resourceId": record.id},
            ],
            "descriptiveData": described,
            "media": [self._media(record)] if record.shown_by else [],
        }

    def _media(self, record: Record) -> dict[str, Any]:
        md5 = hashlib.md5(record.shown_by.encode(), usedforsecurity=False).hexdigest()
        picture = record.picture
        return {
            "Thumbnail": {"url": f"{self._media_url}{md5}"},
            "Original": {
                "url": record.shown_by,
                "type": "IMAGE",
                "mimeType": picture.mime_type if picture else None,
                "width": picture.width if picture else 0,
                "height": picture.height if picture else 0,
                "originalRights": {"uri": record.row.rights},
                "mediaVersion": "Original",
            },
        }

    # Annotations

    async def _annotate(self, request: Request) -> Response:
        """One annotation. The same URI on the same record is one annotation with several annotators (3.3)."""
        form = await _json_object(request)
        user = self._known_user(request)
        motivation, body, target = form.get("motivation"), form.get("body"), form.get("target")
        if not isinstance(body, dict) or not isinstance(target, dict):
            raise WithError(400, "Invalid JSON")
        if motivation not in _MOTIVATIONS:
            raise WithError(500, f"No enum constant model.annotations.Annotation.MotivationType.{motivation}")
        db_id, record_id = self._annotated_record(target)
        annotator = _annotator(form, user)
        same_as = json.dumps([body.get("uri") or body.get("label"), target.get("selector")], sort_keys=True)
        row = self._state.one("SELECT document FROM with_annotation WHERE record_db_id = ? AND same_as = ?", (db_id, same_as))
        if row is None:
            stored = self._new_annotation(form, body, target, (db_id, record_id), annotator, same_as)
        else:
            stored = self._joined(json.loads(row[0]), record_id, annotator)
        return JSONResponse(_shown(stored))

    def _annotated_record(self, target: dict[str, Any]) -> tuple[str, str]:
        if external := target.get("externalId"):
            row = self._state.one("SELECT record_db_id, record_id FROM with_entry WHERE record_id = ?", (external,))
            if row is None:
                raise WithError(400, "")
            return str(row[0]), str(row[1])
        db_id = str(target.get("recordId"))
        record_id = self._record_id_of(db_id)
        if record_id is None:
            raise WithError(500, f"Cannot retrieve resource {db_id} from database")
        return db_id, record_id

    def _new_annotation(
        self,
        form: dict[str, Any],
        body: dict[str, Any],
        target: dict[str, Any],
        record: tuple[str, str],
        annotator: dict[str, Any],
        same_as: str,
    ) -> dict[str, Any]:
        db_id, record_id = record
        identifier = _object_id("annotation", f"{db_id} {same_as} {time.time_ns()}")
        stored = {
            "dbId": identifier,
            "annotationWithURI": f"/annotation/{identifier}",
            "motivation": form["motivation"],
            "publish": False,
            "annotators": [annotator],
            "body": self._with_thesaurus_labels(body),
            "target": {
                "recordId": db_id,
                "withURI": f"/record/{db_id}",
                "externalId": record_id,
                **({"selector": target["selector"]} if target.get("selector") else {}),
            },
        }
        with self._state.transaction():
            self._state.execute(
                "INSERT INTO with_annotation (id, record_db_id, same_as, document) VALUES (?, ?, ?, ?)",
                (identifier, db_id, same_as, json.dumps(stored, ensure_ascii=False)),
            )
            self._state.log("with", "create", identifier, record_id, body.get("uri") or body)
        return stored

    def _with_thesaurus_labels(self, body: dict[str, Any]) -> dict[str, Any]:
        """A URI that a thesaurus of the platform knows gets that thesaurus's labels."""
        uri = body.get("uri")
        concept = self._vocabulary.resolve(uri) if isinstance(uri, str) else None
        if concept is None or not isinstance(uri, str):
            return body
        labels = {language: [text] for language, text in concept.labels.items()}
        address = canonical_uri(uri).removeprefix("http://").rpartition("/")[0]
        known = {"uriVocabulary": _VOCABULARIES[address]} if address in _VOCABULARIES else {}
        return {**body, **known, "label": {**labels, "default": [concept.label("en")]}}

    def _joined(self, stored: dict[str, Any], record_id: str, annotator: dict[str, Any]) -> dict[str, Any]:
        """The same user changes nothing; another one is added as a further annotator."""
        if any(other["withCreator"] == annotator["withCreator"] for other in stored["annotators"]):
            return stored
        stored["annotators"].append(annotator)
        with self._state.transaction():
            self._store(stored)
            self._state.log("with", "join", stored["dbId"], record_id, stored["body"].get("uri") or stored["body"])
        return stored

    def _store(self, stored: dict[str, Any]) -> None:
        document = json.dumps(stored, ensure_ascii=False)
        self._state.execute("UPDATE with_annotation SET document = ? WHERE id = ?", (document, stored["dbId"]))

    async def _annotation(self, request: Request) -> Response:
        stored = self._stored(str(request.path_params["id"]))
        return JSONResponse(None if stored is None else _shown(stored))

    def _stored(self, identifier: str) -> dict[str, Any] | None:
        row = self._state.one("SELECT document FROM with_annotation WHERE id = ?", (identifier,))
        document: dict[str, Any] | None = json.loads(row[0]) if row else None
        return document

    async def _delete_annotation(self, request: Request) -> Response:
        """Takes one's own contribution back; the annotation ends with its last annotator."""
        user = self._known_user(request)
        stored = self._stored(str(request.path_params["id"]))
        if stored is None:
            raise WithError(400, "")
        others = [other for other in stored["annotators"] if other["withCreator"] != _object_id("user", user)]
        if len(others) == len(stored["annotators"]):
            raise WithError(403, "User not allowed to delete annotation")
        with self._state.transaction():
            if others:
                self._store({**stored, "annotators": others})
            else:
                self._state.execute("DELETE FROM with_annotation WHERE id = ?", (stored["dbId"],))
            target, body = stored["target"], stored["body"]
            self._state.log("with", "delete", stored["dbId"], target["externalId"], body.get("uri") or body)
        return Response(status_code=200)

    async def _record_annotations(self, request: Request) -> Response:
        """Only Tagging unless motivations are named; generators match exactly (3.4)."""
        motivations = request.query_params.get("motivation", "Tagging").split(",")
        generators = [word for word in request.query_params.get("generator", "").split(",") if word]
        rows = self._state.all(
            "SELECT document FROM with_annotation WHERE record_db_id = ? ORDER BY rowid",
            (request.path_params["id"],),
        )
        found = [
            stored
            for stored in (json.loads(row[0]) for row in rows)
            if stored["motivation"] in motivations
            and (not generators or any(other["generator"] in generators for other in stored["annotators"]))
        ]
        return JSONResponse([_shown(stored) for stored in found])

    async def _collection_annotations(self, request: Request) -> Response:
        rows = self._state.all(
            "SELECT a.document FROM with_annotation a JOIN with_entry e ON e.record_db_id = a.record_db_id"
            " WHERE e.collection_id = ? ORDER BY e.position, a.rowid",
            (self._readable_collection(request),),
        )
        return JSONResponse([_shown(json.loads(row[0])) for row in rows])


def _guarded(handler: Handler) -> Handler:
    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except WithError as error:
            if not error.error:
                return Response(status_code=error.status)
            return JSONResponse({"error": error.error}, error.status)

    return guarded


async def _json_object(request: Request) -> dict[str, Any]:
    try:
        form = json.loads(await request.body())
    except ValueError as error:
        raise WithError(400, "Invalid JSON") from error
    if not isinstance(form, dict):
        raise WithError(400, "Invalid JSON")
    return form


def _integer(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdigit():
        raise WithError(400, f"Cannot parse parameter {name} as Int")
    return int(text)


def _object_id(kind: str, name: str) -> str:
    """24 hexadecimal digits, the same for the same name."""
    return hashlib.sha256(f"{kind} {name}".encode()).hexdigest()[:24]


def _account(name: str) -> dict[str, Any]:
    return {
        "dbId": _object_id("user", name),
        "username": name.partition("@")[0],
        "firstName": name.partition("@")[0],
        "lastName": "",
        "email": name if "@" in name else f"{name}@example.org",
        "campaignCreationAccess": False,
        "favorites": "",
        "userGroupsIds": [],
        "adminInGroups": [],
    }


def _annotator(form: dict[str, Any], user: str) -> dict[str, Any]:
    """One contribution; dates are kept exactly and shown as days (3.2)."""
    now = now_ms()
    try:
        text = str(form.get("generated"))
        generated = int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        generated = now
    return {
        "withCreator": _object_id("user", user),
        "generator": str(form.get("generator", "")),
        "created": now,
        "generated": generated,
        "lastModified": now,
        "confidence": form.get("confidence", -1),
    }


def _shown(stored: dict[str, Any]) -> dict[str, Any]:
    """The annotation as plain JSON, in which its dates lose their time of day (3.2)."""
    annotators = [
        {**other, **{name: _day(other[name]) for name in ("created", "generated", "lastModified")}}
        for other in stored["annotators"]
    ]
    return {**stored, "annotators": annotators}


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y/%m/%d")
