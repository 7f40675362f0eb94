"""Publication: ledger and Annotation API against a sequential `requests` loop that posts the same without a ledger.

The platform answers each creation 50 ms late, as one over the network does. Both sides in turn, three times.
"""

import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests

from pipeline.database import connect, ledger
from pipeline.datasets.stage import Batch
from pipeline.domain.identifiers import annotation_canonical, item_uri
from pipeline.publish.steps import _send
from pipeline.sandbox import SandboxOptions
from pipeline.sandbox.builtin import write_builtin_collection
from pipeline.sandbox.process import SandboxProcess, free_port
from pipeline.settings import PROJECT_ROOT, Settings
from tests.benchmarks.figure import Figure

NOW = datetime(2026, 1, 2, tzinfo=UTC)
BODY = "http://www.wikidata.org/entity/Q93184"
LATE = {"route": "^/europeana/annotation/$", "fault": "slow", "seconds": 0.05, "method": "POST"}
SEQUENTIAL = 500  # calls of the loop
CONCURRENCY = 128
QUOTA, WINDOW_S, WINDOWS = 1_000, 60, 3


def measure(*, full: bool) -> list[Figure]:
    """Annotations a second, ours and the loop's, and their ratio; memory over 100,000; use of a quota (both with `full`)."""
    count, ours, loop, growth = 10_000, [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_builtin_collection(folder / "collection", pictures=40)
        for turn in range(3):
            with _platform(folder, f"turn-{turn}") as platform:
                platform.faults(LATE)
                settings = _settings(folder / f"var-{turn}", platform)
                ours.append(_ours(settings, count))
                first = _peak_mb()
                if full and turn == 2:
                    _ours(settings, 100_000 - count, first=count)
                    growth.append(round(_peak_mb() / first, 3))
                loop.append(_loop(platform, SEQUENTIAL))
        figures = [
            Figure("pipeline", "annotations/s, ledger written durably, 50 ms delay", [round(rate) for rate in ours]),
            Figure(
                "requests_loop", "annotations/s, one after the other, no ledger, 50 ms delay", [round(rate, 1) for rate in loop]
            ),
            Figure("ratio", "x the loop", [round(a / b, 1) for a, b in zip(ours, loop, strict=True)], at_least=60),
        ]
        if full:
            unit = f"x the peak memory, 100,000 annotations to {count:,}"
            figures += [Figure("memory_growth", unit, growth, at_most=1.1), *_quota(folder)]
    return figures


@contextmanager
def _platform(folder: Path, name: str, **options: int) -> Iterator[SandboxProcess]:
    with SandboxProcess(
        SandboxOptions(
            collection=folder / "collection",
            state_dir=folder / name,
            vocabulary_path=PROJECT_ROOT / "vocab" / "concepts.yaml",
            port=free_port(),
            **options,  # type: ignore[arg-type]
        )
    ) as running:
        yield running


def _settings(var: Path, platform: SandboxProcess) -> Settings:
    return Settings(
        var_dir=var,
        europeana_api_url=f"{platform.url}/europeana",
        europeana_auth_url=f"{platform.url}/auth",
        annotation_client_id="sandbox",
        annotation_client_secret="sandbox",
        publish_concurrency=CONCURRENCY,
    )


def _ours(settings: Settings, count: int, *, first: int = 0) -> float:
    numbers = range(first, first + count)
    statements = (
        ledger.Statement(
            record_id=f"/1/ours_{number}",
            concept_uri=BODY,
            target="europeana",
            body_uri=BODY,
            canonical=annotation_canonical(f"/1/ours_{number}", BODY, "europeana"),
            score=0.9,
            model_name="bench",
            model_version="1",
            run_id="bench",
        )
        for number in numbers
    )
    engine = connect(settings)
    ledger.plan(engine, statements, now=NOW)
    keys = ((f"/1/ours_{number}", BODY) for number in numbers)
    names = ledger.assign(engine, keys, target="europeana", run_id="bench", size=count, lease=timedelta(hours=1), now=NOW)
    batch = Batch("runs/run=bench/run.json", "publish", 0, {"kind": "europeana", "ledger_batch": names[0]}, "")
    started = time.monotonic()
    result = _send(batch, settings)
    seconds = time.monotonic() - started
    assert result.counts.ok == count, result.counts
    return count / seconds


def _loop(platform: SandboxProcess, count: int) -> float:
    headers = {"Authorization": f"Bearer {platform.token()}"}
    started = time.monotonic()
    with requests.Session() as session:
        for number in range(count):
            document = {"motivation": "tagging", "body": BODY, "target": item_uri(f"/1/loop_{number}")}
            reply = session.post(f"{platform.url}/europeana/annotation/", json=document, headers=headers, timeout=30)
            assert reply.status_code == 201, reply.text
    return count / (time.monotonic() - started)


def _quota(folder: Path) -> list[Figure]:
    """What of a quota is used in the windows that lie within the run as a whole, and how often it was overstepped."""
    with _platform(folder, "quota", annotation_quota=QUOTA, quota_window_s=WINDOW_S) as platform:
        _ours(_settings(folder / "var-quota", platform), QUOTA * WINDOWS)
        moments = [datetime.fromisoformat(entry["at"]).timestamp() for entry in platform.journal()]
        refused = requests.get(f"{platform.url}/_sandbox/health", timeout=10).json()["refused_by_quota"]
    windows = Counter(int(moment) // WINDOW_S for moment in moments)
    whole = sorted(windows)[1:-1]  # the first began before the run, the last was not needed to its end
    return [
        Figure("quota_used", f"of {QUOTA} requests per {WINDOW_S} s", [windows[one] / QUOTA for one in whole], at_least=0.95),
        Figure("quota_refused", "requests answered 429", [refused], at_most=0),
    ]


def _peak_mb() -> float:
    """The largest resident memory of this process so far (MB)."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1_000
