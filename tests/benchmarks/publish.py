"""Publication: ledger and Annotation API against a sequential `requests` loop that posts the same without a ledger."""

import tempfile
import time
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


def measure(*, full: bool) -> list[Figure]:
    """Annotations a second, ours and the loop's, and their ratio, three times in turn."""
    count, ours, loop = 5_000 if full else 2_000, [], []
    with tempfile.TemporaryDirectory() as folder:
        write_builtin_collection(Path(folder) / "collection", pictures=40)
        for turn in range(3):
            options = SandboxOptions(
                collection=Path(folder) / "collection",
                state_dir=Path(folder) / f"platform-{turn}",
                vocabulary_path=PROJECT_ROOT / "vocab" / "concepts.yaml",
                port=free_port(),
            )
            with SandboxProcess(options) as platform:
                ours.append(_ours(Path(folder) / f"var-{turn}", platform, count))
                loop.append(_loop(platform, count // 4))
    return [
        Figure("pipeline", "annotations/s, ledger written durably", [round(rate) for rate in ours]),
        Figure("requests_loop", "annotations/s, no ledger", [round(rate) for rate in loop]),
        Figure("ratio", "x sequential requests loop, no latency", [round(a / b, 2) for a, b in zip(ours, loop, strict=True)]),
    ]


def _ours(var: Path, platform: SandboxProcess, count: int) -> float:
    settings = Settings(
        var_dir=var,
        europeana_api_url=f"{platform.url}/europeana",
        europeana_auth_url=f"{platform.url}/auth",
        annotation_client_id="sandbox",
        annotation_client_secret="sandbox",
    )
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
        for number in range(count)
    )
    engine = connect(settings)
    ledger.plan(engine, statements, now=NOW)
    keys = ((f"/1/ours_{number}", BODY) for number in range(count))
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
