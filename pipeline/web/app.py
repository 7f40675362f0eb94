"""Puts the app together: routes, headers, errors."""

import logging
from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from pipeline.errors import EnrichmentError
from pipeline.settings import Settings
from pipeline.web import api, pages
from pipeline.web.catalogue import NotFoundError
from pipeline.web.headers import SecurityHeaders
from pipeline.web.portal import Portal

_log = logging.getLogger(__name__)


def create_app(settings: Settings, dependencies: Sequence[Depends] = (), *, internal: bool = False) -> FastAPI:
    """The portal as an app of its own or to be mounted; the lake is not touched before the first request.

    `dependencies` guard every route but `/health`. `internal` also shows hidden labels, which are not for end users.
    """
    # FastAPI's own description pages would load scripts from elsewhere and stand outside the guard.
    app = FastAPI(title="Heritage enrichment", version="1", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.portal = Portal(settings, internal=internal)
    app.state.guarded = bool(dependencies)
    app.add_api_route("/health", _health, methods=["GET"])
    app.include_router(api.router, dependencies=list(dependencies))
    app.include_router(pages.router, dependencies=list(dependencies))
    app.add_middleware(SecurityHeaders)
    app.add_exception_handler(NotFoundError, _not_found)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(EnrichmentError, _unavailable)
    app.add_exception_handler(FileNotFoundError, _unavailable)  # a run that is being done again swaps its parts
    return app


def _health() -> dict[str, str]:
    """The process answers; it says nothing about the lake."""
    return {"status": "ok"}


def _not_found(request: Request, error: Exception) -> Response:
    return _answer(request, 404, str(error))


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(request, error.status_code, error.detail, dict(error.headers or {}))


def _bad_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = (f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
    return _answer(request, 422, "; ".join(problems))


def _unavailable(request: Request, error: Exception) -> Response:
    """The message may name places and settings: it is for the log, not for the reader."""
    _log.error("%s cannot be answered: %s", request.url.path, error)
    return _answer(request, 503, "the enrichment data cannot be read at the moment; the server's log says why")


def _answer(request: Request, status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """An error as JSON for programs, as a page for people."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    if path.startswith("/v1/") or path == "/health":
        return JSONResponse({"detail": message}, status, headers)
    page = pages.render(request, "error.html", status=status, message=message)
    page.headers.update(headers or {})
    return page
