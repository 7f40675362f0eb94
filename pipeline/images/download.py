"""Fetch bytes over HTTP: bounded in time, size, redirects and parallel connections; manners and retries included.

Pictures of a folder source are files: they are read from that folder and from nowhere else.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import aiohttp

from pipeline.domain.outcome import Outcome, Reason
from pipeline.imaging.address_guard import GuardedResolver, RefusedAddressError, check_url
from pipeline.settings import Settings

MAX_REDIRECTS = 5
CHUNK = 65_536
REDIRECTS = frozenset({301, 302, 303, 307, 308})
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_ROBOTS_TAGS = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
LONGEST_RETRY_AFTER_S = 60.0


@dataclass(frozen=True)
class Download:
    """What came back for one address. `content` is there exactly when the outcome is ok."""

    outcome: Outcome
    reason: Reason | None = None
    detail: str = ""
    content: bytes | None = None
    status: int | None = None
    final_url: str | None = None
    etag: str | None = None
    attempts: int = 1

    @property
    def transient(self) -> bool:
        """Might a later try do better?"""
        return self.reason in (Reason.HTTP_5XX, Reason.TIMEOUT, Reason.CONNECTION)


class Downloader:
    """One event loop's downloader; use as an async context manager through `open_downloader`."""

    def __init__(self, session: aiohttp.ClientSession, settings: Settings, folder: Path | None) -> None:
        self._session = session
        self._settings = settings
        self._folder = folder
        self._slots = asyncio.Semaphore(settings.download_concurrency)
        self._host_slots: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(settings.download_per_host))

    async def fetch(self, url: str) -> Download:
        """Fetch one address, trying again after passing trouble. Never raises for what the network does."""
        try:
            host = urlsplit(url).netloc
        except ValueError as error:
            return Download(Outcome.REJECTED, Reason.SSRF_REFUSED, f"not a URL: {error}")
        if self._folder is not None and url.startswith("file:"):
            return await asyncio.to_thread(read_file, url, self._folder, self._settings.image_max_bytes)
        async with self._host_slots[host], self._slots:
            for attempt in range(1, self._settings.download_attempts + 1):
                result, wait = await self._attempt(url, attempt)
                if not result.transient or attempt == self._settings.download_attempts:
                    return result
                await asyncio.sleep(wait)
        raise AssertionError("unreachable: the last attempt returns")

    async def _attempt(self, url: str, attempt: int) -> tuple[Download, float]:
        """One try, and how long to wait before the next."""
        backoff = 0.5 * 2**attempt
        try:
            async with asyncio.timeout(self._settings.download_timeout_s):
                return await self._follow(url, attempt, backoff)
        except RefusedAddressError as error:
            return Download(Outcome.REJECTED, Reason.SSRF_REFUSED, str(error), attempts=attempt), 0
        except TimeoutError:
            detail = f"no complete answer within {self._settings.download_timeout_s:g} s"
            return Download(Outcome.FAILED, Reason.TIMEOUT, detail, attempts=attempt), backoff
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            return Download(Outcome.REJECTED, Reason.SSRF_REFUSED, f"not a URL: {error}", attempts=attempt), 0
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Download(Outcome.FAILED, Reason.CONNECTION, f"{type(error).__name__}: {error}", attempts=attempt), backoff

    async def _follow(self, url: str, attempt: int, backoff: float) -> tuple[Download, float]:
        """Follow redirects by hand: every hop has to pass the address guard."""
        here = url
        for _ in range(MAX_REDIRECTS + 1):
            check_url(here, self._settings.exempt_hosts)
            async with self._session.get(here, allow_redirects=False) as reply:
                if reply.status in REDIRECTS and "Location" in reply.headers:
                    here = urljoin(here, reply.headers["Location"])
                    continue
                return await self._read(reply, here, attempt), _retry_after(reply, backoff)
        detail = f"more than {MAX_REDIRECTS} redirects"
        return Download(Outcome.FAILED, Reason.TOO_MANY_REDIRECTS, detail, final_url=here, attempts=attempt), 0

    async def _read(self, reply: aiohttp.ClientResponse, url: str, attempt: int) -> Download:
        status = reply.status
        if status != 200:
            reason = _status_reason(status)
            outcome = Outcome.GONE if reason is Reason.GONE else Outcome.FAILED
            return Download(outcome, reason, f"HTTP {status}", status=status, final_url=url, attempts=attempt)
        if self._settings.respect_robots and _unwanted(reply):
            detail = f"X-Robots-Tag: {reply.headers['X-Robots-Tag']}"
            return Download(Outcome.REJECTED, Reason.ROBOTS_DISALLOWED, detail, status=status, final_url=url, attempts=attempt)
        limit = self._settings.image_max_bytes
        content = bytearray()
        async for chunk in reply.content.iter_chunked(CHUNK):
            content += chunk
            if len(content) > limit:
                detail = f"more than {limit} bytes"
                return Download(Outcome.REJECTED, Reason.TOO_LARGE, detail, status=status, final_url=url, attempts=attempt)
        return Download(
            Outcome.OK,
            content=bytes(content),
            status=status,
            final_url=url,
            etag=reply.headers.get("ETag"),
            attempts=attempt,
        )


@asynccontextmanager
async def open_downloader(settings: Settings, *, folder: Path | None = None) -> AsyncIterator[Downloader]:
    """A downloader with its connections, closed at the end; files below `folder` may be read too."""
    connector = aiohttp.TCPConnector(
        limit=settings.download_concurrency, resolver=GuardedResolver(settings.exempt_hosts), ttl_dns_cache=300
    )
    timeout = aiohttp.ClientTimeout(total=None, connect=10, sock_connect=10, sock_read=20)
    headers = {"User-Agent": settings.user_agent, "Accept": "image/*,*/*;q=0.5"}
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
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
        return Download(Outcome.OK, content=path.read_bytes(), final_url=url)
    except FileNotFoundError:
        return Download(Outcome.GONE, Reason.GONE, f"{path} does not exist", final_url=url)
    except (OSError, ValueError) as error:
        return Download(Outcome.FAILED, Reason.CONNECTION, f"{path}: {type(error).__name__}: {error}", final_url=url)


async def fetch_in_order(downloader: Downloader, urls: Sequence[str], *, ahead: int) -> AsyncIterator[Download]:
    """Downloads in the order of the addresses, at most `ahead` of them under way or waiting to be used.

    The order makes the shards the same in every run; the bound keeps memory flat.
    """
    pending: list[asyncio.Task[Download]] = []
    upcoming = iter(urls)
    try:
        while True:
            while len(pending) < ahead and (url := next(upcoming, None)) is not None:
                pending.append(asyncio.create_task(downloader.fetch(url)))
            if not pending:
                return
            yield await pending.pop(0)
    finally:
        for task in pending:
            task.cancel()


def _unwanted(reply: aiohttp.ClientResponse) -> bool:
    """Does the host ask machines to leave this picture alone?"""
    words = re.findall(r"[a-z]+", reply.headers.get("X-Robots-Tag", "").lower())
    return not _ROBOTS_TAGS.isdisjoint(words)


def _status_reason(status: int) -> Reason:
    if status in (404, 410):
        return Reason.GONE
    if status in RETRIED or status >= 500:
        return Reason.HTTP_5XX
    return Reason.HTTP_4XX


def _retry_after(reply: aiohttp.ClientResponse, default: float) -> float:
    value = reply.headers.get("Retry-After", "")
    return min(float(value), LONGEST_RETRY_AFTER_S) if value.isdigit() else default
