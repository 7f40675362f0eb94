"""Europeana's Annotation API: token, create, search, delete (annotation contract §2–§10)."""

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from pipeline.clients.http import ApiSession, error_text, parsed
from pipeline.domain.identifiers import annotation_number
from pipeline.errors import CriticalError, EnrichmentError, PermanentError, TransientError
from pipeline.settings import Settings

DUPLICATE = re.compile(r"Found duplicate annotations with the ids: ?([\d, ]+)")
REFRESH_BEFORE_S = 60  # as Europeana's own client does
TOKEN_PATH = "/realms/europeana/protocol/openid-connect/token"


class AmbiguousError(EnrichmentError):
    """The reply to a create was lost: it may or may not have been stored. Ask before sending again."""


@dataclass(frozen=True)
class Created:
    """The server stored it under this URI."""

    remote_id: str


@dataclass(frozen=True)
class Duplicate:
    """The same tag stands on the record already, under these numbers, ours or others'."""

    numbers: tuple[str, ...]


class AnnotationClient:
    """Speaks for one service account; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._tokens = _Tokens(settings)
        self._api = ApiSession(
            base_url=settings.europeana_api_url.rstrip("/"),
            user_agent=settings.user_agent,
            timeout_s=settings.api_timeout_s,
            attempts=settings.api_attempts,
            headers=lambda: {"Authorization": f"Bearer {self._tokens.current()}", "Accept": "application/ld+json"},
            secrets=self._tokens.secrets,
        )

    def create(self, document: Mapping[str, Any]) -> Created | Duplicate:
        """Post one annotation.

        Raises AmbiguousError when it may have been stored all the same, PermanentError when the server refuses this
        document, TransientError for a lock or a rate limit, CriticalError for refused credentials (contract §10).
        """
        self._tokens.current()  # a token that cannot be had is no lost reply: nothing has been sent yet
        try:
            reply = self._post(document)
            if reply.status_code == 401:
                self._tokens.forget()
                reply = self._post(document)
        except TransientError as error:
            raise AmbiguousError(str(error)) from None
        return self._created(reply)

    def find(self, record_id: str, body_uri: str) -> str | None:
        """The URI of *our* tag with this body on the record, or None."""
        params = {
            "query": f'target_record_id:"{record_id}"',
            "qf": ["motivation:tagging", f'body_uri:"{body_uri}"', f'creator_uri:"{self.creator()}"'],
            "pageSize": 100,
            "profile": "minimal",
        }
        found = self._api.json("GET", "/annotation/search", params=params).get("items", [])
        found = found if isinstance(found, list) else [found]
        return min(found, key=lambda uri: int(annotation_number(uri))) if found else None

    def is_ours(self, number: str) -> bool:
        """Did our account create this annotation?"""
        creator = self.get(number).get("creator")
        return (creator.get("id") if isinstance(creator, dict) else creator) == self.creator()

    def get(self, number: str) -> dict[str, Any]:
        """One annotation; PermanentError when it is unknown or deleted."""
        return self._api.json("GET", f"/annotation/{number}")

    def delete(self, number: str) -> None:
        """Delete one of ours; one that is gone already is fine."""
        reply = self._api.request("DELETE", f"/annotation/{number}")
        if reply.status_code not in (204, 404, 410):
            raise CriticalError(self._api.scrub(f"DELETE annotation {number}: HTTP {reply.status_code} {error_text(reply)}"))

    def creator(self) -> str:
        """Our creator URI: the token's `sub` names it (contract §1)."""
        return f"http://data.europeana.eu/user/{self._tokens.subject()}"

    def _post(self, document: Mapping[str, Any]) -> requests.Response:
        return self._api.request("POST", "/annotation/", json=document, retry=False)

    def _created(self, reply: requests.Response) -> Created | Duplicate:
        text = self._api.scrub(error_text(reply))
        value = parsed(reply) or {}
        if reply.status_code == 201 and value.get("id"):
            return Created(str(value["id"]))
        if reply.status_code == 400 and (found := DUPLICATE.search(text)):
            return Duplicate(tuple(part.strip() for part in found.group(1).split(",") if part.strip()))
        message = f"HTTP {reply.status_code} {text}".strip()
        if reply.status_code in (401, 403):
            raise CriticalError(f"the Annotation API refuses our account: {message}")
        if reply.status_code in (423, 429):
            raise TransientError(message)
        if reply.status_code >= 500 or reply.ok:
            raise AmbiguousError(message)
        raise PermanentError(message)


class _Tokens:
    """The access token, fetched when needed and renewed a minute before it expires."""

    def __init__(self, settings: Settings) -> None:
        if not settings.annotation_client_id:
            raise CriticalError("ANNOTATION_CLIENT_ID is not set; write access comes from api@europeana.eu")
        self._form = {
            "client_id": settings.annotation_client_id,
            "client_secret": settings.annotation_client_secret.get_secret_value(),
            "scope": "annotations",
            "grant_type": "client_credentials",
        }
        if settings.annotation_username:
            self._form |= {
                "grant_type": "password",
                "username": settings.annotation_username,
                "password": settings.annotation_password.get_secret_value(),
            }
        self.secrets = tuple(self._form[name] for name in ("client_secret", "password") if self._form.get(name))
        self._api = ApiSession(
            base_url=settings.europeana_auth_url.rstrip("/"),
            user_agent=settings.user_agent,
            timeout_s=settings.api_timeout_s,
            attempts=settings.api_attempts,
            secrets=self.secrets,
        )
        self._lock = threading.Lock()
        self._token = ""
        self._expires = 0.0

    def current(self) -> str:
        """A token that is good for the next minute at least."""
        with self._lock:
            if time.monotonic() > self._expires - REFRESH_BEFORE_S:
                reply = self._api.json("POST", TOKEN_PATH, data=self._form)
                lifetime = float(reply.get("expires_in", 0))
                self._token = str(reply["access_token"])
                # A token that lives shorter than the margin is still used for half of its life.
                self._expires = time.monotonic() + max(lifetime, REFRESH_BEFORE_S + lifetime / 2)
            return self._token

    def forget(self) -> None:
        """Fetch a new token next time."""
        with self._lock:
            self._expires = 0.0

    def subject(self) -> str:
        """The account's id, read from the token without checking it: the server does that."""
        import jwt

        claims: dict[str, Any] = jwt.decode(self.current(), options={"verify_signature": False})
        return str(claims["sub"])
