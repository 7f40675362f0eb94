"""What hosts ask of robots: robots.txt and X-Robots-Tag, as they are read, and as the engine heeds them."""

import asyncio
import random
import time
from collections import Counter
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.outcome import Outcome, Reason
from pipeline.images.addresses import Address, FetchedAs
from pipeline.images.download import Download, open_downloader
from pipeline.images.fetch import Fetcher, Job
from pipeline.images.hosts import HostQueue
from pipeline.images.robots import AGENT, MOST_BYTES, HostRules, UnreachableRulesError, read_rules, unwanted
from tests.unit.test_download import Handler, Site, configured, fetched, run, serving, visited

HOST = "https://museum.example.org"


def rules(text: str, status: int = 200) -> HostRules:
    async def read(url: str) -> tuple[int, str]:
        assert url == f"{HOST}/robots.txt"
        return status, text

    return asyncio.run(read_rules(f"{HOST}/images/a.jpg?size=full#x", read))


def allowed(text: str, *paths: str) -> list[bool]:
    found = rules(text)
    return [found.allows(f"{HOST}{path}") for path in paths]


# --- Reading it ---


def test_a_closed_path_is_closed_with_all_below_it_and_nothing_else() -> None:
    text = "User-agent: *\nDisallow: /private\n"
    assert allowed(text, "/private", "/private/a.jpg", "/privately", "/pictures/a.jpg", "/", "/Private/a.jpg") == [
        *(False, False, False),
        *(True, True, True),
    ]


def test_everything_can_be_closed_and_robots_txt_itself_is_not() -> None:
    assert allowed("User-agent: *\nDisallow: /", "/", "/a.jpg", "/robots.txt") == [False, False, True]


@pytest.mark.parametrize(
    "text", ["", "User-agent: *\nDisallow:\n", "User-agent: *\nAllow: /\n", "# nothing\n", "Sitemap: https://x/\n"]
)
def test_a_file_that_closes_nothing_leaves_all_open(text: str) -> None:
    assert allowed(text, "/", "/a.jpg") == [True, True]


def test_stars_stand_for_anything_and_a_dollar_for_the_end() -> None:
    text = "User-agent: *\nDisallow: /*/full/\nDisallow: /*.tif$\nDisallow: /*?download=\n"
    assert allowed(text, "/iiif/1/full/max.jpg", "/full/a.jpg", "/a/b.tif", "/a.tif?x=1", "/a.tiff", "/a.jpg?download=1") == [
        *(False, True),
        *(False, True, True),
        False,
    ]


def test_the_longest_rule_that_fits_decides_and_of_equal_ones_the_one_that_allows() -> None:
    text = "User-agent: *\nDisallow: /images\nAllow: /images/open\nDisallow: /images/open/not\n"
    assert allowed(text, "/images/a", "/images/open/a", "/images/open/not/a") == [False, True, False]
    assert allowed("User-agent: *\nAllow: /a\nDisallow: /a\n", "/a") == [True]
    assert allowed("User-agent: *\nDisallow: /a\nAllow: /a\n", "/a") == [True]


def test_rules_are_read_in_any_order() -> None:
    assert allowed("User-agent: *\nAllow: /images/open\nDisallow: /\n", "/images/open/a", "/b") == [True, False]


@pytest.mark.parametrize("name", [AGENT, AGENT.upper(), "Heritage-Enrichment"])
def test_what_is_said_to_us_by_name_stands_for_what_is_said_to_all(name: str) -> None:
    closed_to_us = f"User-agent: *\nDisallow:\n\nUser-agent: {name}\nDisallow: /\n"
    open_to_us = f"User-agent: *\nDisallow: /\n\nUser-agent: {name}\nDisallow: /private\n"
    assert allowed(closed_to_us, "/a.jpg") == [False]
    assert allowed(open_to_us, "/a.jpg", "/private") == [True, False]


def test_we_are_meant_among_several_names() -> None:
    assert allowed(f"User-agent: GPTBot\nUser-agent: {AGENT}\nUser-agent: CCBot\nDisallow: /\n", "/a.jpg") == [False]


@pytest.mark.parametrize("name", ["GPTBot", "Googlebot-Image", "enrichment", "heritage-enrichment-other", "img2dataset"])
def test_what_is_said_to_others_by_name_does_not_hold_for_us(name: str) -> None:
    assert allowed(f"User-agent: {name}\nDisallow: /\n", "/a.jpg") == [True]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_any_line_ending_will_do(ending: str) -> None:
    assert allowed(ending.join(["User-agent: *", "Disallow: /private", ""]), "/private/a", "/a") == [False, True]


