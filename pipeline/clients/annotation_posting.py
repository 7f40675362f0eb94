"""Many annotations at once: one event loop, as many requests under way as the server bears, within its rate limit."""

import asyncio
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import aiohttp
import msgspec
import requests
from requests.utils import get_environ_proxies, select_proxy

from pipeline.clients.http import MOST_QUOTA_WAITS
from pipeline.domain.rate_limit import RateLimit
from pipeline.errors import CriticalError, EnrichmentError, TransientError

FIRST = 8  # requests under way at the start; each answer allows one more, trouble halves them
GIVEN_UP_AFTER = 8  # lost replies in a row, with no answer in between: what is left is not even tried
LONGEST_WAIT_S = 120.0  # after a 429 that does not say for how long
RESET_MARGIN_S = 1.0  # the header tells whole seconds

Reply = TypeVar("Reply")


class AmbiguousError(EnrichmentError):
    """The reply to a create was lost: it may or may not have been stored. Ask before sending again."""


@dataclass(frozen=True)
class Door(Generic[Reply]):
    """How one server is posted to.

    `headers` is called before each request and may raise; `understand` makes of an answer what it means, or raises it;
    `renew` is called once for a request that is answered 401, with the headers that were refused. `scrub` takes secrets out
    of a text. `waits`: for a quota that is used up (429).
    """

    url: str
    user_agent: str
    timeout_s: float
    headers: Callable[[], Mapping[str, str]]
    understand: Callable[[requests.Response], Reply]
    renew: Callable[[Mapping[str, str]], None]
    scrub: Callable[[str], str]
    waits: bool


class Poster(Generic[Reply]):
    """Posts documents through a door, over connections that stay open; threads that use it together take turns."""

    def __init__(self, door: Door[Reply], *, most: int) -> None:
        """`most`: so many requests are under way together at most."""
        self._door = door
        self._slots = Slots(most)
        self._pace = Pace()
        self._lost = 0  # replies in a row
        self._runner = asyncio.Runner()
        self._session: aiohttp.ClientSession | None = None
        self._lock = threading.Lock()

    def post_all(self, chains: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[Reply | EnrichmentError]]:
        """Post the documents of each chain one after the other, the chains beside each other; what each one came to.

        AmbiguousError where a document may have been stored all the same. Once the server has refused our account, a token
        cannot be had, or nothing is answered any more, nothing more is posted, and every document that is left gets that
        error: a CriticalError or a TransientError.
        """
        with self._lock:
            return self._runner.run(self._all(chains))

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        with self._lock:
            if self._session is not None:
                self._runner.run(self._session.close())
            self._runner.close()
            self._session, self._runner = None, asyncio.Runner()

    async def _all(self, chains: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[Reply | EnrichmentError]]:
        for _ in range(2):  # what the server has closed since the last call is noticed, not posted to
            await asyncio.sleep(0)
        refused: list[EnrichmentError] = []
        return await asyncio.gather(*(self._chain(documents, refused) for documents in chains))

    async def _chain(
        self, documents: Sequence[Mapping[str, Any]], refused: list[EnrichmentError]
    ) -> list[Reply | EnrichmentError]:
        """`refused` is shared by all chains: what the first of them was told after which nothing is to be posted any more."""
        replies: list[Reply | EnrichmentError] = []
        for document in documents:
            try:
                replies.append(await self._post(msgspec.json.encode(document), refused))
            except CriticalError as error:
                refused.append(error)
                replies.append(error)
            except EnrichmentError as error:
                replies.append(error)
        return replies

    async def _post(self, body: bytes, refused: list[EnrichmentError]) -> Reply:
        """A quota that is used up is waited for; a token that the server does not know is fetched anew, once."""
        is_renewed, waits = False, 0
        while True:
            reply, sent = await self._once(body, refused)
            if reply.status_code == 429 and self._door.waits and waits < MOST_QUOTA_WAITS:
                waits += 1
                limit = RateLimit.of(reply.headers)
                await asyncio.sleep(
                    limit.seconds_to_reset() if limit.reset_s is not None else min(2**waits, LONGEST_WAIT_S) + random.random()
                )
            elif reply.status_code == 401 and not is_renewed:
                is_renewed = True
                self._door.renew(sent)
            else:
                return self._door.understand(reply)

    async def _once(self, body: bytes, refused: list[EnrichmentError]) -> tuple[requests.Response, Mapping[str, str]]:
        """The answer, and the headers that were sent."""
        await self._slots.take()
        try:
            if refused:
                raise refused[0]
            await self._pace.take()
            try:
                return await self._sent(body, refused)
            finally:
                self._pace.give()
        finally:
            self._slots.give()

    async def _sent(self, body: bytes, refused: list[EnrichmentError]) -> tuple[requests.Response, Mapping[str, str]]:
        try:
            headers = {**self._door.headers(), "Content-Type": "application/json"}
        except EnrichmentError as error:  # nothing has been sent, and it would be no better for the next one
            refused.append(error)
            raise
        started = time.monotonic()
        try:
            async with self._connections().post(self._door.url, data=body, headers=headers, allow_redirects=False) as reply:
                content = await reply.read()
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise CriticalError(f"{self._door.url}: {error}; check the API's address") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._slots.slow_down(started)
            self._pace.observe(RateLimit(), time.monotonic())
            self._lost += 1
            message = self._door.scrub(f"POST {self._door.url}: {_why(error)}")
            if self._lost >= GIVEN_UP_AFTER:
                refused.append(TransientError(f"given up after {self._lost} lost replies in a row: {message}"))
            raise AmbiguousError(message) from None
        self._lost = 0
        self._pace.observe(RateLimit.of(reply.headers), time.monotonic())
        if reply.status in (423, 429) or reply.status >= 500:
            self._slots.slow_down(started)
        else:
            self._slots.speed_up()
        return _as_response(reply, content), headers

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=self._door.timeout_s),
                headers={"User-Agent": self._door.user_agent},
                proxy=select_proxy(self._door.url, get_environ_proxies(self._door.url)),  # looked for once, not each time
            )
        return self._session


