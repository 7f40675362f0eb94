"""Harvest: reading and writing recorded pages; the whole way against a bare `requests` loop; memory; faults and kills.

Everything runs against a sandbox on this machine. The peer asks for the same pages, one after the other, and reads
each with `.json()`; it writes nothing.
"""

import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import requests

from pipeline.clients.europeana import _envelope
from pipeline.datasets.lake import open_lake
from pipeline.datasets.run import Run
from pipeline.domain.scope import Scope
from pipeline.harvest.listings import QueryListing
from pipeline.harvest.rows import Chunk
from pipeline.harvest.seen import SeenIds
from pipeline.harvest.steps import harvest_window, plan_harvest, publish_records
from pipeline.sandbox.process import SandboxProcess
from pipeline.settings import Settings
from tests.benchmarks.figure import Figure
from tests.integration.archive import (
    COUNTER,
    EVERYTHING,
    SEARCH,
    environment_of,
    harvest,
    record_ids,
    requests_counted,
    serve_archive,
    settings_for,
    spread,
    start,
    true_ids,
)

RECORDS, FEW, MANY = 100_000, 10_000, 1_000_000
SMALL = 3_030  # for faults and kills
TURNS, SEEDS, KILLS = 3, 20, 20


def measure(*, full: bool) -> list[Figure]:
    """All figures; the million is for the long form."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with serve_archive(folder, RECORDS) as platform:
            pages, figures = _against_loop(platform, folder)
        figures = [_recorded(pages, folder), *figures]
        figures += _memory(folder, MANY if full else RECORDS)
        with serve_archive(folder, SMALL) as platform:
            truth = true_ids(platform)
            figures += [_faults(platform, truth, folder), *_kills(platform, truth, folder)]
    return figures


def _recorded(pages: list[bytes], folder: Path) -> Figure:
    """Records a second from bytes to Parquet, ids told apart; no network, no database."""
    settings = Settings(_env_file=None, var_dir=folder / "recorded")  # type: ignore[call-arg]
    lake = open_lake(settings)
    run = Run("recorded", "archive", EVERYTHING, Scope("full"), datetime(2026, 1, 2, tzinfo=UTC))
    listing = QueryListing(None, None)  # type: ignore[arg-type]
    rates = []
    for turn in range(TURNS):
        started, chunk, count = time.perf_counter(), Chunk(run), 0
        with SeenIds() as seen:
            for number, content in enumerate(pages, 1):
                for item in (_envelope(content) or {})["items"]:
                    result = listing.read(item)
                    if seen.add(result.record_id):
                        chunk.add(result)
                        count += 1
                if number % settings.harvest_pages_per_part == 0 or number == len(pages):
                    chunk.write(lake, turn, f"{number:05d}")
                    chunk = Chunk(run)
        rates.append(round(count / (time.perf_counter() - started)))
    return Figure("recorded_pages", "records/s from bytes to Parquet, one process", rates, at_least=5_000)


def _against_loop(platform: SandboxProcess, folder: Path) -> tuple[list[bytes], list[Figure]]:
    """The same pages by a bare loop and by the harvest, in turn; plan, windows, checks and publication included."""
    loop, windows, whole, pages = [], [], [], list[bytes]()
    import great_expectations  # noqa: F401 - a worker's start is not the harvest's time

    for turn in range(-1, TURNS):  # the first turn warms both up
        pages.clear()
        started = time.perf_counter()
        _loop(platform, pages)
        seconds = time.perf_counter() - started
        settings = settings_for(platform, folder / f"turn-{turn}", harvest_pages_per_part=50, api_timeout_s=30.0)
        started = time.perf_counter()
        key = start(settings)
        results = [harvest_window(batch, settings=settings) for batch in plan_harvest(key, settings=settings)]
        harvested = time.perf_counter() - started
        publish_records(key, results, settings=settings)
        done = time.perf_counter() - started
        assert len(record_ids(settings, key)) == platform.options.records
        if turn >= 0:
            loop.append(round(seconds, 2))
            windows.append(round(harvested / seconds, 3))
            whole.append(round(done / seconds, 3))
    return pages, [
        Figure("loop", "s for the bare requests loop over the same pages", loop),
        Figure("harvest_windows", "x the loop's time, without publication", windows),
        Figure("end_to_end", "x the loop's time, checks and publication included", whole, at_most=1.15),
    ]


def _loop(platform: SandboxProcess, pages: list[bytes]) -> None:
    cursor: str | None = "*"
    with requests.Session() as session:
        session.headers["X-Api-Key"] = platform.key
        while cursor:
            parameters = {"query": "*:*", "profile": "rich", "rows": "100", "sort": "europeana_id asc", "cursor": cursor}
            reply = session.get(f"{platform.url}/europeana/record/v2/search.json", params=parameters, timeout=30)
            body = reply.json()
            if body["items"]:
                pages.append(reply.content)
            cursor = body.get("nextCursor") if body["items"] else None


def _memory(folder: Path, many: int) -> list[Figure]:
    """Peak memory of a process that harvests and publishes, for few records and for many."""
    peaks = {}
    for records in (FEW, many):
        with serve_archive(folder, records) as platform:
            settings = settings_for(platform, folder / f"memory-{records}", harvest_pages_per_part=50, api_timeout_s=30.0)
            command = [sys.executable, "-m", "tests.benchmarks.harvest", "--child"]
            done = subprocess.run(command, env=environment_of(settings), capture_output=True, text=True, check=True)
            peaks[records] = json.loads(done.stdout.splitlines()[-1])
    harvesting = [peaks[records]["harvest_mb"] for records in (FEW, many)]
    return [
        Figure(f"memory_{FEW}", "MB at the peak of harvesting", [harvesting[0]], at_most=300),
        Figure(f"memory_{many}", "MB at the peak of harvesting", [harvesting[1]], at_most=300),
        Figure("memory_growth", f"x, {many:,} records to {FEW:,}", [round(harvesting[1] / harvesting[0], 3)], at_most=1.1),
        Figure(f"memory_published_{FEW}", "MB at the peak of the checks and publication", [peaks[FEW]["published_mb"]]),
        Figure(f"memory_published_{many}", "MB at the peak of the checks and publication", [peaks[many]["published_mb"]]),
    ]


def _child() -> None:
    """Harvest in a process of its own and print its peaks."""
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    key = start(settings)
    results = [harvest_window(batch, settings=settings) for batch in plan_harvest(key, settings=settings)]
    harvested = _peak_mb()
    publish_records(key, results, settings=settings)
    print(json.dumps({"harvest_mb": harvested, "published_mb": _peak_mb()}))


def _peak_mb() -> int:
    """This program's own peak; `ru_maxrss` would begin with that of the process that has started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20  # bytes, on macOS
    return next(int(line.split()[1]) // 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def _faults(platform: SandboxProcess, truth: set[str], folder: Path) -> Figure:
    """How many seeds of 5 % faults of every kind end with exactly the true ids, each once."""
    right = 0
    for seed in range(SEEDS):
        settings = settings_for(platform, folder / f"seed-{seed}")
        platform.faults(*spread(0.05, {"fault": "repeated-id", "rate": 0.05}, {"fault": "drift", "rate": 0.05}), seed=seed)
        key = start(settings)
        harvest(settings, key)
        platform.faults()
        found = record_ids(settings, key)
        right += set(found) == truth and max(found.values()) == 1
    return Figure("faults", f"of {SEEDS} seeds with 5 % faults end with the true ids", [right], at_least=SEEDS)


def _kills(platform: SandboxProcess, truth: set[str], folder: Path) -> list[Figure]:
    """SIGKILL at random points, then to the end: the ids, and the pages that were fetched more than once."""
    settings = settings_for(platform, folder / "killed")
    platform.faults(COUNTER, {"route": SEARCH, "fault": "slow", "seconds": 0.3})
    command = [sys.executable, "-m", "pipeline", "harvest", "--query", "*:*", "--full", "--run-id", "killed"]
    rng = random.Random(11)
    for _ in range(KILLS):
        process = subprocess.Popen(command, env=environment_of(settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(1.0, 5.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, env=environment_of(settings), check=True, capture_output=True, timeout=120)
    asked = requests_counted(platform)
    platform.faults()
    found = record_ids(settings, "runs/run=killed/run.json")
    right = int(set(found) == truth and max(found.values()) == 1)
    pages = -(-SMALL // 100) + 1
    return [
        Figure("kills", f"1 = the true ids, each once, after {KILLS} SIGKILLs", [right], at_least=1),
        Figure("kills_pages", f"pages asked for, of {pages}, over all {KILLS + 1} starts", [asked]),
        Figure("kills_again", "pages fetched again per kill; a window has 31", [round((asked - pages) / KILLS, 2)], at_most=8),
    ]


if __name__ == "__main__":
    _child()
