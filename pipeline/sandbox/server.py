"""All stand-in servers as one application on one port, and its own two pages under `/_sandbox`."""

import asyncio
import ipaddress
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.collection import read_collection
from pipeline.errors import CriticalError
from pipeline.sandbox import media, tokens
from pipeline.sandbox.access import Gate
from pipeline.sandbox.annotations import Annotations
from pipeline.sandbox.catalogue import Catalogue
from pipeline.sandbox.europeana import Europeana
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.state import State
from pipeline.sandbox.with_platform import WithPlatform
from pipeline.vocabulary import load_vocabulary

_STOP_WITHIN_S = 5
_BACKLOG = 2048


def create_app(options: SandboxOptions) -> Starlette:
    """The application; raises CriticalError when the collection or the vocabulary cannot be read."""
    catalogue = Catalogue(read_collection(options.collection), options)
    vocabulary = load_vocabulary(options.vocabulary_path, base_url=options.public_url)
    state = State(options.state_dir / "sandbox.sqlite")
    keys = tokens.Tokens(options)
    crowd = WithPlatform(state, keys, catalogue, vocabulary, options)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await crowd.stop()
        state.close()

    routes = [
        *Annotations(state, keys, vocabulary, options).routes(),
        *media.routes(catalogue, options.state_dir / "thumbnails"),
        *Europeana(catalogue, vocabulary, Gate(options, keys), options).routes(),
        *tokens.routes(keys),
        *crowd.routes(),
        *_own_routes(catalogue, state),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def _own_routes(catalogue: Catalogue, state: State) -> list[Route]:
    async def health(request: Request) -> Response:
        annotations = state.one("SELECT count(*) FROM annotation WHERE disabled IS NULL") or (0,)
        with_annotations = state.one("SELECT count(*) FROM with_annotation") or (0,)
        body = {
            "status": "ok",
            "records": len(catalogue.records),
            "pictures": len(catalogue.by_media),
            "annotations": annotations[0],
            "with_annotations": with_annotations[0],
        }
        return JSONResponse(body)

    async def journal(request: Request) -> Response:
        return JSONResponse(state.journal())

    return [Route("/_sandbox/health", health), Route("/_sandbox/journal", journal)]


def serve(options: SandboxOptions) -> None:
    """Serve until SIGTERM or SIGINT, on the host and on every image host that is a loopback address."""
    sockets = bind(options)
    config = uvicorn.Config(
        create_app(options),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_STOP_WITHIN_S,
        server_header=False,
    )
    asyncio.run(_Server(config).serve(sockets=sockets))


class _Server(uvicorn.Server):
    """A server whose process ends with status 0 when it is asked to stop, not as if the signal had killed it."""

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
