"""Europeana's Annotation API: token, create, search, change, delete (annotation contract §2–§10)."""

import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from pipeline.clients.annotation_posting import AmbiguousError, Door, Poster
from pipeline.clients.http import ApiSession, error_text, parsed, succeeded
from pipeline.domain.identifiers import annotation_number
from pipeline.errors import CriticalError, EnrichmentError, PermanentError, TransientError
from pipeline.settings import Settings

DUPLICATE = re.compile(r"Found duplicate annotations with the ids: ?([\d, ]+)")
LARGEST_PAGE = 10_000  # of URIs alone (§8.1)
REFRESH_BEFORE_S = 60  # as Europeana's own client does
TOKEN_PATH = "/realms/europeana/protocol/openid-connect/token"


@dataclass(frozen=True)
class Created:
    """The server stored it under this URI."""

    remote_id: str


@dataclass(frozen=True)
class Duplicate:
    """The same tag stands on the record already, under these numbers, ours or others'."""

    numbers: tuple[str, ...]


class GoneError(PermanentError):
    """The annotation is unknown or deleted."""


class AnnotationClient:
    """Speaks for one service account; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._tokens = _Tokens(settings)
        self._api = ApiSession(
            base_url=settings.europeana_api_url.rstrip("/"),
            user_agent=settings.user_agent,
            timeout_s=settings.api_timeout_s,
            attempts=settings.api_attempts,
            backoff_s=settings.api_backoff_s,
            headers=lambda: {"Authorization": f"Bearer {self._tokens.current()}", "Accept": "application/ld+json"},
            secrets=self._tokens.secrets,
        )
        door = Door(
            url=f"{self._api.base_url}/annotation/",
            user_agent=settings.user_agent,
            timeout_s=settings.api_timeout_s,
            headers=self._api.headers,
            understand=self._created,
            renew=self._tokens.forget,
            scrub=self._api.scrub,
            waits=settings.api_attempts > 1,
        )
        self._poster = Poster[Created | Duplicate](door, most=settings.publish_concurrency)

    def create(self, document: Mapping[str, Any]) -> Created | Duplicate:
        """Post one annotation.

        Raises AmbiguousError when it may have been stored all the same, PermanentError when the server refuses this
        document, TransientError for a lock or a rate limit, CriticalError for refused credentials (contract §10).
        """
        ((reply,),) = self.create_all([[document]])
        if isinstance(reply, EnrichmentError):
            raise reply
        return reply

    def create_all(self, chains: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[Created | Duplicate | EnrichmentError]]:
        """Post many, those of a chain one after the other; for each what `create` returns or raises.

        The server's check for duplicates has no transaction (§6.2), so a record's annotations belong into one chain.
        """
        return self._poster.post_all(chains)

    def close(self) -> None:
        """Close the connections of `create`."""
        self._poster.close()

    def find(self, record_id: str, body_uri: str) -> str | None:
        """The URI of *our* tag with this body on the record, the oldest of several, or None."""
        return next(iter(self.find_all(record_id, body_uri)), None)

    def find_all(self, record_id: str, body_uri: str) -> list[str]:
        """The URIs of all our tags with this body on the record that the index knows, the oldest first."""
        page = self._search(f'target_record_id:"{record_id}"', f'body_uri:"{body_uri}"', page=0, size=100)
        return sorted(_items(page), key=lambda uri: int(annotation_number(uri)))

    def is_ours(self, number: str) -> bool:
        """Did our account create this annotation? GoneError when it is unknown or deleted."""
        creator = self.get(number).get("creator")
        return (creator.get("id") if isinstance(creator, dict) else creator) == self.creator()

    def get(self, number: str) -> dict[str, Any]:
        """One annotation; GoneError when it is unknown or deleted."""
        return self._json(f"/annotation/{number}")

    def update(self, number: str, document: Mapping[str, Any]) -> None:
        """Replace what one of ours says; it must be as we read it, or it is read and replaced once more (412).

        PermanentError when it is unknown, deleted or refused, TransientError for what passes, CriticalError for
        credentials. Doing it again changes nothing.
        """
        path = f"/annotation/{number}"
        for _ in range(2):
            current = self._request("GET", path)
            self._check(current, f"GET {path}")
            etag = {"If-Match": current.headers["ETag"]} if "ETag" in current.headers else {}
            reply = self._request("PUT", path, json=document, headers=etag)
            if reply.status_code != 412:
                break
        self._check(reply, f"PUT {path}")

    def delete(self, number: str) -> bool:
        """Delete one of ours; False when it was gone already. Raises what `update` raises."""
        path = f"/annotation/{number}"
        reply = self._request("DELETE", path)
        if reply.status_code in (404, 410):
            return False
        self._check(reply, f"DELETE {path}")
        return True

    def all_of_ours(self, highest: int) -> Iterator[str]:
        """The numbers of all our tags that the index knows; `highest` is about the largest number that they have.

        Asked for in ranges of numbers that fit on a page: paging deep into a search is slow, and its order may change.
        """
        ranges: list[tuple[int, int | None]] = [(highest + 1, None), (0, highest)]
        while ranges:
            low, high = ranges.pop()
            page = self._search(f"anno_id:[{low} TO {'*' if high is None else high}]", page=0, size=LARGEST_PAGE)
            if _total(page) > LARGEST_PAGE:
                middle = (low + high) // 2 if high is not None else 2 * low + LARGEST_PAGE
                ranges += [(middle + 1, high), (low, middle)]
            else:
                yield from (annotation_number(uri) for uri in _items(page))

    def creator(self) -> str:
        """Our creator URI: the token's `sub` names it (contract §1)."""
        return f"http://data.europeana.eu/user/{self._tokens.subject()}"

    def _search(self, query: str, *filters: str, page: int, size: int) -> dict[str, Any]:
        """A page of the URIs of our own tags."""
        params = {
            "query": query,
            "qf": ["motivation:tagging", f'creator_uri:"{self.creator()}"', *filters],
            "page": page,
            "pageSize": size,
            "profile": "minimal",
        }
        return self._json("/annotation/search", params=params)

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        """A call with a token; one that the server does not know any more is fetched anew, once (contract §10)."""
        reply = self._api.request(method, path, **options)
        if reply.status_code == 401:
            self._tokens.forget(reply.request.headers)
            reply = self._api.request(method, path, **options)
        return reply

    def _json(self, path: str, **options: Any) -> dict[str, Any]:
        reply = self._request("GET", path, broken=lambda reply: parsed(reply) is None, **options)
        self._check(reply, f"GET {path}")
        if (value := parsed(reply)) is None:
            raise TransientError(f"GET {path}: the reply is not the JSON that was asked for")
        return value

    def _check(self, reply: requests.Response, what: str) -> None:
        """Raise what a refusal of a call that may be repeated means."""
        if succeeded(reply):
            return
        message = self._api.scrub(f"{what}: HTTP {reply.status_code} {error_text(reply)}".strip())
        _check_access(reply, message)
        if reply.status_code in (408, 412, 423, 429) or reply.status_code >= 500:
            raise TransientError(message)
        raise GoneError(message) if reply.status_code in (404, 410) else PermanentError(message)

    def _created(self, reply: requests.Response) -> Created | Duplicate:
        text = self._api.scrub(error_text(reply))
        value = parsed(reply) or {}
        if reply.status_code == 201 and value.get("id"):
            return Created(str(value["id"]))
        if reply.status_code == 400 and (found := DUPLICATE.search(text)):
            return Duplicate(tuple(part.strip() for part in found.group(1).split(",") if part.strip()))
        message = f"HTTP {reply.status_code} {text}".strip()
        _check_access(reply, message)
        if reply.status_code in (423, 429):
            raise TransientError(message)
        if reply.status_code >= 500 or reply.status_code < 400:
            raise AmbiguousError(message)
        raise PermanentError(message)


