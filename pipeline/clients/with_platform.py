"""WITH / CrowdHeritage: login, filling a collection by ids, single annotations (WITH contract §1.2, §2.5, §3.3)."""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.clients.http import ApiSession, error_text, parsed
from pipeline.errors import CriticalError, PermanentError, TransientError
from pipeline.settings import Settings

COOKIE = "PLAY_SESSION"
NOT_LOGGED_IN = "User not logged in"
POLL_S = 0.2
IDS_PER_IMPORT = 5_000
# An import gives no sign when it is done (§2.5): a collection that has not grown for so long counts as full.
QUIET_S = 3.0
LONGEST_IMPORT_S = 600.0


class WithClient:
    """Speaks for one account; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        if not settings.with_username:
            raise CriticalError("WITH_USERNAME is not set; hidden labels need an account on the platform")
        password = settings.with_password.get_secret_value()
        self._login_form = {"email": settings.with_username, "password": password}
        self._cookie = ""
        self._lock = threading.Lock()
        self._api = ApiSession(
            base_url=settings.with_api_url.rstrip("/"),
            user_agent=settings.user_agent,
            timeout_s=settings.api_timeout_s,
            attempts=settings.api_attempts,
            headers=lambda: {"Cookie": f"{COOKIE}={self._cookie}"} if self._cookie else {},
            secrets=(password,),
        )

    def fill_collection(self, name: str, record_ids: Sequence[str]) -> None:
        """Bring records into WITH and wait until the collection has stopped growing.

        Fewer than asked is normal: the platform skips ids that it has already or cannot find (§2.5).
        """
        for at in range(0, len(record_ids), IDS_PER_IMPORT):
            form = {"collectionName": name, "itemIds": list(record_ids[at : at + IDS_PER_IMPORT])}
            collection = self._json("POST", "/collection/importItems", json=form)
            path = f"/collection/{collection['dbId']}"
            before = count = int(collection["administrative"]["entryCount"])
            started = grown = time.monotonic()
            while count < before + len(form["itemIds"]) and time.monotonic() - grown < QUIET_S:
                if time.monotonic() - started > LONGEST_IMPORT_S:
                    raise TransientError(f"WITH is still importing into {name!r} after {LONGEST_IMPORT_S:g} s")
                time.sleep(POLL_S)
                now = int(self._json("GET", path)["administrative"]["entryCount"])
                grown, count = (time.monotonic(), now) if now > count else (grown, count)

    def annotate(self, record_id: str, body: Mapping[str, Any], *, generator: str, confidence: float, generated: str) -> str:
        """One tag on one record, not marked for publication; returns its id.

        The same tag by the same account comes back unchanged (§3.3), so sending again is harmless. Raises
        PermanentError when the platform does not know the record.
        """
        document = {
            "motivation": "Tagging",
            "generator": generator,
            "generated": generated,
            "confidence": round(confidence, 4),
            "body": dict(body),
            "target": {"externalId": record_id},
        }
        return str(self._json("POST", "/record/annotation", json=document)["dbId"])

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """A call as a logged-in user: an expired session is no error there, the call is just anonymous (§1.3)."""
        self._log_in(unless=None)
        seen = self._cookie
        reply = self._api.request(method, path, **options)
        if reply.status_code in (400, 403) and NOT_LOGGED_IN in error_text(reply):
            self._log_in(unless=seen)
            reply = self._api.request(method, path, **options)
        value = parsed(reply)
        if reply.ok and value is not None:
            return value
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