class Slots:
    """So many requests may be under way: more after each good answer, half as many after trouble. For one event loop."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = min(FIRST, most)
        self.used = 0
        self._cut_at = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait for a place."""
        while self.used >= self.limit:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self.used += 1

    def give(self) -> None:
        """Give the place back."""
        self.used -= 1
        self._wake()

    def speed_up(self) -> None:
        """A good answer."""
        self.limit = min(self.most, self.limit + 1)

    def slow_down(self, started: float) -> None:
        """Trouble with a request of that time; those that were under way together with it count once."""
        if started >= self._cut_at:
            self.limit = max(1, self.limit // 2)
            self._cut_at = time.monotonic()

    def _wake(self) -> None:
        free = self.limit - self.used
        while free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # it was cancelled while it waited
                turn.set_result(None)
                free -= 1


class Pace:
    """Never more requests than the server's quota leaves, by what its answers tell. For one event loop.

    Until the first answer one request goes alone. An answer may not know of requests that are still under way, so these
    are counted off what it says is left.
    """

    def __init__(self) -> None:
        self._is_known = False
        self._left: int | None = None  # None: the server says nothing of a quota
        self._quota: int | None = None
        self._resets_at = 0.0
        self._under_way = 0

    async def take(self) -> None:
        """Wait until one more request fits."""
        while (wait := self.wait_s(time.monotonic())) > 0:
            await asyncio.sleep(wait)
        self._under_way += 1

    def wait_s(self, now: float) -> float:
        """The seconds after which to ask again; 0: it fits."""
        if self._left is not None and now >= self._resets_at:
            self._left, self._resets_at = self._quota, float("inf")  # a new window: its first answers tell when it ends
        if not self._is_known:
            return 0.005 if self._under_way else 0.0
        if self._left is None or self._left > self._under_way:
            return 0.0
        return 0.005 if self._under_way else max(0.005, self._resets_at - now)

    def observe(self, limit: RateLimit, now: float) -> None:
        """Learn from an answer."""
        self._is_known = True
        if limit.remaining is None:
            return
        resets_at = now + (limit.reset_s or 0) + RESET_MARGIN_S
        is_new = self._left is None or (self._resets_at != float("inf") and resets_at > self._resets_at + 2 * RESET_MARGIN_S)
        self._quota = limit.quota if limit.quota is not None else self._quota
        self._left = limit.remaining if is_new else min(self._left or 0, limit.remaining)
        self._resets_at = resets_at if is_new else min(self._resets_at, resets_at)

    def give(self) -> None:
        """A request has ended, whichever way."""
        self._under_way -= 1


def _as_response(reply: aiohttp.ClientResponse, content: bytes) -> requests.Response:
    """As the form that all clients read answers in."""
    response = requests.Response()
    response.status_code, response.reason = reply.status, reply.reason or ""
    response.headers.update(reply.headers)
    response._content = content
    return response


def _why(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "the TLS certificate is not accepted"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the body is cut off"
    return f"no connection to the server, or it broke ({type(error).__name__})"
