"""Fetch one address over HTTP, once: bounded in time, size and redirects, every hop guarded, robots heeded.

When to visit which host, and whether to try again, is the matter of `images.fetch`. Pictures of a folder source are
files: they are read from that folder and from nowhere else.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import aiohttp

from pipeline.domain.outcome import Outcome, Reason
from pipeline.images.robots import MOST_BYTES as MOST_ROBOTS_BYTES
from pipeline.images.robots import HostRules, UnreachableRulesError, read_rules, unwanted
from pipeline.imaging.address_guard import GuardedResolver, RefusedAddressError, check_url
from pipeline.settings import Settings

MAX_REDIRECTS = 5
CHUNK = 262_144
LARGE_BYTES = 1_500_000  # bodies beyond this share a budget, so that memory stays bounded
READ_BUFFER = LARGE_BYTES // 2  # aiohttp pauses a connection at twice this: never within what is not large
LARGE_TOGETHER = 60_000_000
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOVED = frozenset({301, 308})
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
PASSING = frozenset({Reason.HTTP_5XX, Reason.TIMEOUT, Reason.CONNECTION})


@dataclass(frozen=True)
class Validators:
    """What the host said about the version that we have: it need not send it again."""

    etag: str | None = None
    last_modified: str | None = None

    def headers(self) -> dict[str, str]:
        """The conditional request's headers."""
        named = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in named.items() if value}


@dataclass(slots=True)
class Download:
    """What came back for one address.

    `content` is there exactly when the outcome is ok and the picture is not the one that we have (`not_modified`), until it
    has been looked at.
    `wait_s` is how long the host asks to be left alone, in seconds.
    """

    outcome: Outcome
    reason: Reason | None = None
    detail: str = ""
    content: bytes | None = None
    status: int | None = None
    final_url: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    not_modified: bool = False
    moved: bool = False  # every hop on the way was a permanent redirect
    wait_s: float | None = None
    body_bytes: int = 0
    large: int = 0  # its share of the memory for large bodies, until `Downloader.done_with`
    attempts: int = 1

    @property
    def passing(self) -> bool:
        """Might a later try do better?"""
        return self.reason in PASSING


class _Budget:
    """So many bytes for all together; who comes first is served first, so that a large share is not passed by for ever."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._turn = asyncio.Lock()
        self._given = asyncio.Event()

    async def take(self, size: int) -> None:
        """Wait until there is room; `size` is at most the whole."""
        async with self._turn:
            while self._free < size:
                self._given.clear()
                await self._given.wait()
            self._free -= size

    def give(self, size: int) -> None:
        """Give it back."""
        self._free += size
        self._given.set()


class Downloader:
    """One event loop's downloader; use as an async context manager through `open_downloader`."""

    def __init__(self, session: aiohttp.ClientSession, settings: Settings, folder: Path | None) -> None:
        self._session = session
        self._settings = settings
        self._folder = folder
        self._large = _Budget(max(LARGE_TOGETHER, settings.image_max_bytes))
        self._robots: dict[str, asyncio.Task[HostRules]] = {}

    def rules_of(self, url: str) -> HostRules | None:
        """What is known of the robots.txt of this address's host by now."""
        task = self._robots.get(_origin(url))
        return task.result() if task and task.done() and not task.cancelled() and not task.exception() else None

    async def fetch(self, url: str, known: Validators | None = None) -> Download:
        """Visit one address once. Never raises for what the network does."""
        if self._folder is not None and url.startswith("file:"):
            return await asyncio.to_thread(read_file, url, self._folder, self._settings.image_max_bytes)
        try:
            async with asyncio.timeout(self._settings.download_timeout_s):
                return await self._follow(url, known or Validators())
        except RefusedAddressError as error:
            return Download(Outcome.REJECTED, Reason.SSRF_REFUSED, str(error))
        except UnreachableRulesError as error:
            return Download(Outcome.FAILED, Reason.HTTP_5XX, f"the host counts as closed: {error}")
        except TimeoutError:
            detail = f"no complete answer within {self._settings.download_timeout_s:g} s"
            return Download(Outcome.FAILED, Reason.TIMEOUT, detail)
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            return Download(Outcome.REJECTED, Reason.SSRF_REFUSED, f"not a URL: {error}")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Download(Outcome.FAILED, Reason.CONNECTION, f"{type(error).__name__}: {error}")

    async def _follow(self, url: str, known: Validators) -> Download:
        """Follow redirects by hand: every hop has to pass the address guard and the robots of its host."""
        here, moved = url, True
        for _ in range(MAX_REDIRECTS + 1):
            check_url(here, self._settings.exempt_hosts)
            if self._settings.respect_robots and not (await self._rules(here)).allows(here):
                return Download(Outcome.REJECTED, Reason.ROBOTS_DISALLOWED, "robots.txt closes it", final_url=here)
            async with self._session.get(here, allow_redirects=False, headers=known.headers()) as reply:
                if reply.status in REDIRECTS and "Location" in reply.headers:
                    moved = moved and reply.status in MOVED
                    here = urljoin(here, reply.headers["Location"])
                    continue
                download = await self._read(reply, here, conditional=bool(known.headers()))
                return replace(download, moved=True) if moved and here != url else download
        return Download(Outcome.FAILED, Reason.TOO_MANY_REDIRECTS, f"more than {MAX_REDIRECTS} redirects", final_url=here)

    async def _read(self, reply: aiohttp.ClientResponse, url: str, *, conditional: bool) -> Download:
        status = reply.status
        said = Download(
            Outcome.OK,
            status=status,
            final_url=url,
            etag=reply.headers.get("ETag"),
            last_modified=reply.headers.get("Last-Modified"),
        )
        if status != 200 and not (status == 304 and conditional):
            reason = _status_reason(status)
            outcome = Outcome.GONE if reason is Reason.GONE else Outcome.FAILED
            return replace(said, outcome=outcome, reason=reason, detail=f"HTTP {status}", wait_s=retry_after_s(reply.headers))
        if self._settings.respect_robots and (word := unwanted(reply.headers.getall("X-Robots-Tag", ()))):
            return replace(said, outcome=Outcome.REJECTED, reason=Reason.ROBOTS_DISALLOWED, detail=f"X-Robots-Tag: {word}")
        if status == 304:
            return replace(said, not_modified=True)
        return await self._body(reply, said)

    async def _body(self, reply: aiohttp.ClientResponse, said: Download) -> Download:
        limit = self._settings.image_max_bytes
        length = 0 if "Content-Encoding" in reply.headers else reply.content_length or 0
        if 0 < length <= min(limit, LARGE_BYTES):
            said.content = await _whole(reply.content)
            said.body_bytes = len(said.content)
            return said
        too_large = replace(said, outcome=Outcome.REJECTED, reason=Reason.TOO_LARGE, detail=f"more than {limit} bytes")
        if length > limit:
            return too_large
        content = bytearray()
        async for chunk in reply.content.iter_chunked(CHUNK):
            content += chunk
            if len(content) > LARGE_BYTES:
                break
        if len(content) > limit:
            return replace(too_large, body_bytes=len(content))
        if len(content) <= LARGE_BYTES:
            return replace(said, content=bytes(content), body_bytes=len(content))
        share = min(limit, length or limit)
        await self._large.take(share)
        try:
            async for chunk in reply.content.iter_chunked(CHUNK):
                content += chunk
                if len(content) > limit:
                    self._large.give(share)
                    return replace(too_large, body_bytes=len(content))
        except BaseException:
            self._large.give(share)
            raise
        return replace(said, content=bytes(content), body_bytes=len(content), large=share)

    def done_with(self, download: Download) -> None:
        """What was downloaded has been looked at: a large body gives its place to the next one."""
        if download.large:
            self._large.give(download.large)

    async def _rules(self, url: str) -> HostRules:
        """The host's robots rules: read once, by the first who comes; the others wait for it."""
        origin = _origin(url)
        task = self._robots.get(origin)
        if task is None or (task.done() and (task.cancelled() or task.exception())):  # trouble may have passed
            task = self._robots[origin] = asyncio.create_task(read_rules(url, self._read_robots))
        return task.result() if task.done() else await asyncio.shield(task)

    async def _read_robots(self, url: str) -> tuple[int, str]:
        """robots.txt over the same guarded connections, redirects too."""
        async with asyncio.timeout(self._settings.download_timeout_s):
            for _ in range(MAX_REDIRECTS + 1):
                check_url(url, self._settings.exempt_hosts)
                async with self._session.get(url, allow_redirects=False) as reply:
                    if reply.status in REDIRECTS and "Location" in reply.headers:
                        url = urljoin(url, reply.headers["Location"])
                        continue
                    content = bytearray()
                    async for chunk in reply.content.iter_chunked(CHUNK):
                        content += chunk
                        if len(content) > MOST_ROBOTS_BYTES:
                            break
                    return reply.status, content[:MOST_ROBOTS_BYTES].decode("utf-8-sig", errors="replace")
        return 404, ""  # RFC 9309 §2.3.1.2: five hops lead nowhere, so there is none


