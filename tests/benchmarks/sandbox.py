"""The sandbox: annotations a second of one core, by the server's own processor time. The machine decides with it: one
and the same commit has been seen between 1,200 and 6,600."""

import asyncio
import json
import os
import tempfile
from pathlib import Path

from pipeline.sandbox.process import SandboxProcess
from tests.benchmarks.figure import Figure
from tests.integration.archive import serve_archive

CLIENTS, EACH, TURNS = 12, 300, 3
WIKIDATA = "http://www.wikidata.org/entity/"


def measure(*, full: bool) -> list[Figure]:
    """Creates per second of processor time, three times; Linux only, it reads /proc."""
    rates = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, serve_archive(Path(folder), 40) as platform:
        for turn in range(TURNS):
            before = processor_seconds(platform)
            asyncio.run(post_all(platform, turn))
            rates.append(round(CLIENTS * EACH / (processor_seconds(platform) - before)))
    return [Figure("creates", "annotations per second of one core of the server", rates, at_least=1_800)]


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
