"""Image hosts as they really are (Europeana contract 5.1, 5.2, 7.1 point 9): every behaviour under a path of its own.

`/_faulty/<behaviour>/…/<name>` on every image host. The last part names the picture (`pictures.MADE`), the parts before it
what happens to it; so `/_faulty/redirect/3/cmyk.jpg` is a CMYK JPEG behind three redirects.
"""

import asyncio
import math
import re
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from functools import cache

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from pipeline.sandbox.faults import cut
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.pictures import content_type, made

PREFIX = "/_faulty"
_MOST_REDIRECTS = 50
_MOST_MEGABYTES = 300
_MEGABYTE = 1024 * 1024
_FOREVER_S = 3600
_CHANGED = 1_767_225_600  # 2026-01-01: when all pictures here were last changed
_REMEMBERED = 10_000
_TARGETS = {
    "private": "http://10.0.0.1/picture.jpg",
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "loopback": "http://127.0.0.1:9/picture.jpg",
    "ipv6": "http://[::1]:9/picture.jpg",
    "mapped": "http://[::ffff:10.0.0.1]/picture.jpg",
    "file": "file:///etc/hostname",
    "credentials": "http://user:password@127.0.0.1:9/picture.jpg",
    "nowhere": "http://no-such-host.invalid/picture.jpg",
}

Handler = Callable[[Request, list[str], str], Awaitable[Response]]


class NoResponse(Response):
    """For a connection that was cut: there is nothing left to send to."""

    async def __call__(self, scope: object, receive: object, send: object) -> None:
        """Send nothing."""


class ImageHosts:
    """The behaviours, and what they remember: who asked for what, and when."""

    def __init__(self, options: SandboxOptions) -> None:
        self._hosts = options.image_hosts or (options.host,)
        self._port = options.port
        self._asked: dict[str, int] = {}
        self._last: dict[str, float] = {}
        self._handlers: dict[str, tuple[int, Handler]] = {
            "ok": (0, _ok), "private": (0, _ok), "kind": (0, _ok), "etag": (0, _etag), "html": (0, _html),
            "redirect": (1, self._redirect), "across": (1, self._across), "loop": (0, self._loop), "to": (1, self._to),
            "to-https": (0, self._to_https), "no-location": (0, _no_location), "status": (1, _status),
            "then-ok": (2, self._then_ok), "quiet": (1, self._quiet), "slow": (1, _slow), "stall": (1, _stall),
            "never": (0, _never), "type": (2, _type), "no-type": (0, _no_type), "octet-stream": (0, _octets),
            "zero": (0, _zero), "truncated": (0, _truncated), "chunked": (0, _chunked), "cut": (0, _chunks_cut),
            "reset": (0, _reset), "close": (0, _close), "robots-tag": (1, _robots_tag), "huge": (1, _huge),
            "huge-chunked": (1, _huge), "gzip-bomb": (1, _gzip_bomb),
        }  # fmt: skip

    def routes(self) -> list[Route]:
        """All behaviours, the pages that robots may not visit, and each host's robots.txt."""
        return [
            Route("/robots.txt", self._robots),
            Route(f"{PREFIX}/{{behaviour}}/{{rest:path}}", self._serve),
            Route("/private/{rest:path}", self._serve),
        ]

    async def _serve(self, request: Request) -> Response:
        behaviour = request.path_params.get("behaviour", "private")
        *arguments, name = request.path_params["rest"].split("/")
        count, handler = self._handlers.get(behaviour, (-1, _ok))
        if count != len(arguments):
            return _missing()
        try:
            return await handler(request, arguments, name)
        except ValueError:
            return _missing()

    async def _robots(self, request: Request) -> Response:
        """Not every host has the same: the second, fourth … also close `/_faulty/private/` and ask for time."""
        text = "User-agent: *\nDisallow: /private/\n"
        host = request.url.hostname
        if host in self._hosts and self._hosts.index(host) % 2:
            text += f"Disallow: {PREFIX}/private/\nCrawl-delay: 1\n"
        return PlainTextResponse(text)

    # Redirects

    async def _redirect(self, request: Request, arguments: list[str], name: str) -> Response:
        """So many hops; `?status=` is one of 301, 302, 303, 307, 308."""
        hops, status = int(arguments[0]), int(request.query_params.get("status", "302"))
        if not 0 <= hops <= _MOST_REDIRECTS or status not in (301, 302, 303, 307, 308):
            return _missing()
        if hops == 0:
            return await _ok(request, [], name)
        return RedirectResponse(f"{PREFIX}/redirect/{hops - 1}/{name}?status={status}", status)

    async def _across(self, request: Request, arguments: list[str], name: str) -> Response:
        """So many hops, each to the next image host."""
        hops = int(arguments[0])
        if not 0 <= hops <= _MOST_REDIRECTS:
            return _missing()
        if hops == 0:
            return await _ok(request, [], name)
        host = self._hosts[hops % len(self._hosts)]
        return RedirectResponse(f"http://{host}:{self._port}{PREFIX}/across/{hops - 1}/{name}", 302)

    async def _loop(self, request: Request, arguments: list[str], name: str) -> Response:
        there = name.removeprefix("again-") if name.startswith("again-") else f"again-{name}"
        return RedirectResponse(f"{PREFIX}/loop/{there}", 302)

    async def _to(self, request: Request, arguments: list[str], name: str) -> Response:
        """To an address that a careful client does not visit."""
        target = _TARGETS.get(arguments[0])
        return RedirectResponse(target, 302) if target else _missing()

    async def _to_https(self, request: Request, arguments: list[str], name: str) -> Response:
        """Where nobody speaks TLS: certificates are not part of the sandbox."""
        return RedirectResponse(f"https://{request.url.netloc}{PREFIX}/ok/{name}", 301)

    # Refusals that pass

    async def _then_ok(self, request: Request, arguments: list[str], name: str) -> Response:
        """A status, for the first so many requests of this very address; 429 and 503 say when to come again."""
        status, times = int(arguments[0]), int(arguments[1])
        asked = self._count(request)
        if asked <= times:
            return await _status(request, [str(status)], name)
        return await _ok(request, [], name)

    async def _quiet(self, request: Request, arguments: list[str], name: str) -> Response:
        """429 until nobody has asked for this address for so many seconds; each request too early begins the time anew."""
        seconds = float(arguments[0])
        now, address = time.monotonic(), str(request.url)
        before = self._last.get(address)
        if len(self._last) >= _REMEMBERED:
            self._last.clear()
        self._last[address] = now
        if before is not None and now - before >= seconds:
            return await _ok(request, [], name)
        return _page(429, {"Retry-After": str(max(1, math.ceil(seconds)))})

    def _count(self, request: Request) -> int:
        if len(self._asked) >= _REMEMBERED:
            self._asked.clear()
        address = str(request.url)
        self._asked[address] = self._asked.get(address, 0) + 1
        return self._asked[address]


