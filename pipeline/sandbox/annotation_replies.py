"""Answers of the Annotation API: headers, and error bodies in both formats (annotation contract 3 and 7)."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.sandbox.annotation_refusal import AnnotationRefusal, MalformedAnnotation, WrongTypeError, unsupported
from pipeline.sandbox.query import QuerySyntaxError
from pipeline.sandbox.quota import Quota

RESOURCE_LINK = '<http://www.w3.org/ns/ldp#Resource>; rel="type"'
ERROR_FORMATS = ("2024", "2026")
_LD_JSON = "application/ld+json;charset=utf-8"
_JSON = "application/json;charset=utf-8"
_ACCEPTED = re.compile(r"\*/\*|application/(\*|json|ld\+json)")
_ALL_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_CORS_METHODS = ("GET", "HEAD", "POST", "PUT", "OPTIONS")
_TRUE, _FALSE = ("true", "on", "yes", "1"), ("false", "off", "no", "0")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Handler = Callable[[Request], Awaitable[Response]]


class AnnotationReplies:
    """Makes routes whose refusals have the body of the format that is switched on, and that keep to the quota."""

    def __init__(self, error_format: str, quota: Quota) -> None:
        self._quota = quota
        self.set_error_format(error_format)

    def set_error_format(self, name: str) -> None:
        """`2024` is the body of 7.1, `2026` that of 7.2."""
        if name not in ERROR_FORMATS:
            raise ValueError(f"No error format '{name}'; there are {' and '.join(ERROR_FORMATS)}.")
        self.error_format = name

    def route(self, path: str, **handlers: Handler) -> Route:
        """One path with all its methods; what is not there is answered 405, and OPTIONS and HEAD are derived."""

        async def endpoint(request: Request) -> Response:
            if self._quota.take():
                response = await self._answer(request, handlers)
            else:
                response = self.error(request, AnnotationRefusal(self._quota.refusal(), 429, code="429_limit_personal"))
            response.headers.update(self._quota.headers())
            if "origin" in request.headers:
                response.headers["Access-Control-Allow-Origin"] = "*"
            return response

        return Route(path, endpoint, methods=list(_ALL_METHODS))

    async def _answer(self, request: Request, handlers: Mapping[str, Handler]) -> Response:
        handler = handlers.get("GET" if request.method == "HEAD" else request.method)
        try:
            if handler is None:
                return self._other_method(request, handlers)
            accept = request.headers.get("accept")
            if accept and not _ACCEPTED.search(accept):
                raise AnnotationRefusal(" Could not find acceptable representation", 406)
            return await handler(request)
        except AnnotationRefusal as refusal:
            return self.error(request, refusal)
        except QuerySyntaxError as error:
            return self.error(request, AnnotationRefusal(f"Malformed solr query: {error}"))
        except RecursionError:
            return self.error(request, MalformedAnnotation("Document nesting depth exceeds the maximum allowed"))
        except WrongTypeError as error:
            text = "Error in parsing request parameter (wrong type)."
            return _newer(request, 400, text, f'For input string: "{error}"')

    def _other_method(self, request: Request, handlers: Mapping[str, Handler]) -> Response:
        allowed = ",".join([*handlers, *(["HEAD"] if "GET" in handlers else []), "OPTIONS"])
        if request.method == "OPTIONS":
            wanted = request.headers.get("access-control-request-method")
            if wanted is not None and wanted not in _CORS_METHODS:
                return Response("Invalid CORS request", 403)
            cors = {"Access-Control-Allow-Methods": ",".join(_CORS_METHODS)} if wanted else {}
            return Response(status_code=200, headers={"Allow": allowed, **cors})
        refused = self.error(request, AnnotationRefusal(f" Request method '{request.method}' not supported", 405))
        refused.headers["Allow"] = allowed
        return refused

    def error(self, request: Request, refusal: AnnotationRefusal) -> Response:
        """The error body of 7.1 (the key only if it came as `wskey`), or of 7.2."""
        more = {} if refusal.report is None else {"operationReport": refusal.report}
        if self.error_format == "2026":
            if refusal.code == "401_key_invalid":
                return _newer(request, 401, "API key is invalid", "Please register for an API key", refusal.code)
            return _newer(request, refusal.status, HTTPStatus(refusal.status).phrase, str(refusal), refusal.code, more)
        body: dict[str, Any] = {"action": action(request), "success": False, "error": str(refusal), **more}
        if key := request.query_params.get("wskey"):
            body["apikey"] = key
        if request.query_params.get("includeErrorStack") == "true":
            body["stackTrace"] = f"eu.europeana.api.commons.web.exception.HttpException: {refusal}"
        return Response(dump(body), refusal.status, {"Vary": "Accept"}, media_type=_JSON)


def _newer(
    request: Request, status: int, error: str, message: str, code: str | None = None, more: Mapping[str, Any] | None = None
) -> Response:
    """The error body of 7.2; members without a value are left out."""
    body = {
        "@context": "http://www.europeana.eu/schemas/context/api.jsonld",
        "type": "ErrorResponse",
        "success": False,
        "status": status,
        "code": code,
        "error": error,
        "message": message,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "path": action(request),
        **(more or {}),
    }
    kept = {name: value for name, value in body.items() if value is not None}
    return Response(dump(kept), status, {"Vary": "Accept"}, media_type=_JSON)


def action(request: Request) -> str:
    """The path as the real host knows it."""
    return request.url.path.removeprefix("/europeana")


def dump(body: object) -> bytes:
    """JSON with all letters as they are."""
    return _encode(body).encode()


def json_type(request: Request) -> str:
    """JSON-LD, unless only plain JSON is accepted (2)."""
    accept = request.headers.get("accept", "")
    return _JSON if "application/json" in accept and "ld+json" not in accept else _LD_JSON


def reply(request: Request, body: object, status: int, headers: Mapping[str, str]) -> Response:
    """An accepted request's answer."""
    return Response(dump(body), status, {"Vary": "Accept", **headers}, media_type=json_type(request))


def integer(request: Request, name: str, default: int) -> int:
    """A number from the query that is not negative."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[+-]?[0-9]{1,10}", text) or abs(int(text)) >= 2**31:
        raise WrongTypeError(text)
    if int(text) < 0:
        raise unsupported(name, text)
    return int(text)


def flag(request: Request, name: str, *, default: bool) -> bool:
    """A truth value from the query, in the words that Spring knows."""
    text = request.query_params.get(name)
    if not text:
        return default
    if text.lower() not in (*_TRUE, *_FALSE):
        raise WrongTypeError(text)
    return text.lower() in _TRUE


def required(request: Request, name: str) -> str:
    """A parameter without which Spring does not call the server's code."""
    value = request.query_params.get(name)
    if value is None:
        raise AnnotationRefusal(f" Required request parameter '{name}' for method parameter type String is not present")
    return value


def instant(request: Request, name: str, default: int) -> int:
    """Milliseconds of an instant such as `2026-01-01T00:00:00Z`."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[ +-]\d\d:\d\d)", text):
        raise unsupported(name, text)
    try:
        return int(datetime.fromisoformat(text.replace(" ", "+")).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise unsupported(name, text) from error


def identifier(request: Request) -> int:
    """The number in the path."""
    text = request.path_params["id"].removesuffix(".jsonld")
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise WrongTypeError(text)
    return int(text)
