"""Addresses that lead into the house: every one is refused by the real engine, and nobody inside sees a connection.

A canary listens on this machine's loopback addresses. No test needs the internet: a resolver of ours stands in for the
system's, and reads every name as generously as any resolver anywhere might.
"""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import aiohttp.connector
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from pipeline.domain.outcome import Outcome, Reason
from pipeline.images.addresses import Address, FetchedAs, addresses_of
from pipeline.images.download import Download, open_downloader
from pipeline.images.fetch import Attempt, Fetcher, Job
from pipeline.imaging.address_guard import GuardedResolver, RefusedAddressError, check_url
from pipeline.settings import Settings
from tests.unit.test_download import Site, configured, run, serving

LOOPBACK = ("127.0.0.1", "127.0.0.2", "127.8.9.1", "::1")
PUBLIC = "93.184.215.14"
NAMES: dict[str, list[str]] = {
    "localhost": ["127.0.0.1", "::1"],
    "ip6-localhost": ["::1"],
    "printer.home.arpa": ["192.168.1.20"],
    "metadata.google.internal": ["169.254.169.254"],
    "db.example.org": ["10.1.2.3"],
    "v6.example.org": ["fd00::17"],
    "loopback.example.org": ["127.0.0.1"],
    "first-public.example.org": [PUBLIC, "127.0.0.1"],
    "first-private.example.org": ["127.0.0.1", PUBLIC],
    "public-and-v6.example.org": [PUBLIC, "::1"],
    "mapped.example.org": ["::ffff:127.0.0.1"],
    "gallery.example.org": [PUBLIC],
}

real_getaddrinfo = socket.getaddrinfo


def _entry(address: str, port: int) -> tuple[Any, ...]:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))


