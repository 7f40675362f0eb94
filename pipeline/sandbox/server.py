"""All stand-in servers as one application on one port, and its own two pages under `/_sandbox`."""

import asyncio
import ipaddress
import json
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.collection import read_collection
from pipeline.errors import CriticalError
from pipeline.sandbox import iiif, media, tokens
from pipeline.sandbox.access import Gate
from pipeline.sandbox.annotation_container import AnnotationContainer
from pipeline.sandbox.annotations import Annotations
from pipeline.sandbox.catalogue import Catalogue
from pipeline.sandbox.europeana import Europeana
from pipeline.sandbox.faults import Faults, Rule, RuleError, profile
from pipeline.sandbox.image_hosts import ImageHosts
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.state import State
from pipeline.sandbox.with_platform import WithPlatform
from pipeline.vocabulary import load_vocabulary

_STOP_WITHIN_S = 5
_BACKLOG = 2048
_SWITCHES = {"error_format": str, "page_member": str, "index_reachable": bool, "locked": bool}


def read_catalogue(options: SandboxOptions) -> Catalogue:
    """The records; raises CriticalError when the collection cannot be read."""
    return Catalogue(read_collection(options.collection), options)


def create_app(options: SandboxOptions, catalogue: Catalogue) -> Faults:
    """The application behind its faults; raises CriticalError when the vocabulary cannot be read or the profile is none."""
    try:
        rules = profile(options.profile, options.seed)
    except RuleError as error:
        raise CriticalError(f"The sandbox cannot start: {error}.") from error
    vocabulary = load_vocabulary(options.vocabulary_path, base_url=options.public_url)
    state = State(options.state_dir / "sandbox.sqlite")
    keys = tokens.Tokens(options)
    annotations = Annotations(state, keys, vocabulary, options)
    crowd = WithPlatform(state, keys, catalogue, vocabulary, options)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await crowd.stop()
        state.close()

    routes = [
        *annotations.routes(),
        *AnnotationContainer(state, options).routes(),
        *media.routes(catalogue, options.state_dir / "thumbnails"),
        *iiif.routes(catalogue, options),
        *ImageHosts(options).routes(),
        *Europeana(catalogue, vocabulary, Gate(options, keys), options).routes(),
        *tokens.routes(keys),
        *crowd.routes(),
        *_own_routes(catalogue, state, annotations),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    faults = Faults(app, options.seed)
    faults.set(rules, options.seed)
    app.router.routes += [_fault_route(faults, annotations, options), _switch_route(annotations)]
    return faults


def _own_routes(catalogue: Catalogue, state: State, api: Annotations) -> list[Route]:
    async def health(request: Request) -> Response:
        annotations = state.one("SELECT count(*) FROM annotation WHERE disabled IS NULL") or (0,)
        with_annotations = state.one("SELECT count(*) FROM with_annotation") or (0,)
        body = {
            "status": "ok",
            "records": len(catalogue.records),
            "pictures": len(catalogue.by_media),
            "annotations": annotations[0],
            "with_annotations": with_annotations[0],
            "refused_by_quota": api.quota.refused,
        }
        return JSONResponse(body)

    async def journal(request: Request) -> Response:
        return JSONResponse(state.journal())

    return [Route("/_sandbox/health", health), Route("/_sandbox/journal", journal)]


def _fault_route(faults: Faults, annotations: Annotations, options: SandboxOptions) -> Route:
    """`/_sandbox/faults`: GET shows the rules and what they did, POST replaces them, DELETE takes all away."""

    def put(rules: list[Rule], seed: int) -> None:
        faults.set(rules, seed)
        lags = [rule.wait_s for rule in rules if rule.fault == "index-lag"]
        annotations.set_index_lag(lags[-1] if lags else options.index_lag_s)

    async def handle(request: Request) -> Response:
        if request.method == "DELETE":
            put([], options.seed)
        elif request.method == "POST":
            try:
                put(*_rules(await request.body(), options.seed))
            except RuleError as error:
                return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"seed": faults.seed, "rules": [rule.described() for rule in faults.rules]})

    return Route("/_sandbox/faults", handle, methods=["GET", "POST", "DELETE"])


def _switch_route(annotations: Annotations) -> Route:
    """`POST /_sandbox/annotation`: the switches of the Annotation API, as `{"locked": true, "error_format": "2026"}`."""

    async def handle(request: Request) -> Response:
        try:
            wanted = json.loads(await request.body())
            # All are looked at before any is turned.
            turns = [(getattr(annotations, f"set_{name}"), value, _SWITCHES[name]) for name, value in wanted.items()]
            if wrong := [value for _, value, kind in turns if not isinstance(value, kind)]:
                raise ValueError(f"wrong type of {wrong[0]!r}")
            for turn, value, _ in turns:
                turn(value)
        except (ValueError, KeyError, AttributeError) as error:
            return JSONResponse({"error": f"{error}; known: {', '.join(_SWITCHES)}"}, 400)
        return JSONResponse(wanted)

    return Route("/_sandbox/annotation", handle, methods=["POST"])


def _rules(body: bytes, seed: int) -> tuple[list[Rule], int]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise RuleError(f"no JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("rules"), list):
        raise RuleError('the body is {"rules": [...], "seed": number}')
    seed = document.get("seed", seed)
    if not isinstance(seed, int):
        raise RuleError("seed is a whole number")
    return [Rule.read(rule, seed, number) for number, rule in enumerate(document["rules"])], seed


def serve(options: SandboxOptions, on_ready: Callable[[Catalogue], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, on the host and on every image host that is a loopback address."""
    sockets = bind(options)
    catalogue = read_catalogue(options)
    config = uvicorn.Config(
        create_app(options, catalogue),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_STOP_WITHIN_S,
        server_header=False,
    )
    server = _Server(config, on_started=lambda: on_ready(catalogue) if on_ready else None)
    asyncio.run(server.serve(sockets=sockets))


class _Server(uvicorn.Server):
    """A server whose process ends with status 0 when it is asked to stop, not as if the signal had killed it."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started:
            self._on_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let the two stop signals end the serving; outside the main thread, leave signals alone."""
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def bind(options: SandboxOptions) -> list[socket.socket]:
    """Listening sockets on one port; raises CriticalError that names the address which is not free."""
    sockets: list[socket.socket] = []
    for address in _addresses(options):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit it; without, every answer waits 40 ms for the client's acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            listener.bind((address, options.port))
        except OSError as error:
            for other in (*sockets, listener):
                other.close()
            raise CriticalError(f"The sandbox cannot listen on {address}:{options.port} ({error}).") from error
        listener.listen(_BACKLOG)
        sockets.append(listener)
    return sockets


def _addresses(options: SandboxOptions) -> list[str]:
    """The host first; a host that stands for all addresses needs no other. Names of image hosts are not bound."""
    if options.host in ("0.0.0.0", "::"):
        return [options.host]
    return list(dict.fromkeys([options.host, *filter(_is_loopback, options.image_hosts)]))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