def test_paths_are_compared_as_they_are_meant_not_as_they_are_spelled() -> None:
    text = "User-agent: *\nDisallow: /gemälde\nDisallow: /a%20b\n"
    assert allowed(text, "/gem%C3%A4lde/1.jpg", "/gemälde/1.jpg", "/a%20b/1.jpg", "/a b/1.jpg") == [False] * 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_no_file_and_a_refused_one_leave_all_open(status: int) -> None:
    found = rules("User-agent: *\nDisallow: /", status)
    assert (found.file, found.allows(f"{HOST}/a.jpg"), found.crawl_delay_s) == ("none", True, 0.0)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 599])
def test_a_server_in_trouble_counts_as_closed_for_now(status: int) -> None:
    with pytest.raises(UnreachableRulesError, match=str(status)):
        rules("", status)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("User-agent: *\nCrawl-delay: 10\n", 10.0),
        ("User-agent: *\nCrawl-delay: 0.5\n", 0.5),
        (f"User-agent: *\nCrawl-delay: 10\n\nUser-agent: {AGENT}\nCrawl-delay: 2\n", 2.0),
        ("User-agent: GPTBot\nCrawl-delay: 10\n", 0.0),
        ("User-agent: *\nDisallow: /x\n", 0.0),
        ("User-agent: *\nCrawl-delay: soon\n", 0.0),
        ("User-agent: *\nCrawl-delay: -5\n", 0.0),
        ("User-agent: *\nCrawl-delay: nan\n", 0.0),
        ("User-agent: *\nCrawl-delay: inf\n", 0.0),
        ("", 0.0),
    ],
)
def test_the_crawl_delay_is_told_where_it_is_a_number(text: str, seconds: float) -> None:
    assert rules(text).crawl_delay_s == seconds


@given(st.text(max_size=300), st.text(max_size=40))
def test_any_text_is_read_and_answers(text: str, path: str) -> None:
    found = rules(text)
    assert isinstance(found.allows(f"{HOST}/{path}"), bool)
    assert 0 <= found.crawl_delay_s < float("inf")


# --- X-Robots-Tag ---


@pytest.mark.parametrize("word", ["noai", "noimageai", "noindex", "noimageindex", "none"])
def test_each_of_the_words_keeps_us_away(word: str) -> None:
    for line in (word, word.upper(), f"  {word} ", f"nofollow, {word}", f"{word},noarchive", f"all,{word}", f"{AGENT}: {word}"):
        assert unwanted([line]) == word, line


@pytest.mark.parametrize(
    "line",
    [
        "",
        "all",
        "index, follow",
        "nofollow",
        "noarchive, nosnippet, notranslate",
        "noaiplease",
        "max-image-preview: none",
        "max-image-preview:none",
        "nofollow, max-image-preview: none",
        "max-snippet: 0, max-video-preview: -1",
        "unavailable_after: 25 Jun 2040 15:00:00 PST",
        "unavailable_after: 2040-06-25T15:00:00+02:00",
        f"{AGENT}: nofollow",
        f"{AGENT}: max-image-preview: none",
    ],
)
def test_other_words_do_not_keep_us_away(line: str) -> None:
    assert unwanted([line]) is None


@pytest.mark.parametrize(
    "line",
    [
        "otherbot: noai",
        "OtherBot: noindex, noimageindex",
        "googlebot: none",
        "bing-bot: noai",
        "bot.example.org: noai",
        "enrichment: noai",
        "otherbot: unavailable_after: 25 Jun 2040 15:00:00 PST, noindex",
    ],
)
def test_what_is_said_to_another_robot_does_not_keep_us_away(line: str) -> None:
    assert unwanted([line]) is None


@pytest.mark.parametrize(
    "line",
    [
        f"{AGENT}: noai",
        f"{AGENT.upper()} : NOAI",
        f"{AGENT}:noai",
        f"{AGENT}: nofollow, noai",
        "*: noai",
        "unavailable_after: 25 Jun 2010 15:00:00 PST, noai",
        "noai, unavailable_after: 25 Jun 2010 15:00:00 PST",
        "max-snippet: 0, noai",
        "nofollow, max-image-preview: large, noai",
    ],
)
def test_what_is_said_to_us_keeps_us_away(line: str) -> None:
    assert unwanted([line]) == "noai"


def test_each_header_line_speaks_for_itself() -> None:
    assert unwanted(["otherbot: noai", "nofollow"]) is None
    assert unwanted(["otherbot: noai", "noindex"]) == "noindex"
    assert unwanted(["nofollow", "otherbot: nofollow", f"{AGENT}: noimageai"]) == "noimageai"
    assert unwanted([]) is None