class Names:
    """Stands in for the system's resolver: known names, and numbers in all their spellings; the network is not asked."""

    def __init__(self) -> None:
        self.known: dict[str, list[str]] = dict(NAMES)
        self.in_turn: dict[str, Iterator[list[str]]] = {}  # names that lead somewhere else each time
        self.asked: list[str] = []

    def getaddrinfo(self, host: str, port: int, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> list[Any]:
        self.asked.append(host)
        name = unquote(host).partition("\0")[0].rstrip(".").lower()
        if name in self.in_turn:
            return [_entry(address, port) for address in next(self.in_turn[name])]
        if name in self.known:
            return [_entry(address, port) for address in self.known[name]]
        return real_getaddrinfo(name, port, family, type, proto, flags | socket.AI_NUMERICHOST)


class Wires:
    """Stands in for the way out: only this machine is reached, and all that anybody tried to reach is remembered."""

    def __init__(self) -> None:
        self.tried: list[str] = []
        self.outside: dict[str, Site] = {}  # which server of ours answers at a public address
        self._connect = aiohttp.connector.aiohappyeyeballs.start_connection

    async def start_connection(self, addr_infos: list[Any], **options: Any) -> socket.socket:
        addresses = [str(info[4][0]) for info in addr_infos]
        self.tried += addresses
        known = [info for info, address in zip(addr_infos, addresses, strict=True) if address in LOOPBACK]
        known += [_entry("127.0.0.1", self.outside[address].port) for address in addresses if address in self.outside]
        if not known:
            raise OSError(errno.ENETUNREACH, "nobody is asked outside of this machine")
        return await self._connect(addr_infos=known, **options)


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """No test of this file asks a real resolver."""
    stand_in = Names()
    monkeypatch.setattr(socket, "getaddrinfo", stand_in.getaddrinfo)
    return stand_in


@pytest.fixture(autouse=True)
def wires(monkeypatch: pytest.MonkeyPatch) -> Wires:
    """No test of this file reaches anybody outside."""
    stand_in = Wires()
    monkeypatch.setattr(aiohttp.connector.aiohappyeyeballs, "start_connection", stand_in.start_connection)
    return stand_in


class Canary:
    """Listens where nobody may come, and counts those who do."""

    def __init__(self) -> None:
        self.port = 0
        self.visitors = 0

    async def greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visitors += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n\xff\xd8\xff")
        writer.close()


@asynccontextmanager
async def listening() -> AsyncIterator[Canary]:
    """A canary on every loopback address that this machine has."""
    canary, servers = Canary(), []
    try:
        for address in LOOPBACK:
            try:
                server = await asyncio.start_server(canary.greet, address, canary.port)
            except OSError:
                continue  # no IPv6, or only one loopback address
            servers.append(server)
            canary.port = canary.port or server.sockets[0].getsockname()[1]
        yield canary
    finally:
        for server in servers:
            server.close()


def guarded(**changes: Any) -> Settings:
    return Settings(_env_file=None, **({"download_timeout_s": 3, "download_attempts": 2} | changes))


def visit(url: Callable[[int], str], **changes: Any) -> tuple[Download, int]:
    """Visit an address (of the canary's port); what came back, and how many came to the canary."""

    async def work() -> tuple[Download, int]:
        async with listening() as canary, open_downloader(guarded(**changes)) as downloader:
            return await downloader.fetch(url(canary.port)), canary.visitors

    return run(work())


# PORT stands for the port that the canary listens on.
FORBIDDEN: dict[str, list[str]] = {
    "other schemes": [
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "FILE:///etc/passwd",
        "ftp://127.0.0.1:PORT/a.jpg",
        "ftp://gallery.example.org/a.jpg",
        "gopher://127.0.0.1:PORT/_GET%20/",
        "data:image/png;base64,iVBORw0KGgo=",
        "javascript:fetch('http://127.0.0.1:PORT/')",
        "dict://127.0.0.1:PORT/d:x",
        "ldap://127.0.0.1:PORT/dc=x",
        "jar:http://127.0.0.1:PORT/a.jar!/a.jpg",
        "ws://127.0.0.1:PORT/",
        "unix:///var/run/docker.sock",
        "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
        "view-source:http://127.0.0.1:PORT/",
        "blob:http://127.0.0.1:PORT/1",
        "tftp://127.0.0.1:PORT/a",
    ],
    "no scheme or no host": [
        "",
        " ",
        "a.jpg",
        "/etc/passwd",
        "//127.0.0.1:PORT/",
        "///127.0.0.1:PORT/",
        "127.0.0.1:PORT/",
        "http:",
        "http://",
        "http:///a.jpg",
        "http:/127.0.0.1:PORT/",
        "http:127.0.0.1:PORT/",
        "http:\\\\127.0.0.1:PORT\\",
        "http://:PORT/",
        "http://?127.0.0.1:PORT",
    ],
    "IPv4 ranges that are not public": [
        "http://127.0.0.1:PORT/",
        "https://127.0.0.1:PORT/",
        "http://127.0.0.2:PORT/",
        "http://127.8.9.1:PORT/",
        "http://127.255.255.255/",
        "http://0.0.0.0:PORT/",
        "http://0.1.2.3/",
        "http://10.0.0.1/",
        "http://10.255.255.255/",
        "http://172.16.0.1/",
        "http://172.31.255.255/",
        "http://192.168.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://169.254.170.2/v2/credentials",
        "http://100.64.0.1/",
        "http://100.127.255.254/",
        "http://192.0.0.8/",
        "http://192.0.2.1/",
        "http://198.51.100.1/",
        "http://203.0.113.1/",
        "http://198.18.0.1/",
        "http://198.19.255.255/",
        "http://224.0.0.1/",
        "http://239.255.255.250/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
    ],
    "IPv6 ranges that are not public": [
        "http://[::1]:PORT/",
        "http://[0:0:0:0:0:0:0:1]:PORT/",
        "http://[::]:PORT/",
        "http://[fe80::1]:PORT/",
        "http://[fe80::1%25lo]:PORT/",
        "http://[::1%25lo]:PORT/",
        "http://[febf::1]/",
        "http://[fc00::1]/",
        "http://[fd12:3456:789a::1]/",
        "http://[fec0::1]/",  # site-local: given up by RFC 3879, and still nobody's on the internet
        "http://[ff02::1]/",
        "http://[ff0e::1]/",
        "http://[2001:db8::1]/",
        "http://[3fff::1]/",  # documentation, RFC 9637
        "http://[2001:2::1]/",  # benchmarks
        "http://[100::1]/",  # discarded
    ],
    "IPv4 inside of IPv6": [
        "http://[::ffff:127.0.0.1]:PORT/",
        "http://[::ffff:7f00:1]:PORT/",
        "http://[0:0:0:0:0:ffff:127.0.0.1]:PORT/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::127.0.0.1]:PORT/",
        "http://[::7f00:1]:PORT/",
        "http://[::ffff:0:127.0.0.1]:PORT/",  # translated, RFC 2765
        "http://[2002:7f00:1::]:PORT/",
        "http://[2002:a00:1::1]/",
        "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/",  # Teredo of 127.0.0.1
        "http://[2001:0:7f00:1::]/",
        "http://[64:ff9b::127.0.0.1]:PORT/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[64:ff9b:1::127.0.0.1]/",  # the local prefix of NAT64, RFC 8215
    ],
    "odd spellings": [
        "http://2130706433:PORT/",
        "http://017700000001:PORT/",
        "http://0x7f000001:PORT/",
        "http://0X7F000001:PORT/",
        "http://0177.0.0.1:PORT/",
        "http://0x7f.0.0.1:PORT/",
        "http://0x7f.1:PORT/",
        "http://127.1:PORT/",
        "http://127.0.1:PORT/",
        "http://127.0.0.01:PORT/",
        "http://0:PORT/",
        "http://2852039166/latest/meta-data/",
        "http://0xa9fea9fe/",
        "http://127.0.0.1.:PORT/",
        "http://127。0。0。1:PORT/",
        "http://１２７.０.０.１:PORT/",
        "http://①②⑦.⓪.⓪.①:PORT/",
        "http://⑯⑨.②⑤④.⑯⑨.②⑤④/",
        "http://%31%32%37.0.0.1:PORT/",
        "http://127%2e0%2e0%2e1:PORT/",
        "http://127.0.0.1%00.example.org:PORT/",
        "http://[127.0.0.1]:PORT/",
        "HTTP://127.0.0.1:PORT/",
        "hTtP://127.0.0.1:PORT/",
        "http://127.0.0.1:PORT",
        "http://127.0.0.1:0PORT/",
    ],
    "tricks with other parts of the address": [
        "http://user:password@127.0.0.1:PORT/",
        "http://gallery.example.org@127.0.0.1:PORT/",
        "http://gallery.example.org:80@127.0.0.1:PORT/",
        "http://gallery.example.org%2f@127.0.0.1:PORT/",
        "http://a@gallery.example.org@127.0.0.1:PORT/",
        "http://gallery.example.org\\@127.0.0.1:PORT/",
        "http://127.0.0.1:PORT\\@gallery.example.org/",
        "http://127.0.0.1:PORT#@gallery.example.org/",
        "http://127.0.0.1:PORT?@gallery.example.org/",
        "http://127.0.0.1:PORT/#.gallery.example.org",
        "http://127.0.0.1:PORT/http://gallery.example.org/a.jpg",
        "ht\ntp://127.0.0.1:PORT/",
        "http://127.0.\t0.1:PORT/",
        "http://127.0.0.1:PORT\r\n/",
        "\thttp://127.0.0.1:PORT/",
        " http://127.0.0.1:PORT/",
        "http://127.0.0.1:PORT/ HTTP/1.1\r\nHost: x",
        "http://127.0.0.1:PORT:80/",
        "http://127.0.0.1:99999/",
        "http://[::1:PORT/",
        "http://::1:PORT/",
        "http://\u200b127.0.0.1:PORT/",
    ],
    "names": [
        "http://localhost:PORT/",
        "http://LocalHost:PORT/",
        "http://localhost.:PORT/",
        "http://ｌｏｃａｌｈｏｓｔ:PORT/",
        "http://localhost%00:PORT/",
        "http://ip6-localhost:PORT/",
        "http://printer.home.arpa/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://db.example.org/",
        "http://v6.example.org/",
        "http://loopback.example.org:PORT/",
        "http://loopback.example.org.:PORT/",
        "http://first-public.example.org:PORT/",
        "http://first-private.example.org:PORT/",
        "http://public-and-v6.example.org:PORT/",
        "http://mapped.example.org:PORT/",
    ],
}
ADDRESSES = [url for group in FORBIDDEN.values() for url in group]


# --- The table ---


@pytest.mark.parametrize(
    "url", [pytest.param(url, id=f"{group}: {url}"[:80]) for group, urls in FORBIDDEN.items() for url in urls]
)
def test_an_address_that_leads_into_the_house_is_refused_and_not_visited(url: str, wires: Wires) -> None:
    found, visitors = visit(lambda port: url.replace("PORT", str(port)))
    assert (found.outcome, found.reason, visitors) == (Outcome.REJECTED, Reason.SSRF_REFUSED, 0), found.detail
    assert found.content is None and not found.passing and wires.tried == []


@pytest.mark.parametrize("respect_robots", [True, False])
def test_the_engine_refuses_all_of_them_at_the_first_try(respect_robots: bool, wires: Wires) -> None:
    async def work() -> tuple[dict[int, Attempt], int]:
        done: dict[int, Attempt] = {}
        async with listening() as canary:
            urls = [url.replace("PORT", str(canary.port)) for url in ADDRESSES]
            jobs = [
                Job(at, {"record_id": f"/1/{at}"}, [Address(url, url, FetchedAs.ORIGINAL, 0, "", "unknown")], {})
                for at, url in enumerate(urls)
            ]
            with Fetcher(guarded(respect_robots=respect_robots)) as fetcher:
                await fetcher.run(jobs, lambda job: done.update({job.position: job.attempts[-1]}))
            return done, canary.visitors

    done, visitors = run(work())
    others = {ADDRESSES[at]: one.verdict for at, one in done.items() if one.verdict[1] is not Reason.SSRF_REFUSED}
    assert (others, visitors, wires.tried) == ({}, 0, [])
    assert len(done) == len(ADDRESSES) > 100 and {one.download.attempts for one in done.values()} == {1}


def test_the_canary_sees_those_who_come() -> None:
    """Otherwise its silence would prove nothing."""

    async def work() -> int:
        async with listening() as canary:
            exempt = ",".join(f"{host}:{canary.port}" for host in ("127.0.0.1", "127.0.0.2", "localhost"))
            async with open_downloader(guarded(private_image_hosts=exempt, respect_robots=False)) as downloader:
                for host in ("127.0.0.1", "localhost"):
                    assert (await downloader.fetch(f"http://{host}:{canary.port}/")).outcome is Outcome.OK
            return canary.visitors

    assert run(work()) == 2


@pytest.mark.parametrize(
    "url",
    [
        "http://gallery.example.org/a.jpg",
        "https://gallery.example.org:8443/a.jpg?x=1#y",
        "HTTPS://Gallery.Example.ORG/",
        "http://user:password@gallery.example.org/a.jpg",
        "http://müsée.example.org/ä.jpg",
        "http://93.184.215.14/",
        "https://8.8.8.8:8080/a.jpg",
        "http://11.0.0.1/",
        "http://172.15.255.255/",
        "http://172.32.0.1/",
        "http://192.167.255.255/",
        "http://169.253.255.255/",
        "http://100.63.255.255/",
        "http://100.128.0.0/",
        "http://223.255.255.254/",
        "http://[2606:4700:4700::1111]/",
        "https://[2001:4860:4860::8888]:8443/a.jpg",
        "http://[2a00:1450:4001:81b::200e]/",
    ],
)
def test_a_public_address_is_not_refused(url: str) -> None:
    check_url(url, frozenset())


# --- Files ---


@pytest.mark.parametrize(
    "path", ["../secret.jpg", "%2e%2e/secret.jpg", "..%2fsecret.jpg", "sub/../../secret.jpg", "link.jpg", "linked/secret.jpg"]
)
def test_a_folder_source_gives_no_file_from_outside_its_folder(path: str, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.jpg").write_bytes(b"\xff\xd8\xff secret")
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "linked").symlink_to(tmp_path)

    async def work() -> Download:
        async with open_downloader(guarded(), folder=folder) as downloader:
            return await downloader.fetch(f"{folder.as_uri()}/{path}")

    found = run(work())
    assert (found.outcome, found.reason, found.content) == (Outcome.REJECTED, Reason.SSRF_REFUSED, None)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "file://localhost/etc/passwd", "file:/etc/passwd", "file:etc/passwd"])
