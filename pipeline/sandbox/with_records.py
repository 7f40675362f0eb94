"""Records on the WITH stand-in: how a record of Europeana looks once it is imported (WITH contract 2.4, 2.7).

A record is on the platform while a collection holds it.
"""

import hashlib
import json
from collections import Counter
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from pipeline.sandbox.catalogue import Catalogue, Record
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.state import State
from pipeline.sandbox.with_accounts import Accounts
from pipeline.sandbox.with_annotation_store import AnnotationStore, shown
from pipeline.sandbox.with_common import Table, WithError, day, integer, localised, missing, needed, object_id
from pipeline.sandbox.with_rights import Access, rights_name

_ANNOTATION_PROFILES = ("MEDIUM", "FULL")
_LANGUAGE_FIELDS = ("label", "description", "keywords", "dccreator", "dctype", "country")
_ORDERS = ("upvoted", "downvoted", "neutral")


class Records:
    """Record bodies, and the calls under `/record` that are not about one annotation."""

    def __init__(
        self,
        state: State,
        catalogue: Catalogue,
        accounts: Accounts,
        access: Access,
        annotations: AnnotationStore,
        options: SandboxOptions,
    ) -> None:
        self._state = state
        self._catalogue = catalogue
        self._accounts = accounts
        self._access = access
        self._annotations = annotations
        self._media_url = f"{options.public_url}/europeana/thumbnail/v3/400/"

    def table(self) -> Table:
        """Method, path and handler of each call; the more special paths first."""
        return [
            ("GET", "/record/multiple", self._multiple),
            ("GET", "/record/getRecordsByIds", self._by_ids),
            ("GET", "/record/annotationLabel", self._with_label),
            ("GET", "/media/byUrl", self._media_by_url),
            ("GET", "/record/{id}", self._single),
        ]

    async def _single(self, request: Request) -> Response:
        return JSONResponse(self._readable(request, str(request.path_params["id"])))

    async def _multiple(self, request: Request) -> Response:
        return JSONResponse([self._readable(request, db_id) for db_id in request.query_params.getlist("id")])

    async def _by_ids(self, request: Request) -> Response:
        """In full, and without any look at rights (2.7); ids that are not there are left out."""
        found = [self.record_id_of(db_id) for db_id in request.query_params.getlist("id")]
        records = [self.body(record_id, profile="FULL", locale="ALL") for record_id in found if record_id]
        return JSONResponse({"records": records})

    async def _with_label(self, request: Request) -> Response:
        """Ids of the records that carry a label, also an unvalidated one (2.9)."""
        label = needed(request, "label").casefold()
        generators = [word for word in request.query_params.get("generator", "").split(",") if word]
        order = request.query_params.get("order", "neutral")
        if order not in _ORDERS:
            raise WithError(400, f"Unknown order {order}")
        balance: Counter[str] = Counter()
        for stored in self._annotations.everything():
            if _carries(stored, label) and self._annotations.is_of(stored, generators):
                score = stored.get("score", {})
                balance[stored["target"]["recordId"]] += len(score.get("approvedBy", ())) - len(score.get("rejectedBy", ()))
        sign = {"upvoted": -1, "downvoted": 1, "neutral": 0}[order]
        return JSONResponse(sorted(balance, key=lambda db_id: sign * balance[db_id]))

    async def _media_by_url(self, request: Request) -> Response:
        """The bytes of a picture of the collection; nothing else is fetched for anybody (2.8)."""
        record = self._catalogue.by_address.get(needed(request, "url"))
        if record is None or record.path is None or not record.path.is_file():
            raise WithError(404, "Media not found")
        return FileResponse(record.path)

    def _readable(self, request: Request, db_id: str) -> dict[str, Any]:
        record_id = self.record_id_of(db_id)
        if record_id is None:
            raise missing(db_id)
        if not self._access.reads_record(self._accounts.user(request), db_id):
            raise WithError(403, f"User does not have READ access for resource {db_id}")
        query = request.query_params
        return self.body(record_id, profile=query.get("profile", "MEDIUM"), locale=query.get("locale"))

    def record_id_of(self, db_id: str) -> str | None:
        """`/dataset/local` of a record on the platform."""
        row = self._state.one("SELECT record_id FROM with_entry WHERE record_db_id = ?", (db_id,))
        return str(row[0]) if row else None

    def db_id_of(self, record_id: str) -> str | None:
        """The platform's id of a record that was imported, by its Europeana id in the short form."""
        row = self._state.one("SELECT record_db_id FROM with_entry WHERE record_id = ?", (record_id,))
        return str(row[0]) if row else None

    def body(self, record_id: str, *, profile: str = "MEDIUM", locale: str | None = None) -> dict[str, Any]:
        """A record as it was imported (2.7); one that the catalogue does not know keeps its ids only."""
        db_id = object_id("record", record_id)
        collections = self._state.all(
            "SELECT e.collection_id, c.owner, c.created FROM with_entry e JOIN with_collection c ON c.id = e.collection_id"
            " WHERE e.record_db_id = ? ORDER BY e.position",
            (db_id,),
        )
        annotations = self._annotations.of_record(db_id)
        annotators = Counter(other["withCreator"] for stored in annotations for other in stored["annotators"])
        administrative: dict[str, Any] = {
            "access": {"isPublic": self._access.reads_record(None, db_id), "acl": []},
            "withURI": f"/record/{db_id}",
            "externalId": record_id,
            "annotators": dict(annotators),
        }
        if collections:
            owner, created = collections[0][1:]
            administrative["access"]["acl"] = [{"user": object_id("user", owner), "level": "OWN"}]
            administrative |= {
                "withCreator": object_id("user", owner),
                "created": day(created),
                "lastModified": day(created),
            }
        body: dict[str, Any] = {
            "dbId": db_id,
            "administrative": administrative,
            "collectedIn": [row[0] for row in collections],
            "resourceType": "CulturalObject",
            "annotationIds": [stored["dbId"] for stored in annotations],
            "annotations": [shown(stored) for stored in annotations] if profile in _ANNOTATION_PROFILES else [],
        }
        record = self._catalogue.records.get(record_id)
        return body if record is None else {**body, **self.description(record, locale)}

    def description(self, record: Record, locale: str | None = None) -> dict[str, Any]:
        """What the platform reads from Europeana (2.4)."""
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
        described |= {name: localised(described[name], locale) for name in _LANGUAGE_FIELDS if name in described}
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
        thumbnail, proxy = f"{self._media_url}{md5}", f"/media/byUrl?url={quote(record.shown_by, safe='')}&version="
        return {
            "Thumbnail": {"url": thumbnail, "withUrl": f"{proxy}Thumbnail"},
            "Original": {
                "url": record.shown_by,
                "type": "IMAGE",
                "mimeType": picture.mime_type if picture else None,
                "width": picture.width if picture else 0,
                "height": picture.height if picture else 0,
                "withRights": rights_name(record.row.rights),
                "originalRights": {"uri": record.row.rights},
                "mediaVersion": "Original",
                "withUrl": f"{proxy}Original",
            },
        }

    def listing(self, request: Request, record_ids: list[str]) -> list[dict[str, Any]]:
        """Bodies for a page of a collection."""
        query = request.query_params
        profile, locale = query.get("profile", "MEDIUM"), query.get("locale")
        return [self.body(record_id, profile=profile, locale=locale) for record_id in record_ids]

    def page(self, request: Request) -> tuple[int, int]:
        """Start and count of an offset-based listing."""
        return integer(request, "start", 0), integer(request, "count", 10)


def _carries(stored: dict[str, Any], label: str) -> bool:
    texts = stored["body"].get("label")
    values = texts.values() if isinstance(texts, dict) else [texts]
    return any(label == str(text).casefold() for value in values for text in (value if isinstance(value, list) else [value]))


def external_id(form: dict[str, Any]) -> str:
    """The Europeana id of a record that a client sends, from its administrative or its provenance part."""
    administrative, provenance = form.get("administrative"), form.get("provenance")
    if isinstance(administrative, dict) and isinstance(administrative.get("externalId"), str):
        return str(administrative["externalId"])
    last = provenance[-1] if isinstance(provenance, list) and provenance else None
    if isinstance(last, dict) and isinstance(last.get("resourceId"), str):
        return str(last["resourceId"])
    raise WithError(400, json.dumps({"externalId": "error.required"}))