@given(st.lists(st.text(max_size=40), max_size=4))
def test_any_header_lines_are_read(lines: list[str]) -> None:
    assert unwanted(lines) in {None, "noai", "noimageai", "noindex", "noimageindex", "none"}


# --- The engine ---


def saying(text: str | bytes, status: int = 200, **headers: str) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        body = text if isinstance(text, bytes) else text.encode()
        return web.Response(status=status, body=body, headers={"Content-Type": "text/plain", **headers})

    return answer


def site_with(robots: str | bytes, status: int = 200, **headers: str) -> Site:
    site = Site()
    site.answers["/robots.txt"] = saying(robots, status, **headers)
    return site


CLOSED = "User-agent: *\nDisallow: /picture/closed\n"


def test_the_engine_does_not_visit_what_robots_txt_closes() -> None:
    site = site_with(CLOSED)
    found = visited(site, ["/picture/closed", "/picture/closed", "/picture/open", "/picture/open"])
    assert [one.download.reason for one in found] == [Reason.ROBOTS_DISALLOWED] * 2 + [None] * 2
    assert [one.download.outcome for one in found] == [Outcome.REJECTED] * 2 + [Outcome.OK] * 2
    assert site.calls["/picture/closed"] == 0 and site.calls["/picture/open"] == 2


def test_each_host_is_asked_once_however_many_pictures_it_has() -> None:
    site = site_with(CLOSED)
    found = visited(site, [f"/picture/{at}" for at in range(60)])
    assert {one.download.outcome for one in found} == {Outcome.OK}
    assert site.calls["/robots.txt"] == 2  # two hosts


def test_many_visits_that_begin_at_once_wait_for_one_robots_txt() -> None:
    site = Site()

    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.1)
        return web.Response(text=CLOSED)

    site.answers["/robots.txt"] = slow

    async def work() -> list[Download]:
        async with serving(site), open_downloader(configured(site)) as downloader:
            return await asyncio.gather(*(downloader.fetch(site.url(f"/picture/{at}")) for at in range(20)))

    assert {one.outcome for one in run(work())} == {Outcome.OK}
    assert site.calls["/robots.txt"] == 1


def test_without_respect_for_robots_nothing_is_asked_and_nothing_heeded() -> None:
    site = site_with("User-agent: *\nDisallow: /\nCrawl-delay: 100\n")
    site.answers["/tagged"] = saying(b"picture", **{"X-Robots-Tag": "noai"})
    found = visited(site, ["/picture/1", "/picture/2", "/tagged"], respect_robots=False)
    assert {one.download.outcome for one in found} == {Outcome.OK}
    assert site.calls["/robots.txt"] == 0


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_host_without_a_robots_txt_is_open(status: int) -> None:
    site = site_with("User-agent: *\nDisallow: /\n", status)
    assert fetched("/picture", site).outcome is Outcome.OK


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_robots_txt_in_trouble_closes_the_host_for_now(status: int) -> None:
    site = site_with("", status)
    found = fetched("/picture", site)
    assert (found.outcome, found.reason, found.passing) == (Outcome.FAILED, Reason.HTTP_5XX, True)
    assert "closed" in found.detail and site.calls["/picture"] == 0


def test_a_robots_txt_that_does_not_come_closes_the_host_for_now() -> None:
    site = Site()

    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.8)
        return web.Response()

    site.answers["/robots.txt"] = slow
    found = fetched("/picture", site, download_timeout_s=0.2)
    assert (found.outcome, found.reason, found.passing) == (Outcome.FAILED, Reason.TIMEOUT, True)
    assert site.calls["/picture"] == 0


def test_a_robots_txt_that_breaks_off_closes_the_host_for_now() -> None:
    site = Site()

    async def broken(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"Content-Length": "1000"})
        await reply.prepare(request)
        await reply.write(b"User-agent: *\n")
        assert request.transport is not None
        request.transport.close()
        return reply

    site.answers["/robots.txt"] = broken
    found = fetched("/picture", site)
    assert (found.outcome, found.reason, found.passing) == (Outcome.FAILED, Reason.CONNECTION, True)
    assert site.calls["/picture"] == 0


