"""WITH / CrowdHeritage: login, collections and their records, single annotations (WITH contract §1.2, §2.5–2.7, §3.3)."""

import csv
import io
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pipeline.clients.http import ApiSession, decoded, error_text, parsed
from pipeline.clients.metering import Metering
from pipeline.errors import CriticalError, PermanentError, TransientError
from pipeline.settings import Settings

COOKIE = "PLAY_SESSION"
NOT_LOGGED_IN = "User not logged in"
POLL_S = 0.2
IDS_PER_IMPORT = 5_000
# An import gives no sign when it is done (§2.5): a collection that has not grown for so long counts as full.
QUIET_S = 3.0
LONGEST_IMPORT_S = 600.0
BEGINS_WITHIN_S = 10.0  # after a lost reply: until an import is on the campaign's list
DEAD_AFTER_S = 6 * 3_600.0  # an import that has not ended by then never will: longer than any wait for one
THESAURUS_VERSION = "1"


class WithClient:
    """Speaks for one account; safe to share between threads."""

    def __init__(self, settings: Settings, *, metering: Metering | None = None) -> None:
        if not settings.with_username:
            raise CriticalError("WITH_USERNAME is not set; reading from WITH and hidden labels need an account on the platform")
        password = settings.with_password.get_secret_value()
        self._login_form = {"email": settings.with_username, "password": password}
        self._cookie = ""
        self._lock = threading.Lock()
        self._api = ApiSession(
            base_url=settings.with_api_url.rstrip("/"),
            user_agent=settings.user_agent,
            timeout_s=settings.api_timeout_s,
            attempts=settings.api_attempts,
            backoff_s=settings.api_backoff_s,
            headers=lambda: {"Cookie": f"{COOKIE}={self._cookie}"} if self._cookie else {},
            secrets=(password,),
            metering=metering or Metering(),
        )

    def fill_collection(self, name: str, record_ids: Sequence[str]) -> None:
        """Bring records into WITH and wait until the collection has stopped growing.

        Fewer than asked is normal: the platform skips ids that it has already or cannot find (§2.5).
        """
        for at in range(0, len(record_ids), IDS_PER_IMPORT):
            form = {"collectionName": name, "itemIds": list(record_ids[at : at + IDS_PER_IMPORT])}
            collection = self._json("POST", "/collection/importItems", json=form)
            before = int(collection["administrative"]["entryCount"])
            self._wait_until_full(collection, before + len(form["itemIds"]))

    def import_search(self, name: str, query: str, *, limit: int | None) -> str:
        """Let WITH fill a collection from a query of Europeana's own language; returns its id once it is full (§2.5).

        The platform refuses duplicates inside a collection, so asking again only adds what is new.
        """
        asked = {"searchTerm": query, "page": "1", "pageSize": "20", "source": ["Europeana"], "filters": []}
        form = {"collectionName": name, "limit": limit or -1, "query": asked}
        return self._wait_until_full(self._json("POST", "/collection/importSearch", json=form), limit)

    def count(self, query: str) -> int:
        """How many records of Europeana a query has, without importing any (§2.2).

        The reply also holds the platform's own key: nothing of it but the number is kept.
        """
        form = {"searchTerm": query, "page": "1", "pageSize": "1", "source": ["Europeana"], "filters": []}
        self._log_in(unless=None)
        reply = self._api.request("POST", "/api/search", json=form)
        try:
            found = [one for one in reply.json() if isinstance(one, dict)] if reply.status_code == 200 else []
        except ValueError:
            found = []
        if not found or found[0].get("error"):
            raise PermanentError(f"WITH cannot count the records of the query (HTTP {reply.status_code})")
        return int(found[0].get("totalCount") or 0)

    def import_gallery(self, name: str, gallery_id: str) -> str:
        """Let WITH fill a collection from a user gallery of Europeana; returns its id once it is full (§2.5)."""
        path = "/collection/importGallery"
        parameters = {"userGalleryId": gallery_id, "collectionName": name}
        return self._wait_until_full(self._json("POST", path, params=parameters), None)

    def collected_ids(self, collection_id: str) -> list[str]:
        """The ids of all records of a collection, in its order, read at once: paging is not stable there (§2.6)."""
        reply = self._json("GET", f"/collection/{collection_id}/getCollectedRecordIds")
        return [str(db_id) for db_id in reply.get("collectedRecordsIds") or ()]

    def records(self, db_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Some records in full; those that are not there are left out (§2.7)."""
        found = self._json("GET", "/record/getRecordsByIds", params={"id": list(db_ids)}).get("records") or []
        return [record for record in found if isinstance(record, dict)]

    def _wait_until_full(self, collection: Mapping[str, Any], expected: int | None) -> str:
        """Poll a collection that is being filled: there is no sign when it is done, only that it grows no more."""
        path = f"/collection/{collection['dbId']}"
        count = int(collection["administrative"]["entryCount"])
        started = grown = time.monotonic()
        while (expected is None or count < expected) and time.monotonic() - grown < QUIET_S:
            if time.monotonic() - started > LONGEST_IMPORT_S:
                raise TransientError(f"WITH is still importing into {path} after {LONGEST_IMPORT_S:g} s")
            time.sleep(POLL_S)
            now = int(self._json("GET", path)["administrative"]["entryCount"])
            grown, count = (time.monotonic(), now) if now > count else (grown, count)
        return str(collection["dbId"])

    def annotate(self, record_id: str, body: Mapping[str, Any], *, generator: str, confidence: float, generated: str) -> str:
        """One tag on one record, not marked for publication; returns its id.

        The same tag by the same account comes back unchanged (§3.3), so sending again is harmless. Raises
        PermanentError when the platform does not know the record.
        """
        document = tag_document(record_id, body, generator=generator, confidence=confidence, generated=generated)
        return str(self._json("POST", "/record/annotation", json=document)["dbId"])

    def delete_annotation(self, db_id: str, *, generator: str) -> None:
        """Take back our contribution to a tag, known by our generator; one that is gone already is fine (§3.4).

        Others who have set the same tag keep it. Raises TransientError when it is still there afterwards.
        """
        if self._is_there(db_id, generator):
            self._json("DELETE", f"/annotation/{db_id}", whatever_body=True)
            if self._is_there(db_id, generator):
                raise TransientError(f"WITH still has the annotation {db_id}")

    def has_campaign(self, name: str) -> bool:
        """Is there a campaign of this name?"""
        return self._campaign(name) is not None

    def campaign_tags(self, name: str) -> set[tuple[str, str]]:
        """(record, body URI) of all tags of a campaign, published or not, as its export has them (§3.7).

        Raises CriticalError where the platform cannot export the campaign, TransientError for passing trouble.
        """
        form = {"campaignName": name, "europeanaModelExport": "false", "filterForPublish": "false"}
        value = self._read("/annotation/exportCampaignAnnotations", form, f"export the campaign {name!r}")
        graph = value.get("@graph") if isinstance(value, dict) else value  # before November 2023 it was a plain array
        if not isinstance(graph, list):
            raise CriticalError(f"WITH's export of the campaign {name!r} has no annotations in it")
        return {(str(one["target"]["source"]), str(one["body"])) for one in graph}

    def load_terms(self, thesaurus: str, terms: Mapping[str, tuple[str, str]]) -> int:
        """Put terms, URI → (label, description), into a thesaurus of ours, which is made if need be; how many were new.

        A tag whose term has no description cannot be imported (§3.6). To make a thesaurus takes the right to make campaigns.
        """
        self._log_in(unless=None)
        if thesaurus not in self._thesauri():
            self._make_thesaurus(thesaurus)
        listed = self._read("/thesaurus/listTerms", {"thesaurusName": thesaurus}, f"list the terms of {thesaurus!r}")
        known = {str(one.get("uri")) for one in listed if isinstance(one, dict)} if isinstance(listed, list) else None
        if known is None:
            raise TransientError(f"WITH GET /thesaurus/listTerms: no list of the terms of {thesaurus!r}")
        if new := [(uri, *words) for uri, words in terms.items() if uri not in known]:
            text = io.StringIO()
            csv.writer(text).writerows(new)
            self._json(
                "POST",
                "/thesaurus/populateCustomThesaurus",
                params={"thesaurusName": thesaurus, "thesaurusVersion": THESAURUS_VERSION},
                files={"file": ("terms.csv", text.getvalue().encode(), "text/csv")},
                whatever_body=True,
            )
        return len(new)

    def _make_thesaurus(self, name: str) -> None:
        """Once: whether a lost reply has made it says the list."""
        form = {"name": name, "version": THESAURUS_VERSION, "label": name, "vocType": "thesaurus"}
        try:
            reply = self._api.request("POST", "/thesaurus/createEmptyThesaurus", retry=False, params=form)
            why = f"HTTP {reply.status_code} {error_text(reply)}"
        except TransientError as error:
            why = str(error)
        if name not in self._thesauri():
            raise PermanentError(self._api.scrub(f"WITH has not made the thesaurus {name!r}: {why}"))

    def _thesauri(self) -> set[str]:
        found = self._read("/thesaurus/listVocabularies", {}, "list its thesauri")
        if not isinstance(found, list):
            raise TransientError("WITH GET /thesaurus/listVocabularies: no list")
        return {str(one.get("name")) for one in found if isinstance(one, dict)}

    def _read(self, path: str, form: Mapping[str, str], what: str) -> Any:
        """Any JSON; CriticalError for what the platform says it cannot do, TransientError for gateways and broken replies."""
        reply = self._api.request("GET", path, params=dict(form))
        message = self._api.scrub(f"WITH cannot {what}: HTTP {reply.status_code} {error_text(reply)}")
        if reply.status_code == 429 or reply.status_code in (502, 503, 504):
            raise TransientError(message)
        try:
            value = decoded(reply.content)
        except (ValueError, RecursionError):
            raise TransientError(message) from None
        if not reply.ok:
            raise CriticalError(message)
        return value

    def check_no_import(self, name: str) -> None:
        """TransientError when an import into a campaign is under way: what it brings is not among its tags yet.

        One that the platform has given up stays on its list as it was; after some hours it counts as that (§3.6).
        """
        if any(one["status"] == "IMPORTING" and _age_s(one) < DEAD_AFTER_S for one in self._import_runs(name).values()):
            raise TransientError(
                f"WITH is importing into the campaign {name!r}; try again when that has ended, or if it never does after "
                f"{DEAD_AFTER_S / 3600:g} hours"
            )

    def import_tags(self, name: str, document: Mapping[str, Any], *, timeout_s: float) -> tuple[int, int]:
        """Import annotations into a campaign and wait for the end: how many the platform has taken, and refused (§3.6).

        They are sent once: the platform does not recognise repeats. When the reply is lost it is looked whether an import
        has begun. Raises TransientError when none has, or when it has not ended in time: before anything is sent again
        `check_no_import` and `campaign_tags` must say what came of it.
        """
        runs = self._import_runs(name)
        told = self._begin_import(name, document)
        deadline, begun_by = time.monotonic() + timeout_s, time.monotonic() + BEGINS_WITHIN_S
        while True:
            new = [one for uuid, one in self._import_runs(name).items() if uuid not in runs]
            if len(new) > 1:
                raise TransientError(f"somebody else is importing into the campaign {name!r}, too; try again later")
            if new and new[0]["status"] != "IMPORTING":
                return int(new[0]["successCount"]), int(new[0]["failedCount"])
            if not new and time.monotonic() > begun_by:
                raise TransientError(f"WITH has begun no import into the campaign {name!r}: {told}")
            if time.monotonic() > deadline:
                raise TransientError(f"WITH is still importing into the campaign {name!r} after {timeout_s:g} s")
            time.sleep(POLL_S)

    def _begin_import(self, name: str, document: Mapping[str, Any]) -> str:
        """Send it, and say what was answered; a reply that is lost or broken says nothing of what has begun."""
        path, motivation = f"/campaign/{quote(name, safe='')}/importAnnotations", {"motivation": "Tagging"}
        for _ in range(2):
            self._log_in(unless=None)
            seen = self._cookie
            try:
                reply = self._api.request("POST", path, retry=False, json=document, params=motivation)
            except TransientError as error:
                return str(error)
            message = self._api.scrub(f"WITH POST {path}: HTTP {reply.status_code} {error_text(reply)}")
            if NOT_LOGGED_IN not in message:
                break
            self._log_in(unless=seen)
        if reply.is_redirect or reply.status_code in (401, 403) or NOT_LOGGED_IN in message:
            raise CriticalError(message)
        if 400 <= reply.status_code < 500:
            raise PermanentError(message)
        return message

    def _import_runs(self, name: str) -> dict[str, dict[str, Any]]:
        """The imports of a campaign by their uuid."""
        campaign = self._campaign(name)
        if campaign is None:
            raise PermanentError(f"WITH has no campaign {name!r}")
        return {str(one["uuid"]): one for one in campaign.get("baseAnnotations") or ()}

    def _campaign(self, name: str) -> dict[str, Any] | None:
        """An unknown name is answered by `null` (§3.9)."""
        value = self._read("/campaign/getCampaignByName", {"cname": name}, f"show the campaign {name!r}")
        return value if isinstance(value, dict) else None

    def _is_there(self, db_id: str, generator: str) -> bool:
        """Does the platform have an annotation with a contribution of this generator? What is not there is `null`."""
        reply = self._api.request("GET", f"/annotation/{db_id}")
        value = parsed(reply)
        if not reply.ok or (value is None and reply.content.strip() != b"null"):  # a gateway's page proves nothing
            raise TransientError(self._api.scrub(f"WITH GET /annotation/{db_id}: HTTP {reply.status_code}, no annotation"))
        return any(one.get("generator") == generator for one in (value or {}).get("annotators") or ())

    def _json(self, method: str, path: str, *, whatever_body: bool = False, **options: Any) -> dict[str, Any]:
        """A call as a logged-in user: an expired session is no error there, the call is just anonymous (§1.3).

        `whatever_body`: a call whose success says nothing, or something that nobody knows.
        """
        self._log_in(unless=None)
        seen = self._cookie
        reply = self._api.request(method, path, **options)
        if reply.status_code in (400, 403) and NOT_LOGGED_IN in error_text(reply):
            self._log_in(unless=seen)
            reply = self._api.request(method, path, **options)
        value = parsed(reply)
        if reply.ok and (value is not None or whatever_body):
            return value or {}
        message = self._api.scrub(f"WITH {method} {path}: HTTP {reply.status_code} {error_text(reply)}")
        if reply.status_code in (401, 403) or NOT_LOGGED_IN in message:
            raise CriticalError(message)
        # A 500 may mean "unknown" there (§0.5) or a broken server: it is not for us to give up for good.
        raise TransientError(message) if reply.status_code == 429 or reply.status_code >= 500 else PermanentError(message)

    def _log_in(self, *, unless: str | None) -> None:
        """Log in once; `unless` is the cookie that turned out to be stale."""
        with self._lock:
            if self._cookie and self._cookie != unless:
                return
            reply = self._api.request("POST", "/user/login", json=self._login_form)
            cookie = reply.cookies.get(COOKIE)
            if not reply.ok or not cookie:
                raise CriticalError(f"WITH refuses the login of {self._login_form['email']}: {error_text(reply)}")
            self._cookie = cookie


def _age_s(run: Mapping[str, Any]) -> float:
    """How long ago an import has begun; it is told in milliseconds, by the platform's clock."""
    return time.time() - float(run.get("startedAt") or 0) / 1_000


def tag_document(
    record_id: str, body: Mapping[str, Any], *, generator: str, confidence: float, generated: str
) -> dict[str, Any]:
    """A tag as `annotate` posts it (§3.3)."""
    return {
        "motivation": "Tagging",
        "generator": generator,
        "generated": generated,
        "confidence": round(confidence, 4),
        "body": dict(body),
        "target": {"externalId": record_id},
    }
