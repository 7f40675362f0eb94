"""A W3C Web Annotation Protocol container (LDP): create, look for, change, delete.

The protocol (https://www.w3.org/TR/annotation-protocol/) has no search. What was stored although its reply was lost is
looked for under the name that we asked for (`Slug`), then on the container's pages.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from pipeline.clients.annotation_posting import AmbiguousError
from pipeline.clients.http import ApiSession, error_text, parsed, succeeded
from pipeline.errors import CriticalError, PermanentError, TransientError
from pipeline.settings import Settings

MEDIA_TYPE = 'application/ld+json; profile="http://www.w3.org/ns/anno.jsonld"'  # §3.1: servers must have it
WHOLE = 'return=representation;include="http://www.w3.org/ns/oa#PreferContainedDescriptions"'  # §4.2
_NOT_THERE = (404, 410)


class ContainerClient:
    """Speaks to one container; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        """CriticalError for an address that is no container's: §4 wants it to end with a slash."""
        self._url = settings.annotation_container_url
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https") or not parts.netloc or not parts.path.endswith("/"):
            raise CriticalError(f"ANNOTATION_CONTAINER_URL {self._url!r} is no container: an http(s) address that ends with /")
        token = settings.annotation_container_token.get_secret_value()
        self._host = f"{parts.scheme}://{parts.netloc}"
        self._api = ApiSession(
            base_url=self._host,
            user_agent=settings.user_agent,
            timeout_s=settings.api_timeout_s,
            attempts=settings.api_attempts,
            backoff_s=settings.api_backoff_s,
            headers=lambda: {"Accept": MEDIA_TYPE} | ({"Authorization": f"Bearer {token}"} if token else {}),
            secrets=(token,) if token else (),
        )

    def create(self, document: Mapping[str, Any], *, name: str) -> str:
        """Post one annotation, by the name of our choice if the server likes it; returns its URI (§5.1).

        Raises AmbiguousError when it may have been stored all the same, PermanentError when the server refuses this
        document, TransientError for a lock or a rate limit, CriticalError for refused credentials.
        """
        headers = {"Content-Type": MEDIA_TYPE, "Slug": name}
        try:
            reply = self._api.request("POST", self._path(self._url), data=json.dumps(document), headers=headers, retry=False)
        except TransientError as error:
            raise AmbiguousError(str(error)) from None
        if reply.status_code == 201 and reply.headers.get("Location"):
            return urljoin(self._url, reply.headers["Location"])
        if succeeded(reply) or reply.status_code >= 500:
            raise AmbiguousError(f"POST {self._url}: HTTP {reply.status_code}, and no word of where it is")
        raise self._refusal(reply, f"POST {self._url}")

    def find_all(self, canonical: str, *, name: str) -> list[str]:
        """The URIs of all annotations with this `canonical`; the whole container is read unless the name leads to one."""
        own = urljoin(self._url, name)
        if (reply := self._get(own)) is not None and (parsed(reply) or {}).get("canonical") == canonical:
            return [own]
        return [str(one["id"]) for one in self._contained() if one.get("canonical") == canonical]

    def is_there(self, uri: str) -> bool:
        """Does the annotation stand there?"""
        return self._get(uri) is not None

    def update(self, uri: str, document: Mapping[str, Any]) -> None:
        """Replace what an annotation says (§5.2); PermanentError when it is gone or refused, else as `create`."""
        headers = {"Content-Type": MEDIA_TYPE}
        if not self._change("PUT", uri, data=json.dumps({**document, "id": uri}), headers=headers):
            raise PermanentError(f"PUT {uri}: it is not there any more")

    def delete(self, uri: str) -> None:
        """Delete an annotation (§5.3); nothing happens when it is gone already."""
        self._change("DELETE", uri, headers={})

    def _change(self, method: str, uri: str, *, headers: Mapping[str, str], **options: Any) -> bool:
        """As we read it, or it is read and changed once more (412); False when it is not there (any more)."""
        for _ in range(2):
            if (current := self._get(uri)) is None:
                return False
            etag = {"If-Match": current.headers["ETag"]} if "ETag" in current.headers else {}
            reply = self._api.request(method, self._path(uri), headers={**headers, **etag}, **options)
            if reply.status_code != 412:
                break
        if not succeeded(reply) and reply.status_code not in _NOT_THERE:
            raise self._refusal(reply, f"{method} {uri}")
        return succeeded(reply)

    def _contained(self) -> Iterator[dict[str, Any]]:
        """Every annotation of the container, page by page; a page may be in the collection, or be named there (§4.2)."""
        page = self._json(self._url).get("first")
        seen: set[str] = set()
        while page:
            if isinstance(page, str):
                if page in seen:
                    raise TransientError(f"{self._url}: its pages lead in a circle")
                seen.add(page)
                page = self._json(page)
            items = page.get("items") or []
            for item in items if isinstance(items, list) else [items]:
                yield item if isinstance(item, dict) else self._json(item)
            page = page.get("next")

    def _get(self, uri: str) -> requests.Response | None:
        """None when it is unknown or deleted."""
        reply = self._api.request("GET", self._path(uri), broken=lambda reply: parsed(reply) is None)
        if reply.status_code in _NOT_THERE:
            return None
        if not succeeded(reply):
            raise self._refusal(reply, f"GET {uri}")
        return reply

    def _json(self, uri: str) -> dict[str, Any]:
        return self._api.json("GET", self._path(uri), headers={"Prefer": WHOLE})

    def _path(self, uri: str) -> str:
        """The part of an address behind the host; credentials are for this host alone."""
        address = urljoin(self._url, uri)
        if not address.startswith(f"{self._host}/"):
            raise CriticalError(f"{self._url} names {uri}, which is on another host")
        return address.removeprefix(self._host)

    def _refusal(self, reply: requests.Response, what: str) -> Exception:
        message = self._api.scrub(f"{what}: HTTP {reply.status_code} {error_text(reply)}".strip())
        if reply.is_redirect:
            return CriticalError(f"the annotation container is elsewhere, check ANNOTATION_CONTAINER_URL: {message}")
        if reply.status_code in (401, 403):
            return CriticalError(f"the annotation container refuses us: {message}; check ANNOTATION_CONTAINER_TOKEN")
        if reply.status_code in (408, 412, 423, 429) or reply.status_code >= 500:
            return TransientError(message)
        return PermanentError(message)
