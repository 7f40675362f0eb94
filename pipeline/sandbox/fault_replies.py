"""The answers of faults: each platform's error bodies, gateway pages and tombstones (Europeana contract 1.3, 1.9, 2.2;
annotation contract 7).
"""

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from starlette.types import Send

from pipeline.sandbox.pictures import made

IMAGE_PATH = r"^/(media|_faulty|iiif|landing|robots\.txt)"
_DENIED = "The user is not authorized to perform the given operation! Invalid token or ApiKey"
_REASON = "http://data.europeana.eu/vocabulary/depublicationReason/brokenMediaLinks"
_SOLR = {
    "504-SA": (400, "A timeout occurred while searching", "Timeout occurred while waiting response from server"),
    "503-SA": (503, "The search engine cannot be reached", "Could not connect to ZooKeeper"),
}


@dataclass
class Reply:
    """A whole answer that can still be changed."""

    status: int
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    def json(self) -> dict[str, Any]:
        """The body, empty when it is no JSON object."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    def replace(self, name: str, value: str) -> None:
        """Set a header, in place of those of its name."""
        key = name.encode()
        self.headers = [pair for pair in self.headers if pair[0].lower() != key] + [(key, value.encode())]

    def become(self, status: int, document: object) -> None:
        """Another status and another JSON body."""
        self.status, self.body = status, json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        self.headers = [pair for pair in self.headers if pair[0].lower() not in (b"etag", b"last-modified")]
        self.replace("content-type", "application/json;charset=UTF-8")

    async def send(self, send: Send, *, upto: int | None = None) -> None:
        """Send it; with `upto` only so many bytes, and more seem to follow."""
        if self.status not in (204, 304):
            self.replace("content-length", str(len(self.body)))
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        if upto is None:
            await send({"type": "http.response.body", "body": self.body})
        else:
            await send({"type": "http.response.body", "body": self.body[:upto], "more_body": True})


def page(status: int, title: str, media_type: str = "text/html; charset=utf-8") -> Reply:
    """An HTML page."""
    text = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1><hr>nginx</body></html>\n"
    return Reply(status, [(b"content-type", media_type.encode())], text.encode())


def gateway_page(status: int) -> Reply:
    """What a gateway in front of an API says when the API is away."""
    return page(status, f"{status} {HTTPStatus(status).phrase}")


def image_reply(fault: str, seconds: float) -> Reply:
    """A fault of an image host (Europeana contract 5.1, 7.1 point 9)."""
    match fault:
        case "html":
            return page(200, "Image not available")
        case "zero":
            return Reply(200, [(b"content-type", b"image/jpeg")])
        case "wrong-type":
            return Reply(200, [(b"content-type", b"text/plain")], made("picture.jpg"))
        case "octet-stream":
            return Reply(200, [(b"content-type", b"application/octet-stream")], made("picture.jpg"))
        case "no-robots":
            return Reply(200, [(b"content-type", b"image/jpeg"), (b"x-robots-tag", b"noai, noimageai")], made("picture.jpg"))
        case "disallow-all":
            return Reply(200, [(b"content-type", b"text/plain")], b"User-agent: *\nDisallow: /\n")
    status = int(fault) if fault.isdigit() else 400
    reply = gateway_page(status) if status in _STATUSES else page(status, str(status))
    if status in (429, 503):
        reply.replace("retry-after", str(max(1, round(seconds))))
    return reply


_STATUSES = {int(status) for status in HTTPStatus}


def error_reply(path: str, fault: str, seconds: float) -> Reply:
    """An error of an API in the body that the API of this path has; a status that HTTP does not know becomes 500."""
    if fault == "expired-token":
        return _json(401, _body(path, f"{_DENIED} Expired JWT token. Please refresh the token. Expiration time:  {_now()}"))
    if fault in _SOLR:
        status, error, message = _SOLR[fault]
        return _json(status, {"success": False, "error": error, "message": message, "code": fault})
    status = int(fault) if fault.isdigit() and int(fault) in _STATUSES else 500
    if status == 429:
        reply = _json(429, _limit(path))
        if not path.startswith("/with"):
            # No Retry-After anywhere: the headers tell when the window ends (1.3).
            reply.replace("ratelimit-policy", '"personal";q=1000;w=3600')
            reply.replace("ratelimit", f'"personal";r=0;t={max(1, round(seconds))}')
        return reply
    return _json(status, _body(path, _text(path, status)))


def _now() -> int:
    return int(time.time()) - 1


def _limit(path: str) -> dict[str, Any]:
    error = "Personal key client has reached the limit of 1000 requests per 60 minutes"
    if path.startswith("/with"):
        return {"error": "Too Many Requests"}
    message = "Please use a project key or access tokens"
    return {"success": False, "error": error, "message": message, "code": "429_limit_personal"}


def _text(path: str, status: int) -> str:
    """The text of an error: the documented one where there is one."""
    if path.startswith("/europeana/annotation"):
        solr = "Unexpected error on solr search with query: *:*"
        texts = {423: "error.userset_lock_maintenance", 500: "An unexpected server exception occurred! null", 504: solr}
        if status in texts:
            return texts[status]
    return "Internal server error" if status == 500 else HTTPStatus(status).phrase


def _body(path: str, error: str) -> dict[str, Any]:
    if path.startswith("/europeana/annotation"):
        return {"action": path.removeprefix("/europeana"), "success": False, "error": error}
    if path.startswith("/europeana"):
        return {"success": False, "error": error}
    return {"error": error}


def _json(status: int, document: dict[str, Any]) -> Reply:
    reply = Reply(status)
    reply.become(status, document)
    return reply


def tombstone(record_id: str, envelope: dict[str, Any]) -> dict[str, Any]:
    """A depublished record: what is left of it says when and why (Europeana contract 2.2)."""
    ended = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    aggregation = envelope.get("object", {}).get("europeanaAggregation", {})
    kept = {name: value for name, value in envelope.items() if name in ("apikey", "statsDuration", "requestNumber")}
    log = [{"type": "Delete", "context": _REASON, "endTime": ended}]
    about = aggregation.get("about", f"/aggregation/europeana{record_id}")
    body = {"about": record_id, "europeanaAggregation": {"about": about, "changeLog": log}}
    return {**kept, "success": True, "object": body}
