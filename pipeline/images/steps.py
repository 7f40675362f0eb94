"""Steps of the image stage: plan downloads, download a batch into one shard, publish the images."""

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.datasets.lake import Lake, as_table, open_lake
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import IMAGES, OUTCOMES
from pipeline.datasets.stage import (
    Batch,
    Counts,
    Result,
    groups_of,
    merge_results,
    outcomes_dataset,
    plan_stage,
    publish_stage,
    run_batch,
)
from pipeline.domain.identifiers import image_id
from pipeline.domain.outcome import Outcome, OutcomeRow, Reason
from pipeline.images.download import Download, fetch_in_order, open_downloader
from pipeline.images.shards import ShardWriter
from pipeline.imaging.derivative import normalised_jpeg, perceptual_hash
from pipeline.imaging.inspect import Inspection, Limits, inspect_image
from pipeline.quality.gates import check_failures, check_parts
from pipeline.reporting.progress import Progress
from pipeline.settings import Settings

STAGE = "images"
OUTCOMES_OF_STAGE = outcomes_dataset(STAGE)
CANDIDATE_COLUMNS = ("record_id", "image_url", "provider", "rights", "rights_category")
# Settings that change what a batch produces: a batch that ran under other values is done again.
_SETTINGS = (
    "derivative_side_px",
    "derivative_quality",
    "image_min_side_px",
    "image_max_pixels",
    "image_max_aspect",
    "image_max_bytes",
)
DECODE_THREADS = 2


