"""What every part of the WITH stand-in needs: its errors, its dates, its ids, and reading a request."""

import hashlib
import html
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NoReturn

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from pipeline.sandbox.state import now_ms

# Request text beyond this is not parsed (WITH contract 3.6 and 4).
BODY_LIMIT = 10 * 1024 * 1024
MOTIVATIONS = (
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

Handler = Callable[[Request], Awaitable[Response]]
Table = list[tuple[str, str, Handler]]


class WithError(Exception):
    """An answer other than 200; an empty error is an answer without a body."""

    def __init__(self, status: int, error: object, **beside: object) -> None:
        super().__init__(str(error))
        self.status = status
        self.error = error
        self.beside = beside


class PlayPage(Exception):
    """A fault that the web framework answers itself, with a page of HTML (WITH contract 4)."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail

    def response(self) -> Response:
        """The page."""
        title, detail = html.escape(self.title), html.escape(self.detail)
        page = f'<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1><p id="detail">{detail}</p>'
        return HTMLResponse(f"{page}</body></html>\n", self.status)


def guarded(handler: Handler) -> Handler:
    """A handler whose refusals become answers."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except PlayPage as page:
            return page.response()
        except WithError as error:
            if not error.error:
                return Response(status_code=error.status)
            return JSONResponse({"error": error.error, **error.beside}, error.status)

    return answer


async def json_body(request: Request) -> Any:
    """The request's JSON; anything that is none, or too long, is `Invalid JSON`."""
    content, length = bytearray(), 0
    async for part in request.stream():
        length += len(part)
        # A body that is too long is read to its end all the same: a client that still sends would not see the answer.
        if length <= BODY_LIMIT:
            content += part
    try:
        if length > BODY_LIMIT:
            raise ValueError("too long")
        form = json.loads(content, parse_constant=_no_constant)
        if b"\\u" in content:
            json.dumps(form, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise WithError(400, "Invalid JSON") from error
    return form


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


async def json_object(request: Request) -> dict[str, Any]:
    """The request's JSON object."""
    form = await json_body(request)
    if not isinstance(form, dict):
        raise WithError(400, "Invalid JSON")
    return form


def integer(request: Request, name: str, default: int) -> int:
    """A number of the query; text that is none gives the framework's page."""
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise bad_request(request, f"Cannot parse parameter {name} as Int: For input string: {text}")
    return int(text)


def flag(request: Request, name: str, *, default: bool) -> bool:
    """A truth value of the query."""
    text = request.query_params.get(name, str(default)).lower()
    if text not in ("true", "false", "1", "0"):
        raise bad_request(request, f"Cannot parse parameter {name} as Boolean: should be true, false, 0 or 1")
    return text in ("true", "1")


def needed(request: Request, name: str) -> str:
    """A mandatory parameter; without it the framework answers before the platform sees the call."""
    text = request.query_params.get(name)
    if text is None:
        raise bad_request(request, f"Missing parameter: {name}")
    return text


def bad_request(request: Request, detail: str) -> PlayPage:
    """The framework's page for a request that no action takes."""
    path = request.url.path.removeprefix("/with")
    return PlayPage(400, "Bad request", f"For request '{request.method} {path}' [{detail}]")


def missing(identifier: str) -> WithError:
    """A resource that is not there: 500, not 404 (WITH contract 2.7)."""
    return WithError(500, f"Cannot retrieve resource {identifier} from database")


def object_id(kind: str, name: str) -> str:
    """24 hexadecimal digits, the same for the same name."""
    return hashlib.sha256(f"{kind} {name}".encode()).hexdigest()[:24]


def day(milliseconds: int) -> str:
    """`2026/04/01`: the time of day is lost (WITH contract 3.2)."""
    return _moment(milliseconds).strftime("%Y/%m/%d")


def java_date(milliseconds: int) -> str:
    """`Wed Apr 01 17:17:52 UTC 2026`, in English whatever the locale."""
    moment = _moment(milliseconds)
    week_day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[moment.weekday()]
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[moment.month - 1]
    return f"{week_day} {month} {moment.day:02d} {moment:%H:%M:%S} UTC {moment.year}"


def instant(milliseconds: int) -> str:
    """`2026-04-01T17:17:52Z`, with milliseconds where there are any."""
    moment = _moment(milliseconds)
    precision = "milliseconds" if milliseconds % 1000 else "seconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def generated_at(value: object) -> int:
    """The date of a single annotation or vote, `yyyy-MM-dd'T'HH:mm:ss.SSS'Z'`; anything else is now."""
    return _parsed(str(value), "%Y-%m-%dT%H:%M:%S.%fZ")


def created_at(value: object) -> int:
    """The date of an imported annotation: what stands behind the seconds is ignored, also a zone (3.2)."""
    return _parsed(str(value)[:19], "%Y-%m-%dT%H:%M:%S")


def _parsed(text: str, form: str) -> int:
    try:
        moment = datetime.strptime(text, form).replace(tzinfo=UTC)
    except ValueError:
        return now_ms()
    return round(moment.timestamp() * 1000)


def localised(texts: Any, locale: str | None) -> Any:
    """A text in several languages as a call sees it: without `locale` only `default` and `uri` come back (2.6)."""
    if not isinstance(texts, dict) or (locale or "").upper() == "ALL":
        return texts
    return {language: value for language, value in texts.items() if language in ("default", "uri", locale)}
