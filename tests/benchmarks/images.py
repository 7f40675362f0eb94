"""Images: fetch, validate, normalise and store, against the usual loop (`requests`, Pillow verify + load + resize)."""

import io
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import requests
from PIL import Image

from pipeline.cli.local_run import IMAGE_HOSTS
from pipeline.cli.stages import run_stage
from pipeline.datasets.lake import open_lake
from pipeline.domain.scope import Scope
from pipeline.harvest.steps import start_run
from pipeline.sandbox import SandboxOptions
from pipeline.sandbox.builtin import write_builtin_collection
from pipeline.sandbox.process import SandboxProcess, free_port
from pipeline.settings import PROJECT_ROOT, Settings
from tests.benchmarks.figure import Figure


def measure(*, full: bool) -> list[Figure]:
    """Images a second, ours and the loop's, and their ratio, three times in turn."""
    ours, loop = [], []
    with tempfile.TemporaryDirectory() as folder:
        collection = Path(folder) / "collection"
        write_builtin_collection(collection, pictures=1_440 if full else 360)
        options = SandboxOptions(
            collection=collection,
            state_dir=Path(folder) / "platform",
            vocabulary_path=PROJECT_ROOT / "vocab" / "concepts.yaml",
            port=free_port(),
        )
        with SandboxProcess(options) as platform:
            for turn in range(3):
                rate, urls = _ours(Path(folder) / f"var-{turn}", platform)
                ours.append(rate)
                loop.append(_loop(urls))
    return [
        Figure("pipeline", "images/s with strict validation, hashes, shard and Parquet", [round(rate, 1) for rate in ours]),
        Figure("requests_pillow_loop", "images/s, nothing stored", [round(rate, 1) for rate in loop]),
        Figure("ratio", "x sequential requests + Pillow loop", [round(a / b, 2) for a, b in zip(ours, loop, strict=True)]),
    ]


def _ours(var: Path, platform: SandboxProcess) -> tuple[float, list[str]]:
    settings = Settings(
        var_dir=var,
        europeana_api_url=f"{platform.url}/europeana",
        europeana_api_key=platform.key,
        private_image_hosts=",".join(f"{host}:{platform.options.port}" for host in IMAGE_HOSTS),
    )
    run = start_run(run_id="bench", source="default", scope=Scope("full"), created_at=datetime.now(UTC), settings=settings)
    run_stage("harvest", run, settings)
    started = time.monotonic()
    run_stage("images", run, settings)
    seconds = time.monotonic() - started
    lake = open_lake(settings)
    rows = [row for batch in lake.rows(lake.run(run), "images") for row in batch.to_pylist()]
    return len(rows) / seconds, [row["image_url"] for row in rows]


def _loop(urls: list[str]) -> float:
    started = time.monotonic()
    with requests.Session() as session:
        for url in urls:
            content = session.get(url, timeout=30).content
            try:
                Image.open(io.BytesIO(content)).verify()
                picture = Image.open(io.BytesIO(content)).convert("RGB")
                picture.thumbnail((400, 400))
                picture.save(io.BytesIO(), "JPEG", quality=90)
            except (OSError, SyntaxError):
                continue
    return len(urls) / (time.monotonic() - started)