def plan_downloads(run_key: str, *, settings: Settings) -> list[str]:
    """One batch per few thousand records that have an image."""
    lake = open_lake(settings)
    run = lake.run(run_key)
    size = max(settings.images_per_batch, -(-_record_count(lake, run) // settings.max_batches))
    groups = groups_of(_candidates(lake, run), size)
    return plan_stage(lake, run, STAGE, groups, fingerprint=settings.fingerprint(*_SETTINGS), max_batches=settings.max_batches)


def download_batch(batch_key: str, *, settings: Settings) -> str:
    """Fetch, validate and store a batch's pictures; returns the key of its result."""
    lake = open_lake(settings)
    return run_batch(lake, batch_key, lambda run, batch: _download(lake, run, batch, settings))


def publish_images(run_key: str, result_keys: list[str], *, settings: Settings) -> str:
    """Check the images and make them visible; returns the key of the stage's report."""
    lake = open_lake(settings)
    run = lake.run(run_key)
    result = merge_results(lake, STAGE, result_keys)
    check_failures(STAGE, result.counts, settings)
    checks = check_parts(lake, run, "images", result.parts.get("images", []))
    report = publish_stage(lake, run, STAGE, result, ["images", OUTCOMES_OF_STAGE], checks=checks)
    _remove_old_shards(lake, run, shards=len(result_keys))
    return report


def _remove_old_shards(lake: Lake, run: Run, *, shards: int) -> None:
    """The shards of an earlier attempt: no manifest leads to them any more."""
    ours = {f"shard-{run.part_number(number):05d}.tar" for number in range(shards)}
    for key in list(lake.store.list(f"{run.dataset_folder('shards')}/shard-")):
        if key.rpartition("/")[2] not in ours:
            lake.store.delete(key)


@dataclass(frozen=True)
class _Fetched:
    """One attempt, downloaded and looked at."""

    download: Download
    inspection: Inspection | None = None
    image_id: str | None = None
    jpeg: bytes | None = None
    perceptual_hash: str | None = None

    @property
    def verdict(self) -> tuple[Outcome, Reason | None, str]:
        last = self.inspection or self.download
        return last.outcome, last.reason, last.detail


def _record_count(lake: Lake, run: Run) -> int:
    return sum(part.rows for part in lake.parts(run, "records"))


def _candidates(lake: Lake, run: Run) -> Iterator[dict[str, Any]]:
    for batch in lake.rows(run, "records", CANDIDATE_COLUMNS):
        yield from (row for row in batch.to_pylist() if row["image_url"])


def _download(lake: Lake, run: Run, batch: Batch, settings: Settings) -> Result:
    started = time.monotonic()
    key = f"{run.dataset_folder('shards')}/shard-{run.part_number(batch.number):05d}.tar"
    with tempfile.TemporaryDirectory(prefix="enrich-") as folder:
        path = Path(folder) / "shard.tar"
        with ShardWriter(path) as shard:
            rows = asyncio.run(_fetch_all(run, batch.items, shard, key, settings))
        if len(shard):
            lake.store.put_file(key, path)
    counts = Counts()
    for row in rows:
        counts.add(row["reason"])
    images = lake.write_part(run, "images", batch.number, [as_table("images", rows)], IMAGES)
    refused = [_outcome_row(row) | run.columns() for row in rows if row["reason"]]
    outcomes = lake.write_part(run, OUTCOMES_OF_STAGE, batch.number, [as_table("outcomes", refused)], OUTCOMES)
    final = not counts.reasons.keys() & {Reason.HTTP_5XX, Reason.TIMEOUT, Reason.CONNECTION}
    return Result(counts, {"images": [images], OUTCOMES_OF_STAGE: [outcomes]}, time.monotonic() - started, final)


async def _fetch_all(
    run: Run, items: Sequence[dict[str, Any]], shard: ShardWriter, shard_uri: str, settings: Settings
) -> list[dict[str, Any]]:
    """Download in parallel, decode in threads, write in plan order."""
    rows = []
    urls = [item["image_url"] for item in items]
    with (
        Progress(STAGE, "images", settings=settings, total=len(items)) as progress,
        ThreadPoolExecutor(DECODE_THREADS) as threads,
    ):
        folder = Path(run.selection.value) if run.rules.service == "folder" else None
        async with open_downloader(settings, folder=folder) as downloader:
            downloads = fetch_in_order(downloader, urls, ahead=2 * settings.download_concurrency)
            fetched = _examined(downloads, threads, settings, ahead=4 * DECODE_THREADS)
            position = 0
            async for one in fetched:
                rows.append(_row(items[position], one, shard, shard_uri) | run.columns())
                position += 1
                progress.advance()
    return rows


async def _examined(downloads: Any, threads: Executor, settings: Settings, *, ahead: int) -> Any:
    """Look at each download in a thread, a few ahead of the one that is needed next."""
    loop = asyncio.get_running_loop()
    waiting: list[asyncio.Future[_Fetched]] = []
    async for download in downloads:
        waiting.append(loop.run_in_executor(threads, _examine, download, settings))
        if len(waiting) >= ahead:
            yield await waiting.pop(0)
    for future in waiting:
        yield await future


def _examine(download: Download, settings: Settings) -> _Fetched:
    if download.content is None:
        return _Fetched(download)
    limits = Limits(settings.image_min_side_px, settings.image_max_pixels, settings.image_max_aspect)
    inspection = inspect_image(download.content, limits, target_side_px=settings.derivative_side_px)
    identity = image_id(download.content)
    if inspection.picture is None:
        return _Fetched(download, inspection, identity)
    jpeg = normalised_jpeg(inspection.picture, side_px=settings.derivative_side_px, quality=settings.derivative_quality)
    return _Fetched(download, inspection, identity, jpeg, perceptual_hash(inspection.picture))


def _row(item: dict[str, Any], fetched: _Fetched, shard: ShardWriter, shard_uri: str) -> dict[str, Any]:
    download, inspection = fetched.download, fetched.inspection
    outcome, reason, detail = fetched.verdict
    offset = size = None
    if fetched.jpeg is not None and fetched.image_id is not None:
        offset, size = shard.add(fetched.image_id, fetched.jpeg)
    return {
        **item,
        "image_id": fetched.image_id,
        "outcome": outcome,
        "reason": reason,
        "detail": detail[:500],
        "status": download.status,
        "final_url": download.final_url,
        "mime": inspection.mime if inspection else None,
        "width_px": inspection.width_px if inspection else None,
        "height_px": inspection.height_px if inspection else None,
        "size_bytes": len(download.content) if download.content is not None else None,
        "perceptual_hash": fetched.perceptual_hash,
        "etag": download.etag,
        "attempts": download.attempts,
        "shard_uri": shard_uri if offset is not None else None,
        "shard_offset": offset,
        "shard_size": size,
    }


def _outcome_row(row: dict[str, Any]) -> dict[str, Any]:
    return asdict(
        OutcomeRow(
            stage=STAGE,
            input_id=f"{row['record_id']}|{row['image_url']}",
            record_id=row["record_id"],
            outcome=row["outcome"],
            reason=row["reason"],
            detail=row["detail"],
            attempt=row["attempts"],
        )
    )