def test_a_folder_source_gives_no_file_of_the_system(url: str, tmp_path: Path) -> None:
    async def work() -> Download:
        async with open_downloader(guarded(), folder=tmp_path) as downloader:
            return await downloader.fetch(url)

    assert run(work()).reason is Reason.SSRF_REFUSED


# --- Names that change where they lead ---


@pytest.fixture(name="site")
def public_site(wires: Wires) -> Site:
    """A server that connections to the public address reach."""
    site = wires.outside[PUBLIC] = Site()
    return site


def test_a_name_that_changes_after_it_was_checked_gains_nothing(names: Names, wires: Wires, site: Site) -> None:
    names.in_turn["rebind.example.org"] = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])

    async def work() -> int:
        async with serving(site), listening() as canary, open_downloader(guarded()) as downloader:
            for _ in range(3):
                found = await downloader.fetch(f"http://rebind.example.org:{canary.port}/picture")
                assert found.outcome is Outcome.OK  # the connection goes to what was checked, as long as that is remembered
            return canary.visitors

    assert run(work()) == 0
    assert set(wires.tried) == {PUBLIC} and names.asked.count("rebind.example.org") == 1


def test_a_name_that_leads_into_the_house_when_it_is_asked_again_is_refused(names: Names, wires: Wires, site: Site) -> None:
    names.in_turn["rebind.example.org"] = iter([[PUBLIC], ["127.0.0.1"]])

    async def work() -> tuple[list[Reason | None], int]:
        reasons = []
        async with serving(site), listening() as canary:
            for _ in range(2):
                async with open_downloader(guarded()) as downloader:
                    reasons.append((await downloader.fetch(f"http://rebind.example.org:{canary.port}/picture")).reason)
            return reasons, canary.visitors

    assert run(work()) == ([None, Reason.SSRF_REFUSED], 0)
    assert set(wires.tried) == {PUBLIC}


