"""The downloader and the engine around it against real servers on loopback: redirects, refusals, retries, bounds."""

import asyncio
import gzip
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
from aiohttp import web

from pipeline.domain.outcome import Outcome, Reason
from pipeline.images.addresses import Address, FetchedAs
from pipeline.images.download import Download, open_downloader
from pipeline.images.fetch import Attempt, Fetcher, Job
from pipeline.settings import Settings

Answer = TypeVar("Answer")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PICTURE = b"\xff\xd8\xff picture"


class Site:
    """What the test server saw, and how it answers by path."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.headers: dict[str, str] = {}
        self.hosts: Counter[str] = Counter()
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.port = 0
        self.answers: dict[str, Handler] = {}

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/robots.txt" and "/robots.txt" not in self.answers:
            return web.Response(status=404)
        self.calls[request.path] += 1
        self.headers = dict(request.headers)
        for name in (request.host, "all"):
            self.now[name] += 1
            self.most[name] = max(self.most[name], self.now[name])
        try:
            kind = request.path.split("/")[1]
            handler = self.answers.get(request.path) or getattr(self, f"answer_{kind}")
            reply: web.StreamResponse = await handler(request)
            return reply
        finally:
            for name in (request.host, "all"):
                self.now[name] -= 1

    async def answer_picture(self, request: web.Request) -> web.Response:
        return web.Response(body=PICTURE, headers={"ETag": '"v1"'})

    async def answer_hop(self, request: web.Request) -> web.Response:
        left = int(request.path.split("/")[2])
        return web.Response(status=302, headers={"Location": f"/hop/{left - 1}" if left > 1 else "/picture"})

    async def answer_status(self, request: web.Request) -> web.Response:
        return web.Response(status=int(request.path.split("/")[2]), body=b"<html>", headers={"Retry-After": "0"})

    async def answer_slow(self, request: web.Request) -> web.Response:
        await asyncio.sleep(float(request.path.split("/")[2]))
        return web.Response(body=request.path.encode())


@asynccontextmanager
async def serving(site: Site) -> AsyncIterator[None]:
    runner = web.ServerRunner(web.Server(site.handle))
    await runner.setup()
    first = web.TCPSite(runner, "127.0.0.1", 0)
    await first.start()
    site.port = runner.addresses[0][1]
    await web.TCPSite(runner, "127.0.0.2", site.port).start()
    try:
        yield
    finally:
        await runner.cleanup()


def configured(site: Site, **changes: Any) -> Settings:
    hosts = f"127.0.0.1:{site.port},127.0.0.2:{site.port}"
    defaults: dict[str, Any] = {"private_image_hosts": hosts, "download_attempts": 1, "download_timeout_s": 5}
    return Settings(_env_file=None, **(defaults | changes))


def run(work: Coroutine[Any, Any, Answer]) -> Answer:
    return asyncio.run(work)


def fetched(path: str, site: Site | None = None, **changes: Any) -> Download:
    site = site or Site()

    async def work() -> Download:
        async with serving(site), open_downloader(configured(site, **changes)) as downloader:
            return await downloader.fetch(path if "://" in path else site.url(path))

    return run(work())


def visited(site: Site, paths: list[str], **changes: Any) -> list[Attempt]:
    """Each path of a record of its own, by turns on two hosts, through the engine; what became of them in their order."""
    done: dict[int, Attempt] = {}

    async def work() -> None:
        async with serving(site):
            urls = [path if "://" in path else site.url(path, f"127.0.0.{1 + at % 2}") for at, path in enumerate(paths)]
            addresses = [[Address(url, url, FetchedAs.ORIGINAL, 0, "", "unknown")] for url in urls]
            with Fetcher(configured(site, **changes)) as fetcher:
                jobs = [Job(at, {"record_id": f"/1/{at}"}, one, {}) for at, one in enumerate(addresses)]
                await fetcher.run(jobs, lambda job: done.update({job.position: job.attempts[-1]}))

    run(work())
    return [done[at] for at in range(len(paths))]


# --- Answers ---


def test_a_picture_comes_with_its_bytes_address_and_etag() -> None:
    site = Site()
    found = fetched("/picture", site, contact="mailto:a@example.org")
    assert (found.outcome, found.content, found.status, found.etag, found.attempts) == (Outcome.OK, PICTURE, 200, '"v1"', 1)
    assert found.final_url == site.url("/picture")
    assert site.headers["User-Agent"].startswith("heritage-enrichment/") and "a@example.org" in site.headers["User-Agent"]


@pytest.mark.parametrize(
    ("status", "outcome", "reason"),
    [
        (404, Outcome.GONE, Reason.GONE),
        (410, Outcome.GONE, Reason.GONE),
        (400, Outcome.FAILED, Reason.HTTP_4XX),
        (401, Outcome.FAILED, Reason.HTTP_4XX),
        (403, Outcome.FAILED, Reason.HTTP_4XX),
        (451, Outcome.FAILED, Reason.HTTP_4XX),
        (429, Outcome.FAILED, Reason.HTTP_5XX),
        (500, Outcome.FAILED, Reason.HTTP_5XX),
        (503, Outcome.FAILED, Reason.HTTP_5XX),
    ],
)
def test_every_refusal_has_its_reason_and_no_content(status: int, outcome: Outcome, reason: Reason) -> None:
    found = fetched(f"/status/{status}")
    assert (found.outcome, found.reason, found.status, found.content) == (outcome, reason, status, None)


def test_passing_trouble_is_tried_again_until_it_passes() -> None:
    site = Site()

    async def third_time(request: web.Request) -> web.Response:
        return await (site.answer_picture if site.calls["/x"] > 2 else answer_500)(request)

    async def answer_500(request: web.Request) -> web.Response:
        return web.Response(status=500, headers={"Retry-After": "0"})

    site.answers["/x"] = third_time
    found = visited(site, ["/x"], download_attempts=3)[0].download
    assert (found.outcome, found.body_bytes, found.attempts, site.calls["/x"]) == (Outcome.OK, len(PICTURE), 3, 3)


@pytest.mark.parametrize(("status", "calls"), [(500, 3), (404, 1), (403, 1)])
def test_only_passing_trouble_is_tried_again(status: int, calls: int) -> None:
    site = Site()
    found = visited(site, [f"/status/{status}"], download_attempts=3)[0].download
    assert (site.calls[f"/status/{status}"], found.attempts) == (calls, calls)


# --- Redirects ---


def test_five_redirects_are_followed_and_the_last_address_is_told() -> None:
    site = Site()
    found = fetched("/hop/5", site)
    assert (found.outcome, found.content, found.final_url) == (Outcome.OK, PICTURE, site.url("/picture"))


@pytest.mark.parametrize("path", ["/hop/6", "/hop/40"])
def test_more_than_five_redirects_are_refused(path: str) -> None:
    site = Site()
    found = fetched(path, site, download_attempts=3)
    assert (found.outcome, found.reason, found.content) == (Outcome.FAILED, Reason.TOO_MANY_REDIRECTS, None)
    assert site.calls["/picture"] == 0 and site.calls.total() == 6


def test_a_loop_of_redirects_ends() -> None:
    site = Site()

    async def again(request: web.Request) -> web.Response:
        return web.Response(status=301, headers={"Location": "/loop"})

    site.answers["/loop"] = again
    assert fetched("/loop", site).reason is Reason.TOO_MANY_REDIRECTS


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:1/",
        "http://169.254.169.254/latest/",
        "http://[::1]/",
        "http://10.0.0.1/",
        "http://localhost:1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
    ],
)
def test_a_redirect_to_an_address_that_may_not_be_visited_is_refused(location: str) -> None:
    site = Site()

    async def away(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    site.answers["/away"] = away
    found = fetched("/away", site, download_attempts=3)
    assert (found.outcome, found.reason, found.attempts) == (Outcome.REJECTED, Reason.SSRF_REFUSED, 1)


def test_a_private_address_is_refused_without_a_call_when_it_is_not_exempt() -> None:
    site = Site()
    found = fetched("/picture", site, private_image_hosts="")
    assert found.reason is Reason.SSRF_REFUSED and site.calls.total() == 0


@pytest.mark.parametrize(
    "url", ["", "no-scheme://", "http://", "http://exa mple.invalid:99999/", "ftp://x.org/a", "data:,x://"]
)
def test_what_is_no_address_is_refused_and_does_not_raise(url: str) -> None:
    async def work() -> Download:
        async with open_downloader(Settings(_env_file=None, download_attempts=1)) as downloader:
            return await downloader.fetch(url)

    assert run(work()).reason is Reason.SSRF_REFUSED


# --- Bounds ---


def test_no_complete_answer_in_time_is_a_timeout() -> None:
    found = fetched("/slow/1", download_timeout_s=0.2)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.TIMEOUT)


def test_a_body_that_trickles_is_cut_off_by_the_total_time() -> None:
    site = Site()

    async def trickle(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        for _ in range(30):
            await reply.write(b"x")
            await asyncio.sleep(0.05)
        return reply

    site.answers["/trickle"] = trickle
    assert fetched("/trickle", site, download_timeout_s=0.3).reason is Reason.TIMEOUT


def test_a_body_that_is_too_large_is_cut_off_while_it_streams() -> None:
    site = Site()
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        reply = web.StreamResponse()
        await reply.prepare(request)
        for _ in range(2_000):
            await reply.write(b"x" * 65_536)
            sent += 65_536
        return reply

    site.answers["/endless"] = endless
    found = fetched("/endless", site, image_max_bytes=200_000)
    assert (found.outcome, found.reason, found.content) == (Outcome.REJECTED, Reason.TOO_LARGE, None)
    assert sent < 60_000_000


def test_a_small_body_that_unpacks_to_a_huge_one_is_too_large() -> None:
    site = Site()

    async def packed(request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"\0" * 20_000_000), headers={"Content-Encoding": "gzip"})

    site.answers["/packed"] = packed
    assert fetched("/packed", site, image_max_bytes=1_000_000).reason is Reason.TOO_LARGE


def test_exactly_the_allowed_size_is_accepted() -> None:
    assert fetched("/picture", image_max_bytes=len(PICTURE)).outcome is Outcome.OK
    assert fetched("/picture", image_max_bytes=len(PICTURE) - 1).reason is Reason.TOO_LARGE


def test_a_connection_that_is_reset_is_a_failed_connection() -> None:
    site = Site()

    async def reset(request: web.Request) -> web.StreamResponse:
        import socket

        assert request.transport is not None
        wire = request.transport.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
        return web.Response()

    site.answers["/reset"] = reset
    found = fetched("/reset", site)
    assert (found.outcome, found.reason) == (Outcome.FAILED, Reason.CONNECTION)


def test_a_body_that_ends_early_is_a_failed_connection() -> None:
    site = Site()

    async def early(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"Content-Length": "1000"})
        await reply.prepare(request)
        await reply.write(b"x" * 10)
        assert request.transport is not None
        request.transport.close()
        return reply

    site.answers["/early"] = early
    assert fetched("/early", site).reason is Reason.CONNECTION


def test_nobody_listening_is_a_failed_connection() -> None:
    site = Site()

    async def work() -> Download:
        async with serving(site):
            pass
        async with open_downloader(configured(site)) as downloader:
            return await downloader.fetch(site.url("/picture"))

    assert run(work()).reason is Reason.CONNECTION


# --- Many at once ---


def test_every_record_gets_the_answer_to_its_own_address() -> None:
    paths = [f"/slow/{delay}/{at}" for at, delay in enumerate([0.2, 0.0, 0.1, 0.0, 0.15, 0.01])]
    found = visited(Site(), paths)
    assert [one.download.final_url.partition("/slow/")[2] for one in found] == [path.removeprefix("/slow/") for path in paths]  # type: ignore[union-attr]


def test_a_failure_keeps_its_place() -> None:
    found = visited(Site(), ["/picture", "/status/404", "/picture?2"])
    assert [one.download.reason for one in found] == [None, Reason.GONE, None]


def test_never_more_calls_are_under_way_than_the_limits_allow() -> None:
    site = Site()
    visited(site, [f"/slow/0.15/{at}" for at in range(30)], download_concurrency=5, download_per_host=3)
    assert site.most["all"] == 5
    assert max(site.most[f"127.0.0.{last}:{site.port}"] for last in (1, 2)) == 3


def test_no_addresses_give_no_results() -> None:
    assert visited(Site(), []) == []


def test_an_address_that_several_records_name_is_visited_once() -> None:
    site = Site()
    url = "/picture"
    found = visited(site, [url, "/picture?other", url])
    assert [one.download.outcome for one in found] == [Outcome.OK] * 3
    assert site.calls["/picture"] == 2  # the other host's, and one for two records
