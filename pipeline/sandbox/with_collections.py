"""Collections of the WITH stand-in: listing, reading, changing, sharing (WITH contract 2.6)."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pipeline.sandbox.state import State, now_ms
from pipeline.sandbox.with_accounts import Accounts
from pipeline.sandbox.with_annotation_store import AnnotationStore, campaign_generator, shown
from pipeline.sandbox.with_common import (
    Table,
    WithError,
    bad_request,
    day,
    flag,
    integer,
    json_body,
    json_object,
    localised,
    missing,
    needed,
    object_id,
)
from pipeline.sandbox.with_records import Records, external_id
from pipeline.sandbox.with_rights import LEVELS, Access

_FETCHES = ("ALL", "HIDE_USER_CONTRIBUTIONS", "FILTER_ONLY_USER_CONTRIBUTIONS")


class Collections:
    """The calls under `/collection` and `/rights`."""

    def __init__(
        self,
        state: State,
        accounts: Accounts,
        access: Access,
        records: Records,
        annotations: AnnotationStore,
    ) -> None:
        self._state = state
        self._accounts = accounts
        self._access = access
        self._records = records
        self._annotations = annotations

    def table(self) -> Table:
        """Method, path and handler of each call; the more special paths first."""
        return [
            ("GET", "/collection/list", self._list),
            ("GET", "/collection/listPublic", self._list_public),
            ("GET", "/collection/listShared", self._list_shared),
            ("GET", "/collection/multiple", self._multiple),
            ("POST", "/collection", self._create),
            ("GET", "/collection/{id}", self._single),
            ("PUT", "/collection/{id}", self._update),
            ("DELETE", "/collection/{id}", self._delete),
            ("GET", "/collection/{id}/list", self._entries),
            ("GET", "/collection/{id}/listRecordIds", self._record_ids),
            ("GET", "/collection/{id}/getCollectedRecordIds", self._collected_ids),
            ("GET", "/collection/{id}/annotations", self._collection_annotations),
            ("POST", "/collection/{id}/addRecord", self._add_record),
            ("POST", "/collection/{id}/addRecords", self._add_records),
            ("DELETE", "/collection/{id}/removeRecord", self._remove_record),
            ("GET", "/rights/{id}", self._publish),
            ("GET", "/rights/{id}/{level}", self._share),
        ]

    # Reading

    async def _list(self, request: Request) -> Response:
        user = self._accounts.user(request)
        return self._listing(request, lambda owner, identifier: self._access.allows(user, identifier, "READ"))

    async def _list_public(self, request: Request) -> Response:
        return self._listing(request, lambda owner, identifier: self._access.allows(None, identifier, "READ"))

    async def _list_shared(self, request: Request) -> Response:
        user = self._accounts.known_user(request)
        mine = object_id("user", user)
        return self._listing(request, lambda owner, identifier: owner != user and mine in self._access.more(identifier)["acl"])

    def _listing(self, request: Request, wanted: Any) -> Response:
        start, count = integer(request, "offset", 0), integer(request, "count", 10)
        creator, exhibitions = request.query_params.get("creator"), flag(request, "isExhibition", default=False)
        rows = self._state.all("SELECT id, owner FROM with_collection ORDER BY created DESC, rowid DESC")
        found = []
        for identifier, owner in rows:
            if wanted(owner, identifier) and creator in (None, "", owner, object_id("user", owner)):
                found.append(identifier)
        kinds = {identifier: self._access.more(identifier).get("resourceType") == "Exhibition" for identifier in found}
        if "isExhibition" in request.query_params:
            found = [identifier for identifier in found if kinds[identifier] == exhibitions]
        page = [self.body(identifier, request.query_params.get("locale")) for identifier in found[start : start + count]]
        return JSONResponse(
            {
                "totalCollections": sum(not is_exhibition for is_exhibition in kinds.values()),
                "totalExhibitions": sum(kinds.values()),
                "collectionsOrExhibitions": page,
            }
        )

    async def _single(self, request: Request) -> Response:
        locale = request.query_params.get("locale")
        if not flag(request, "filterForLocale", default=True):
            locale = "ALL"
        return JSONResponse(self.body(self._allowed(request, "READ"), locale))

    async def _multiple(self, request: Request) -> Response:
        identifiers = request.query_params.getlist("id")
        locale = request.query_params.get("locale")
        return JSONResponse([self.body(self._checked(request, one, "READ"), locale) for one in identifiers])

    def _allowed(self, request: Request, wanted: str) -> str:
        return self._checked(request, str(request.path_params["id"]), wanted)

    def _checked(self, request: Request, identifier: str, wanted: str) -> str:
        if not self._state.one("SELECT 1 FROM with_collection WHERE id = ?", (identifier,)):
            raise missing(identifier)
        if not self._access.allows(self._accounts.user(request), identifier, wanted):
            raise WithError(403, f"User does not have {wanted} access for resource {identifier}")
        return identifier

    def body(self, identifier: str, locale: str | None = "ALL") -> dict[str, Any]:
        """A collection as a call shows it."""
        row = self._state.one("SELECT label, owner, created FROM with_collection WHERE id = ?", (identifier,))
        if row is None:
            raise missing(identifier)
        label, owner, created = row
        more = self._access.more(identifier)
        described = {"label": {"default": [label], "en": [label]}, **more.get("descriptiveData", {})}
        return {
            "dbId": identifier,
            "administrative": {
                "access": self._access.acl(identifier, owner),
                "withCreator": object_id("user", owner),
                "withURI": f"/collection/{identifier}",
                "created": day(created),
                "lastModified": day(more.get("lastModified", created)),
                "entryCount": self._entry_count(identifier),
            },
            "resourceType": more.get("resourceType", "SimpleCollection"),
            "descriptiveData": {name: localised(value, locale) for name, value in described.items()},
        }

    def _entry_count(self, identifier: str) -> int:
        row = self._state.one("SELECT count(*) FROM with_entry WHERE collection_id = ?", (identifier,))
        return int(row[0]) if row else 0

    async def _entries(self, request: Request) -> Response:
        identifier = self._allowed(request, "READ")
        start, count = self._records.page(request)
        rows = self._entry_rows(identifier)
        if flag(request, "hideMyAnnotated", default=False):
            user = object_id("user", self._accounts.known_user(request))
            rows = [row for row in rows if not self._annotated(row[0], user)]
        page = [str(row[1]) for row in rows[start : start + count]]
        return JSONResponse({"entryCount": len(rows), "records": self._records.listing(request, page)})

    async def _record_ids(self, request: Request) -> Response:
        identifier = self._allowed(request, "READ")
        fetch = request.query_params.get("fetch", "ALL")
        if fetch not in _FETCHES:
            raise bad_request(request, f"Cannot parse parameter fetch: {fetch}")
        rows = self._entry_rows(identifier)
        if fetch != "ALL":
            user = object_id("user", self._accounts.known_user(request))
            generator, hides = campaign_generator(request.query_params.get("cname", "")), fetch == _FETCHES[1]
            rows = [row for row in rows if self._annotated(row[0], user, generator) != hides]
        return JSONResponse({"recordIds": [row[0] for row in rows]})

    def _entry_rows(self, identifier: str) -> list[tuple[Any, ...]]:
        sql = "SELECT record_db_id, record_id FROM with_entry WHERE collection_id = ? ORDER BY position"
        return self._state.all(sql, (identifier,))

    def _annotated(self, db_id: str, user: str, generator: str | None = None) -> bool:
        """Whether a user annotated a record, at all or in one campaign."""
        return any(
            other["withCreator"] == user and generator in (None, other["generator"])
            for stored in self._annotations.of_record(db_id)
            for other in stored["annotators"]
        )

    async def _collected_ids(self, request: Request) -> Response:
        rows = self._entry_rows(self._allowed(request, "READ"))
        return JSONResponse({"collectedRecordsIds": [row[0] for row in rows]})

    async def _collection_annotations(self, request: Request) -> Response:
        rows = self._entry_rows(self._allowed(request, "READ"))
        return JSONResponse([shown(stored) for row in rows for stored in self._annotations.of_record(row[0])])

    # Changing

    def add_entry(self, collection_id: str, record_id: str) -> None:
        """A record is in a collection once; a second time is refused internally."""
        db_id = object_id("record", record_id)
        cursor = self._state.execute(
            "INSERT OR IGNORE INTO with_entry (collection_id, record_db_id, record_id) VALUES (?, ?, ?)",
            (collection_id, db_id, record_id),
        )
        if cursor.rowcount:
            self._state.log("with", "import", db_id, record_id, {"collection": collection_id})

    def new(self, label: str, owner: str) -> str:
        """A new collection; its title is not taken yet."""
        identifier = object_id("collection", label)
        if self._state.one("SELECT 1 FROM with_collection WHERE id = ?", (identifier,)):  # it was renamed
            identifier = object_id("collection", f"{label} {now_ms()}")
        with self._state.transaction():
            self._state.execute(
                "INSERT INTO with_collection (id, label, owner, created) VALUES (?, ?, ?, ?)",
                (identifier, label, owner, now_ms()),
            )
            self._state.log("with", "create_collection", identifier, None, {"label": label})
        return identifier

    async def _create(self, request: Request) -> Response:
        form = await json_object(request)
        user = self._accounts.user(request)
        if user is None:
            raise WithError(403, "No rights for WITH resource creation")
        user = self._accounts.known_user(request)
        label = _label(form)
        if not label:
            raise WithError(400, "Missing collection title")
        self._refuse_taken(label, "")
        identifier = self.new(label, user)
        self._access.keep(identifier, _more(self._access.more(identifier), form))
        return JSONResponse(self.body(identifier))

    async def _update(self, request: Request) -> Response:
        form = await json_object(request)
        identifier = self._allowed(request, "WRITE")
        label = _label(form)
        if label:
            self._refuse_taken(label, identifier)
        with self._state.transaction():
            if label:
                self._state.execute("UPDATE with_collection SET label = ? WHERE id = ?", (label, identifier))
            self._access.keep(identifier, _more(self._access.more(identifier), form))
            self._state.log("with", "update_collection", identifier, None, {"label": label})
        return JSONResponse(self.body(identifier))

    def _refuse_taken(self, label: str, identifier: str) -> None:
        if self._state.one("SELECT 1 FROM with_collection WHERE label = ? AND id <> ?", (label, identifier)):
            raise WithError(400, "Not unique collection title")

    async def _delete(self, request: Request) -> Response:
        identifier = self._allowed(request, "OWN")
        with self._state.transaction():
            for table in ("with_entry", "with_collection_more"):
                self._state.execute(f"DELETE FROM {table} WHERE collection_id = ?", (identifier,))
            self._state.execute("DELETE FROM with_collection WHERE id = ?", (identifier,))
            self._state.log("with", "delete_collection", identifier, None, None)
        return JSONResponse({"message": "Resource was deleted successfully"})

    async def _add_record(self, request: Request) -> Response:
        form = await json_object(request)
        return self._add(request, [form])

    async def _add_records(self, request: Request) -> Response:
        forms = await json_body(request)
        if not isinstance(forms, list) or not all(isinstance(form, dict) for form in forms):
            raise WithError(400, "Invalid JSON")
        return self._add(request, forms)

    def _add(self, request: Request, forms: list[dict[str, Any]]) -> Response:
        identifier = self._allowed(request, "WRITE")
        record_ids = [self._records.record_id_of(str(form.get("dbId"))) or external_id(form) for form in forms]
        with self._state.transaction():
            for record_id in record_ids:
                self.add_entry(identifier, record_id)
        return JSONResponse({"message": "Record succesfully added to collection"})

    async def _remove_record(self, request: Request) -> Response:
        db_id, identifier = needed(request, "recId"), self._allowed(request, "WRITE")
        parameters = (identifier, db_id)
        with self._state.transaction():
            sql = "DELETE FROM with_entry WHERE collection_id = ? AND record_db_id = ?"
            if not self._state.execute(sql, parameters).rowcount:
                raise missing(db_id)
            self._state.log("with", "remove_record", db_id, None, {"collection": identifier})
        return JSONResponse({"message": "Record succesfully removed from collection"})

    async def _publish(self, request: Request) -> Response:
        """A change of state by GET: never crawl these routes (2.6)."""
        needed(request, "isPublic")
        is_public = flag(request, "isPublic", default=False)
        identifier = self._allowed(request, "OWN")
        self._access.keep(identifier, {**self._access.more(identifier), "isPublic": is_public})
        return JSONResponse({"isPublic": is_public})

    async def _share(self, request: Request) -> Response:
        level, username = str(request.path_params["level"]), needed(request, "username")
        if level not in LEVELS:
            raise bad_request(request, f"Cannot parse parameter right: {level}")
        identifier = self._allowed(request, "OWN")
        user_id = self._accounts.id_of(username)
        if user_id is None:
            raise WithError(400, f"User {username} does not exist")
        more = self._access.more(identifier)
        others = {user: other for user, other in more["acl"].items() if user != user_id}
        self._access.keep(identifier, {**more, "acl": others if level == "NONE" else {**others, user_id: level}})
        return JSONResponse(self.body(identifier))


def _label(form: dict[str, Any]) -> str:
    """The title in the default language, else in the first one."""
    described = form.get("descriptiveData")
    texts = described.get("label") if isinstance(described, dict) else None
    if not isinstance(texts, dict) or not texts:
        return ""
    value = texts.get("default") or next(iter(texts.values()))
    first = value[0] if isinstance(value, list) and value else value
    return first.strip() if isinstance(first, str) else ""


def _more(more: dict[str, Any], form: dict[str, Any]) -> dict[str, Any]:
    """What a client's document says beside the title."""
    administrative, described = form.get("administrative"), form.get("descriptiveData")
    access = administrative.get("access") if isinstance(administrative, dict) else None
    changed = {**more, "lastModified": now_ms()}
    if isinstance(access, dict) and isinstance(access.get("isPublic"), bool):
        changed["isPublic"] = access["isPublic"]
    if isinstance(described, dict):
        changed["descriptiveData"] = {**more.get("descriptiveData", {}), **described}
    if form.get("resourceType") in ("SimpleCollection", "Exhibition"):
        changed["resourceType"] = form["resourceType"]
    return changed