def test_a_host_that_sends_us_to_its_other_port_is_looked_up_anew_and_refused(names: Names, wires: Wires, site: Site) -> None:
    names.in_turn["rebind.example.org"] = iter([[PUBLIC], ["127.0.0.1"]])

    async def work() -> tuple[Download, int]:
        async with serving(site), listening() as canary, open_downloader(guarded()) as downloader:
            site.answers["/away"] = redirecting(f"http://rebind.example.org:{canary.port}/picture")
            return await downloader.fetch(f"http://rebind.example.org:{site.port}/away"), canary.visitors

    found, visitors = run(work())
    assert (found.reason, visitors, site.calls["/away"]) == (Reason.SSRF_REFUSED, 0, 1)
    assert set(wires.tried) == {PUBLIC}


@pytest.mark.parametrize(
    "answers", [[PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC], [PUBLIC, "::1"], [PUBLIC] * 9 + ["10.0.0.1"]]
)
def test_a_name_with_one_private_address_among_public_ones_is_refused_as_a_whole(
    answers: list[str], names: Names, wires: Wires, site: Site
) -> None:
    names.known["mixed.example.org"] = answers

    async def work() -> tuple[Download, int]:
        async with serving(site), listening() as canary, open_downloader(guarded()) as downloader:
            return await downloader.fetch(f"http://mixed.example.org:{canary.port}/picture"), canary.visitors

    found, visitors = run(work())
    assert (found.reason, visitors, wires.tried, site.calls.total()) == (Reason.SSRF_REFUSED, 0, [], 0)