def test_a_host_whose_trouble_has_passed_is_asked_again_and_visited() -> None:
    site = Site()

    async def second_time(request: web.Request) -> web.Response:
        return await saying(CLOSED, 503 if site.calls["/robots.txt"] == 1 else 200)(request)

    site.answers["/robots.txt"] = second_time

    async def work() -> list[Download]:
        async with serving(site), open_downloader(configured(site)) as downloader:
            return [await downloader.fetch(site.url(path)) for path in ("/picture", "/picture", "/picture/closed", "/picture")]

    assert [one.reason for one in run(work())] == [Reason.HTTP_5XX, None, Reason.ROBOTS_DISALLOWED, None]
    assert site.calls["/robots.txt"] == 2


def test_a_giant_robots_txt_is_read_to_its_bound_and_no_further() -> None:
    line = "Disallow: /elsewhere/{:06}\n"
    count = MOST_BYTES // len(line.format(0))
    giant = "User-agent: *\nDisallow: /picture/closed\n" + "".join(line.format(at) for at in range(count + 2_000))
    site = site_with(giant + "Disallow: /picture/late\n")
    found = visited(site, ["/picture/closed", "/picture/late"], download_timeout_s=20)
    assert [one.download.reason for one in found] == [Reason.ROBOTS_DISALLOWED, None]


def test_an_endless_robots_txt_ends_at_its_bound() -> None:
    site, sent = Site(), Counter[str]()

    async def endless(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        await reply.write(CLOSED.encode())
        for _ in range(2_000):
            await reply.write(b"# and so on\n" * 4_000)
            sent["bytes"] += 48_000
        return reply

    site.answers["/robots.txt"] = endless
    assert fetched("/picture/closed", site).reason is Reason.ROBOTS_DISALLOWED
    assert sent["bytes"] < 40_000_000


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x00" * 3_000,
        random.Random(1).randbytes(20_000),
        b"\xff\xd8\xff\xe0" + random.Random(2).randbytes(5_000),
        b"<!DOCTYPE html><html><body>Sign in</body></html>",
        b"\x1f\x8b\x08\x00 not really gzip",
        "User-agent: *\nDisallow: /".encode("utf-16"),
    ],
)
def test_binary_nonsense_closes_nothing(nonsense: bytes) -> None:
    assert fetched("/picture", site_with(nonsense)).outcome is Outcome.OK


def test_a_byte_order_mark_does_not_hide_the_first_line() -> None:
    site = site_with("\ufeffUser-agent: *\nDisallow: /picture/closed\n")
    assert fetched("/picture/closed", site).reason is Reason.ROBOTS_DISALLOWED


def test_rules_among_bytes_that_are_no_text_are_heeded() -> None:
    site = site_with(b"# Mus\xe9e\nUser-agent: *\nDisallow: /picture/closed # \xff\n")
    assert fetched("/picture/closed", site).reason is Reason.ROBOTS_DISALLOWED


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_robots_txt_that_has_moved_is_followed(status: int) -> None:
    site = site_with("", status, Location="/moved/robots.txt")
    site.answers["/moved/robots.txt"] = saying(CLOSED)
    assert fetched("/picture/closed", site).reason is Reason.ROBOTS_DISALLOWED
    assert fetched("/picture/open", site_with("", status, Location="/status/404")).outcome is Outcome.OK


def test_a_robots_txt_may_lie_on_another_host_and_holds_for_the_first() -> None:
    site = Site()

    async def by_host(request: web.Request) -> web.Response:
        location = site.url("/theirs", "127.0.0.2")
        return (
            web.Response(status=302, headers={"Location": location}) if request.host.startswith("127.0.0.1") else web.Response()
        )

    site.answers["/robots.txt"], site.answers["/theirs"] = by_host, saying(CLOSED)
    assert fetched("/picture/closed", site).reason is Reason.ROBOTS_DISALLOWED


def test_a_robots_txt_that_is_redirected_for_ever_counts_as_none() -> None:
    site = site_with("", 302, Location="/robots.txt")
    assert fetched("/picture", site).outcome is Outcome.OK
    assert site.calls["/robots.txt"] == 6