def _page(status: int, headers: dict[str, str] | None = None) -> Response:
    return HTMLResponse(f"<!DOCTYPE html><html><body><h1>{status}</h1></body></html>", status, headers)


def _missing() -> Response:
    return _page(404)


def _media_type(content: bytes) -> str:
    return content_type(content[:512]) if content else "image/jpeg"


async def _ok(request: Request, arguments: list[str], name: str) -> Response:
    content = made(name)
    return Response(content, media_type=_media_type(content))


async def _etag(request: Request, arguments: list[str], name: str) -> Response:
    """ETag and Last-Modified, and 304 on either; with `?v=2` it is another version."""
    content, version = made(name), request.query_params.get("v", "1")
    changed = formatdate(_CHANGED + 60 * int(version), usegmt=True)
    headers = {"ETag": f'"{zlib.crc32(content):x}-{version}"', "Last-Modified": changed}
    known = request.headers.get("if-none-match")
    if known is not None:
        same = headers["ETag"] in [tag.strip().removeprefix("W/") for tag in known.split(",")] or known == "*"
    else:
        same = request.headers.get("if-modified-since") == changed
    return Response(status_code=304, headers=headers) if same else Response(content, 200, headers, _media_type(content))


async def _html(request: Request, arguments: list[str], name: str) -> Response:
    return HTMLResponse(made("page.html"))


async def _no_location(request: Request, arguments: list[str], name: str) -> Response:
    return _page(302)


async def _status(request: Request, arguments: list[str], name: str) -> Response:
    """Any error; 429 and 503 with Retry-After: `?after=` seconds (1), `date` as a date one second ahead, `none`."""
    status = int(arguments[0])
    if not (400 <= status < 600) or status in (402, 407):
        return _missing()
    after = request.query_params.get("after", "1")
    if status not in (429, 503) or after == "none":
        return _page(status)
    return _page(status, {"Retry-After": formatdate(time.time() + 1.5, usegmt=True) if after == "date" else str(int(after))})