class Changing(AbstractResolver):
    """Answers something else each time."""

    def __init__(self, *answers: str) -> None:
        self._answers = iter(answers)

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        address = next(self._answers)
        return [ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        return None


def test_the_resolver_checks_every_answer_anew_and_gives_on_the_very_address_that_it_checked() -> None:
    async def work() -> None:
        resolver = GuardedResolver(frozenset({"sandbox.example.org:8090"}))
        resolver._system = Changing(PUBLIC, "127.0.0.1", "10.0.0.1", PUBLIC, "127.0.0.1", "127.0.0.1")
        assert [entry["host"] for entry in await resolver.resolve("x.example.org", 80)] == [PUBLIC]
        for _ in range(2):
            with pytest.raises(RefusedAddressError):
                await resolver.resolve("x.example.org", 80)
        assert [entry["host"] for entry in await resolver.resolve("x.example.org", 80)] == [PUBLIC]
        assert [entry["host"] for entry in await resolver.resolve("sandbox.example.org", 8090)] == ["127.0.0.1"]
        with pytest.raises(RefusedAddressError):
            await resolver.resolve("sandbox.example.org", 8091)

    run(work())


# --- Redirects ---


def redirecting(location: str, status: int = 302) -> Callable[[web.Request], Any]:
    async def away(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": location})

    return away


def sent_away(answers: Callable[[Site, int], Mapping[str, tuple[str, int]]], **changes: Any) -> tuple[Download, Site, int]:
    """Visit /away of a host that is exempt, whose answers redirect (location and status by path)."""
    site = Site()

    async def work() -> tuple[Download, int]:
        async with serving(site), listening() as canary:
            for path, (location, status) in answers(site, canary.port).items():
                site.answers[path] = redirecting(location, status)
            async with open_downloader(configured(site, download_timeout_s=3, **changes)) as downloader:
                return await downloader.fetch(site.url("/away")), canary.visitors

    found, visitors = run(work())
    return found, site, visitors


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:PORT/",
        "//127.0.0.1:PORT/",
        "http://[::1]:PORT/",
        "http://localhost:PORT/",
        "http://user:password@127.0.0.1:PORT/",
        "http://2130706433:PORT/",
        "http://0x7f.1:PORT/",
        "http://[::ffff:127.0.0.1]:PORT/",
        "http://①②⑦.⓪.⓪.①:PORT/",
        "http://169.254.169.254/latest/meta-data/",
        "http://db.example.org/",
        "http://first-public.example.org:PORT/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:PORT/_",
        "//2130706433:PORT/",
    ],
)
def test_a_redirect_into_the_house_is_refused_and_not_followed(location: str, status: int) -> None:
    found, site, visitors = sent_away(lambda site, port: {"/away": (location.replace("PORT", str(port)), status)})
    assert (found.outcome, found.reason, visitors) == (Outcome.REJECTED, Reason.SSRF_REFUSED, 0), found.detail
    assert site.calls["/away"] == 1 and found.content is None