def _check_access(reply: requests.Response, message: str) -> None:
    """CriticalError when the API is not at this address, or does not take our account."""
    if reply.is_redirect:
        raise CriticalError(f"the Annotation API is elsewhere, check EUROPEANA_API_URL: {message}")
    if reply.status_code in (401, 403):
        raise CriticalError(f"the Annotation API refuses our account: {message}")


def _items(page: Mapping[str, Any]) -> list[str]:
    """What stands on a page; a single one may come without its list (§8.3)."""
    found = page.get("items", [])
    return found if isinstance(found, list) else [found]


def _total(page: Mapping[str, Any]) -> int:
    """How many the search has in all; the member has two names (§8.3)."""
    whole = page.get("isPartOf") or page.get("partOf") or {}
    return int(whole.get("total") or 0) if isinstance(whole, Mapping) else len(_items(page))


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
            backoff_s=settings.api_backoff_s,
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

    def forget(self, refused: Mapping[str, str]) -> None:
        """Fetch a new token next time, unless that has been done since the request with these headers was sent."""
        with self._lock:
            if refused.get("Authorization") == f"Bearer {self._token}":
                self._expires = 0.0

    def subject(self) -> str:
        """The account's id, read from the token without checking it: the server does that."""
        import jwt

        claims: dict[str, Any] = jwt.decode(self.current(), options={"verify_signature": False})
        return str(claims["sub"])