def test_a_redirect_to_a_host_that_forbids_it_ends_there() -> None:
    site = Site()

    async def by_host(request: web.Request) -> web.Response:
        return web.Response(text=CLOSED if request.host.startswith("127.0.0.2") else "User-agent: *\nAllow: /\n")

    async def away(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": site.url("/picture/closed", "127.0.0.2")})

    site.answers |= {"/robots.txt": by_host, "/away": away}
    found = fetched("/away", site)
    assert (found.outcome, found.reason) == (Outcome.REJECTED, Reason.ROBOTS_DISALLOWED)
    assert found.final_url == site.url("/picture/closed", "127.0.0.2")
    assert (site.calls["/away"], site.calls["/picture/closed"], site.calls["/robots.txt"]) == (1, 0, 2)


def test_a_redirect_to_a_closed_path_of_the_same_host_ends_there() -> None:
    site = site_with(CLOSED)
    site.answers["/away"] = saying("", 301, Location="/picture/closed")
    assert fetched("/away", site).reason is Reason.ROBOTS_DISALLOWED
    assert site.calls["/picture/closed"] == 0


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["noai"], Reason.ROBOTS_DISALLOWED),
        (["NOINDEX, nofollow"], Reason.ROBOTS_DISALLOWED),
        (["nofollow", "otherbot: nofollow", "noimageai"], Reason.ROBOTS_DISALLOWED),
        (["otherbot: nofollow", f"{AGENT}: noai"], Reason.ROBOTS_DISALLOWED),
        (["otherbot: noai", "googlebot: none"], None),
        (["unavailable_after: 25 Jun 2040 15:00:00 PST"], None),
        (["all"], None),
    ],
)
def test_the_engine_heeds_what_a_reply_says_to_robots(lines: list[str], reason: Reason | None) -> None:
    site = Site()

    async def tagged(request: web.Request) -> web.Response:
        reply = web.Response(body=b"picture")
        for line in lines:
            reply.headers.add("X-Robots-Tag", line)
        return reply

    site.answers["/tagged"] = tagged
    found = fetched("/tagged", site)
    assert (found.reason, found.content) == (reason, None if reason else b"picture")
    assert not reason or "X-Robots-Tag" in found.detail


# --- Crawl-delay ---


def test_a_crawl_delay_keeps_visits_apart() -> None:
    queue: HostQueue[int] = HostQueue(per_host=8)
    for item in range(4):
        queue.put("a", item)
    taken = queue.take(100.0)
    assert taken is not None
    host = taken[0]
    host.interval_s = rules("User-agent: *\nCrawl-delay: 10\n").crawl_delay_s  # it is known with the first answer
    host.not_before = 101.0 + host.interval_s
    queue.answered(host, 101.0)
    times, now = [], 101.0
    while queue.waiting:
        if (taken := queue.take(now)) is None:
            moment = queue.next_time()
            assert moment is not None and moment > now
            now = moment
            continue
        times.append(now)
        queue.answered(host, now + 0.5)
    assert times == [111.0, 121.0, 131.0]


def _visits_of_one_host(robots: str, count: int, **changes: Any) -> list[float]:
    site, times = site_with(robots), list[float]()

    async def picture(request: web.Request) -> web.Response:
        times.append(time.monotonic())
        return web.Response(body=b"picture")

    paths = [f"/picture/{at}" for at in range(count)]
    site.answers |= dict.fromkeys(paths, picture)

    async def work() -> None:
        async with serving(site):
            jobs = [
                Job(at, {"record_id": f"/1/{at}"}, [Address(url, url, FetchedAs.ORIGINAL, 0, "", "unknown")], {})
                for at, url in enumerate(map(site.url, paths))
            ]
            with Fetcher(configured(site, **changes)) as fetcher:
                await fetcher.run(jobs, lambda job: None)
                (stats,) = fetcher.stats.values()
                assert stats.visits == count and stats.robots == "read"

    run(work())
    return times


def test_the_engine_obeys_a_crawl_delay() -> None:
    times = _visits_of_one_host("User-agent: *\nCrawl-delay: 0.2\n", 4)
    assert min(later - sooner for sooner, later in zip(times, times[1:], strict=False)) > 0.19


def test_a_crawl_delay_beyond_our_patience_is_cut_to_it() -> None:
    started = time.monotonic()
    times = _visits_of_one_host("User-agent: *\nCrawl-delay: 86400\n", 3, crawl_delay_longest_s=0.2)
    assert min(later - sooner for sooner, later in zip(times, times[1:], strict=False)) > 0.19
    assert time.monotonic() - started < 10


def test_without_a_crawl_delay_nobody_waits() -> None:
    times = _visits_of_one_host(CLOSED, 30)
    assert times[-1] - times[0] < 3


def test_a_host_that_closes_everything_is_not_waited_for() -> None:
    """Where nothing is asked for, nothing has to be kept apart."""
    site = site_with("User-agent: *\nCrawl-delay: 0.5\nDisallow: /\n")
    started = time.monotonic()
    found = visited(site, [f"/picture/{at}" for at in range(16)])
    assert {one.download.reason for one in found} == {Reason.ROBOTS_DISALLOWED}
    assert site.calls.total() == 2  # two hosts' robots.txt
    assert time.monotonic() - started < 2