async def _slow(request: Request, arguments: list[str], name: str) -> Response:
    """The picture comes at once, but its bytes take so many seconds."""
    seconds, content = float(arguments[0]), made(name)
    step = max(1, len(content) // 20)

    async def drip() -> AsyncIterator[bytes]:
        for start in range(0, len(content), step):
            yield content[start : start + step]
            await asyncio.sleep(seconds * step / len(content))

    return StreamingResponse(drip(), headers={"Content-Length": str(len(content))}, media_type=_media_type(content))


async def _stall(request: Request, arguments: list[str], name: str) -> Response:
    """Nothing at all for so many seconds."""
    await asyncio.sleep(min(float(arguments[0]), _FOREVER_S))
    return await _ok(request, [], name)


async def _never(request: Request, arguments: list[str], name: str) -> Response:
    """Begins as a picture, and goes on with ten bytes a second for an hour."""

    async def drip() -> AsyncIterator[bytes]:
        yield made("picture.jpg")[:200]
        for _ in range(_FOREVER_S * 10):
            await asyncio.sleep(0.1)
            yield b"\0"

    return StreamingResponse(drip(), media_type="image/jpeg")


async def _type(request: Request, arguments: list[str], name: str) -> Response:
    return _typed(made(name), "/".join(arguments))


def _typed(content: bytes, media_type: str) -> Response:
    response = Response(content)
    response.headers["Content-Type"] = media_type
    return response


async def _no_type(request: Request, arguments: list[str], name: str) -> Response:
    return Response(made(name))


async def _octets(request: Request, arguments: list[str], name: str) -> Response:
    return _typed(made(name), "application/octet-stream")


async def _zero(request: Request, arguments: list[str], name: str) -> Response:
    return _typed(b"", "image/jpeg")


async def _chunked(request: Request, arguments: list[str], name: str) -> Response:
    """Complete, but without a length before it."""
    content = made(name)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 8192):
            yield content[start : start + 8192]

    return StreamingResponse(chunks(), media_type=_media_type(content))


async def _truncated(request: Request, arguments: list[str], name: str) -> Response:
    """Content-Length promises all of it; the connection ends after half."""
    return await _half(request, name, with_length=True)


async def _chunks_cut(request: Request, arguments: list[str], name: str) -> Response:
    return await _half(request, name, with_length=False)


async def _half(request: Request, name: str, *, with_length: bool) -> Response:
    content, send = made(name), request.scope["sandbox.send"]
    headers = [(b"content-type", _media_type(content).encode())]
    if with_length:
        headers.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content[: len(content) // 2], "more_body": True})
    await cut(send, request.receive, reset=False)
    return NoResponse()


async def _reset(request: Request, arguments: list[str], name: str) -> Response:
    await cut(request.scope["sandbox.send"], request.receive, reset=True)
    return NoResponse()


async def _close(request: Request, arguments: list[str], name: str) -> Response:
    await cut(request.scope["sandbox.send"], request.receive, reset=False)
    return NoResponse()


async def _robots_tag(request: Request, arguments: list[str], name: str) -> Response:
    """`noai`, `noimageai`, `noindex`, several with commas, or for one robot alone (`somebot: noai`)."""
    if not re.fullmatch(r"[\w ,:-]+", arguments[0]):
        return _missing()
    response = await _ok(request, [], name)
    response.headers["X-Robots-Tag"] = arguments[0]
    return response


async def _huge(request: Request, arguments: list[str], name: str) -> Response:
    """A picture with so many megabytes of nothing behind it, up to 300."""
    size = int(arguments[0]) * _MEGABYTE
    if not 0 < size <= _MOST_MEGABYTES * _MEGABYTE:
        return _missing()
    content, block = made(name), bytes(_MEGABYTE // 4)

    async def stream() -> AsyncIterator[bytes]:
        yield content
        left = size - len(content)
        while left > 0:
            yield block[: min(left, len(block))]
            left -= len(block)

    with_length = request.path_params["behaviour"] == "huge"
    headers = {"Content-Length": str(max(size, len(content)))} if with_length else {}
    return StreamingResponse(stream(), headers=headers, media_type=_media_type(content))


async def _gzip_bomb(request: Request, arguments: list[str], name: str) -> Response:
    """A small body with Content-Encoding gzip that unpacks to so many megabytes."""
    megabytes = int(arguments[0])
    if not 0 < megabytes <= _MOST_MEGABYTES:
        return _missing()
    return Response(_packed(megabytes), headers={"Content-Encoding": "gzip"}, media_type="image/jpeg")


@cache
def _packed(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([packer.compress(bytes(_MEGABYTE)) for _ in range(megabytes)]) + packer.flush()