def test_a_chain_of_redirects_that_ends_in_the_house_is_refused_at_its_last_hop() -> None:
    found, site, visitors = sent_away(
        lambda site, port: {
            "/away": (site.url("/further", "127.0.0.2"), 301),
            "/further": (f"//127.0.0.1:{port}/", 307),
        }
    )
    assert (found.reason, visitors) == (Reason.SSRF_REFUSED, 0)
    assert (site.calls["/away"], site.calls["/further"]) == (1, 1)


def test_a_redirect_to_the_same_address_at_another_port_is_not_exempt() -> None:
    found, site, visitors = sent_away(lambda site, port: {"/away": (f"http://127.0.0.1:{port}/picture", 302)})
    assert (found.reason, visitors, site.calls["/picture"]) == (Reason.SSRF_REFUSED, 0, 0)


# --- robots.txt, renditions and thumbnails ---


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:PORT/robots.txt", "//[::1]:PORT/", "http://localhost:PORT/", "file:///etc/hosts"]
)
def test_a_robots_txt_that_leads_into_the_house_is_not_followed(location: str) -> None:
    found, site, visitors = sent_away(lambda site, port: {"/robots.txt": (location.replace("PORT", str(port)), 302)})
    assert (found.outcome, found.reason, visitors) == (Outcome.REJECTED, Reason.SSRF_REFUSED, 0)
    assert (site.calls["/robots.txt"], site.calls["/away"]) == (1, 0)


def test_private_renditions_pictures_and_thumbnails_are_refused_one_by_one() -> None:
    site = Site()

    async def work() -> tuple[Job, dict[str, int], int]:
        async with serving(site), listening() as canary:
            inside = f"http://127.0.0.1:{canary.port}"
            picture = f"http://localhost:{canary.port}/picture.jpg"
            file = {"url": picture, "rights": None, "rights_category": None, "iiif_service": f"{inside}/iiif/1"}
            record = {
                "record_id": "/1/abc",
                "image_url": picture,
                "image_urls": [picture],
                "thumbnail_url": None,
                "rights": "",
                "rights_category": "open",
                "media": [file | {"width_px": 9_000, "height_px": 9_000}],
            }
            addresses = addresses_of(record, most=4, side_px=400, rights=(), iiif=True, thumbnails=f"{inside}/europeana")
            job = Job(0, record, addresses, {})
            with Fetcher(configured(site, download_timeout_s=3)) as fetcher:
                await fetcher.run([job], lambda done: None)
                reasons = {name: dict(stats.reasons) for name, stats in fetcher.stats.items()}
            return job, reasons, canary.visitors

    job, reasons, visitors = run(work())
    assert [address.fetched_as for address in job.addresses] == [FetchedAs.IIIF, FetchedAs.ORIGINAL, FetchedAs.THUMBNAIL]
    assert visitors == 0 and [count for by_reason in reasons.values() for count in by_reason.items()] == [
        ("ssrf_refused", 2),  # the rendition's and the thumbnail's; the picture's own has a row, which the report counts
    ]
    assert [attempt.verdict[:2] for attempt in job.attempts] == [(Outcome.REJECTED, Reason.SSRF_REFUSED)]
    assert [note.partition(":")[0] for note in job.notes] == ["iiif", "thumbnail"]
    assert all("not a public address" in note for note in job.notes)