async def _whole(body: aiohttp.StreamReader) -> bytes:
    """All bytes of a body that is not large: the loop is woken once, at its end, and not for every piece."""
    if (error := body.exception()) is not None:
        raise error
    await body.wait_eof()
    return body.read_nowait()


@asynccontextmanager
async def open_downloader(settings: Settings, *, folder: Path | None = None) -> AsyncIterator[Downloader]:
    """A downloader with its connections, closed at the end; files below `folder` may be read too."""
    connector = aiohttp.TCPConnector(
        limit=settings.download_concurrency, resolver=GuardedResolver(settings.exempt_hosts), ttl_dns_cache=300
    )
    timeout = aiohttp.ClientTimeout(total=None, connect=10, sock_connect=10, sock_read=20)
    headers = {"User-Agent": settings.user_agent, "Accept": "image/*,*/*;q=0.5"}
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, headers=headers, read_bufsize=READ_BUFFER, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield Downloader(session, settings, folder)


def read_file(url: str, folder: Path, max_bytes: int) -> Download:
    """A picture of a folder source. Links that lead out of the folder are refused like private addresses."""
    path = Path(unquote(urlsplit(url).path))
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            return Download(Outcome.REJECTED, Reason.SSRF_REFUSED, f"{path} lies outside of {folder}")
        size = path.stat().st_size
        if size > max_bytes:
            return Download(Outcome.REJECTED, Reason.TOO_LARGE, f"more than {max_bytes} bytes", final_url=url)
        return Download(Outcome.OK, content=path.read_bytes(), final_url=url, body_bytes=size)
    except FileNotFoundError:
        return Download(Outcome.GONE, Reason.GONE, f"{path} does not exist", final_url=url)
    except (OSError, ValueError) as error:
        return Download(Outcome.FAILED, Reason.CONNECTION, f"{path}: {type(error).__name__}: {error}", final_url=url)


def host_of(url: str) -> str:
    """The name by which a host is paced and reported: `host` or `host:port`; empty for what is no URL."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The seconds that a reply's Retry-After asks for, a number or a date; None when it does not ask."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return f"{parts.scheme}://{parts.netloc}"


def _status_reason(status: int) -> Reason:
    if status in (404, 410):
        return Reason.GONE
    if status in RETRIED or status >= 500:
        return Reason.HTTP_5XX
    return Reason.HTTP_4XX
