"""The sandbox: annotations a second of one core, by the server's own processor time, and pages of a million records.
The machine decides with it: one and the same commit has been seen between 1,200 and 6,600 annotations, and between 1,450
and 9,250 pages."""

import asyncio
import json
import os
import tempfile
import time
from pathlib import Path

import requests

from pipeline.sandbox.process import SandboxProcess
from tests.benchmarks.figure import Figure
from tests.integration.archive import serve_archive

CLIENTS, EACH, TURNS, PAGES = 12, 300, 3, 50
PAGED = (
    {"query": "*:*", "sort": "europeana_id"},
    {"query": "*:*", "qf": "TYPE:IMAGE"},
    {"query": "*:*", "qf": "timestamp_update:[2026-01-01T00:00:00Z TO 2026-01-01T06:00:00Z}", "sort": "europeana_id"},
)
WIKIDATA = "http://www.wikidata.org/entity/"


def measure(*, full: bool) -> list[Figure]:
    """Both figures, three times each."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return [
            Figure(
                "creates", "annotations per second of one core of the server", creates(Path(folder) / "small"), at_least=1_800
            ),
            Figure(
                "pages", "pages of 100 rich items per minute, a million records", pages(Path(folder) / "large"), at_least=1_500
            ),
        ]


def creates(folder: Path) -> list[float]:
    """Creates per second of processor time; Linux only, it reads /proc."""
    rates: list[float] = []
    with serve_archive(folder, 40) as platform:
        for turn in range(TURNS):
            before = processor_seconds(platform)
            asyncio.run(post_all(platform, turn))
            rates.append(round(CLIENTS * EACH / (processor_seconds(platform) - before)))
    return rates


def pages(folder: Path) -> list[float]:
    """Pages per minute of one client with the slowest of three queries."""
    with serve_archive(folder, 1_000_000) as platform, requests.Session() as session:
        session.headers["X-Api-Key"] = "sandbox"
        return [min(pages_per_minute(session, platform.url, query) for query in PAGED) for _ in range(TURNS)]


def pages_per_minute(session: requests.Session, url: str, query: dict[str, str]) -> float:
    """Walk along the cursor for a while."""
    cursor, begin = "*", time.monotonic()
    for _ in range(PAGES):
        parameters = {**query, "rows": "100", "profile": "rich", "cursor": cursor}
        answer = session.get(f"{url}/europeana/record/v2/search.json", params=parameters, timeout=30)
        answer.raise_for_status()
        cursor = answer.json()["nextCursor"]
    return round(PAGES / (time.monotonic() - begin) * 60)


async def post_all(platform: SandboxProcess, turn: int = 0) -> None:
    """All clients at once, each with numbers of its own."""
    token = platform.token()
    firsts = (100_000 * turn + 1_000 * client for client in range(CLIENTS))
    await asyncio.gather(*(keep_posting(platform.options.port, token, first) for first in firsts))


async def keep_posting(port: int, token: str, first: int) -> None:
    """One client with one connection, as cheap as it can be: the server is what is measured."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(first, first + EACH):
        target = f"http://data.europeana.eu/item/1/speed{number}"
        body = json.dumps({"motivation": "tagging", "body": f"{WIKIDATA}Q{number % 7}", "target": target})
        head = f"POST /europeana/annotation/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 201"), answer
        await reader.readexactly(int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
    writer.close()


def processor_seconds(platform: SandboxProcess) -> float:
    """User and system time of the server so far."""
    times = Path(f"/proc/{platform._process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
