"""Steps of the image stage: plan downloads, download a batch into shards, publish the images."""

import asyncio
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from pipeline.database import connect, links
from pipeline.database.links import Link, lake_id, link_id
from pipeline.datasets.lake import Lake, Part, open_lake
from pipeline.datasets.run import Run
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
from pipeline.domain.identifiers import is_item, item_uri
from pipeline.images.addresses import ALTERNATIVES, address_from_json, addresses_of
from pipeline.images.fetch import Fetcher, Job, fingerprint_of
from pipeline.images.pieces import Checkpoint, PieceWriter, forget_links, save_remembered_links
from pipeline.images.placeholders import take_out_placeholders
from pipeline.images.report import count_pictures, hosts_of_batches, providers_of
from pipeline.images.shards import Spool
from pipeline.imaging.memory import give_back_memory, keep_buffers
from pipeline.index.near_duplicates import publish_near_duplicates
from pipeline.quality.gates import check_failed_share, check_parts
from pipeline.reporting.progress import Progress
from pipeline.settings import Settings

STAGE = "images"
OUTCOMES_OF_STAGE = outcomes_dataset(STAGE)
CANDIDATE_COLUMNS = (
    "record_id",
    "image_url",
    "image_urls",
    "media",
    "thumbnail_url",
    "landing_url",
    "provider",
    "rights",
    "rights_category",
)


def plan_downloads(run_key: str, *, settings: Settings) -> list[str]:
    """One batch per few thousand records that have an image; the plan names every address that may be visited."""
    lake = open_lake(settings)
    run = lake.run(run_key)
    size = max(settings.images_per_batch, -(-_record_count(lake, run) // settings.max_batches))
    groups = groups_of(_candidates(lake, run, settings), size)
    mark = f"{fingerprint_of(settings)}|{settings.images_per_shard}"
    keys = plan_stage(lake, run, STAGE, groups, fingerprint=mark, max_batches=settings.max_batches)
    give_back_memory()
    return keys


def download_batch(batch_key: str, *, settings: Settings) -> str:
    """Fetch, validate and store a batch's pictures; returns the key of its result."""
    lake = open_lake(settings)
    try:
        return run_batch(lake, batch_key, lambda run, batch: _download(lake, run, batch, settings))
    finally:
        give_back_memory()


def publish_images(run_key: str, result_keys: list[str], *, settings: Settings) -> str:
    """Check the images and make them visible; returns the key of the stage's report."""
    lake = open_lake(settings)
    run, engine = lake.run(run_key), connect(settings)
    result = merge_results(lake, STAGE, result_keys)
    written = {part.key for parts in result.parts.values() for part in parts}
    hosts = hosts_of_batches(lake, result_keys)
    placeholders = take_out_placeholders(lake, run, result, engine, hosts, fewest=settings.placeholder_records)
    images = result.parts.get("images", [])
    count_pictures(lake, images, hosts)
    extra = result.counts.extra
    check_failed_share(STAGE, extra["records_failed"], extra["records"], result.counts, settings, hosts=hosts)
    checks = check_parts(lake, run, "images", images, settings=settings)
    near = publish_near_duplicates(lake, run, images, bits=settings.near_duplicate_bits)
    report = publish_stage(
        lake,
        run,
        STAGE,
        result,
        ["images", OUTCOMES_OF_STAGE],
        keep=written,  # published again, it begins with these
        checks=checks,
        hosts={name: stats.to_json() for name, stats in hosts.items()},
        providers=providers_of(lake, images),
        placeholders=placeholders,
        near_duplicates=near,
    )
    # Only now: until here rows of an earlier try were shown, and led to its shards.
    _publish_shards(lake, run, engine, result.parts.get("shards", []))
    return report


def _publish_shards(lake: Lake, run: Run, engine: Engine, new: Sequence[Part]) -> None:
    """List the run's shards: the new ones, and those of earlier tries that a picture of some address or run still lies in."""
    keys = {part.key for part in new}
    used = links.shards_in_use(engine, lake_id(lake.root), run.dataset_folder("shards"))
    before = lake.parts(run, "shards") if lake.is_published(run, "shards") else []
    used |= _shown_by_other_runs(lake, run, {part.key for part in before} - keys - used)
    lake.publish(run, "shards", [*new, *(part for part in before if part.key in used - keys)], keep=used)


def _shown_by_other_runs(lake: Lake, run: Run, shards: set[str]) -> set[str]:
    """Those of the shards that published rows of other runs lead to; rows are read only where a shard is about to go."""
    found: set[str] = set()
    own = f"{run.dataset_folder('images')}/"
    for key in lake.store.list("images/") if shards else ():
        if key.endswith("/_manifest.json") and not key.startswith(own):
            for part in lake.read_json(key)["parts"]:
                for batch in lake.part_rows(part["key"], ("shard_uri", "original_uri")):
                    for column in batch.columns:
                        found |= shards.intersection(column.unique().to_pylist())
    return found


def _record_count(lake: Lake, run: Run) -> int:
    return sum(part.rows for part in lake.parts(run, "records"))


def _candidates(lake: Lake, run: Run, settings: Settings) -> Iterator[dict[str, Any]]:
    """What a batch has to know of each record with an image."""
    most = settings.images_per_record if run.rules.images == "all" else 1 + ALTERNATIVES
    for batch in lake.rows(run, "records", CANDIDATE_COLUMNS):
        for record in batch.to_pylist():
            if record["image_url"]:
                addresses = addresses_of(
                    record,
                    most=most,
                    side_px=settings.derivative_side_px,
                    rights=run.rules.rights,
                    iiif=settings.use_iiif,
                    thumbnails=settings.europeana_api_url if settings.use_thumbnails else "",
                )
                yield {
                    "record_id": record["record_id"],
                    "provider": record["provider"],
                    "source": item_uri(record["record_id"]) if is_item(record["record_id"]) else record["landing_url"] or "",
                    "addresses": [address.to_json() for address in addresses],
                }


def _download(lake: Lake, run: Run, batch: Batch, settings: Settings) -> Result:
    started = time.monotonic()
    keep_buffers()
    engine, checkpoint = connect(settings), Checkpoint.read(lake, batch, run.attempt)
    save_remembered_links(lake, batch, checkpoint, engine)
    asyncio.run(_fetch_missing(lake, run, batch, checkpoint, engine, settings))
    pieces = [piece for _, piece in sorted(checkpoint.pieces.items())]
    counts, parts = Counts(), dict[str, list[Part]]()
    for piece in pieces:
        counts.merge(piece.counts)
        for name, group in piece.parts.items():
            parts.setdefault(name, []).extend(group)
    checkpoint.write(lake, batch)
    forget_links(lake, batch)
    final = not any(piece.has_passing_trouble for piece in pieces)
    return Result(counts, parts, time.monotonic() - started, final)


async def _fetch_missing(
    lake: Lake, run: Run, batch: Batch, checkpoint: Checkpoint, engine: Engine, settings: Settings
) -> None:
    """Visit the records of all pieces that are not done."""
    size = settings.images_per_shard
    missing = {
        number: batch.items[first : first + size]
        for number, first in enumerate(range(0, len(batch.items), size))
        if number not in checkpoint.pieces
    }
    total = sum(len(records) for records in missing.values())
    spool = Spool(originals=settings.keep_originals)
    fetcher = Fetcher(
        settings,
        folder=Path(run.selection.value) if run.rules.service == "folder" else None,
        spool=spool,
        placeholders=frozenset(links.placeholders(engine, lake_id(lake.root))),
        stats=checkpoint.hosts,
    )
    writer = PieceWriter(lake, run, batch, checkpoint, engine, spool, rules=fetcher.fingerprint)
    with Progress(STAGE, "records", settings=settings, total=total) as progress, fetcher:

        def done(job: Job) -> None:
            writer.add(job.position // size, job, fetcher.stats)
            progress.advance()

        for number, records in missing.items():
            writer.expect(number, len(records))
        try:
            await fetcher.run(_jobs(lake, engine, missing, size, all_images=run.rules.images == "all"), done)
        finally:
            writer.close()
            spool.close()


def _jobs(
    lake: Lake, engine: Engine, pieces: Mapping[int, Sequence[Mapping[str, Any]]], size: int, *, all_images: bool
) -> Iterator[Job]:
    """The records as jobs, with what is known of their addresses."""
    lake_name = lake_id(lake.root)
    there: dict[str, bool] = {}
    for number, records in pieces.items():
        ids = {
            (record["record_id"], address["url"]): link_id(lake_name, record["record_id"], address["url"])
            for record in records
            for address in record["addresses"]
        }
        known = {key: link for key, link in links.known(engine, list(ids.values())).items() if _stands(lake, link, there)}
        for place, record in enumerate(records):
            addresses = [address_from_json(value) for value in record["addresses"]]
            keys = {address.url: ids[record["record_id"], address.url] for address in addresses}
            found = {url: known[key] for url, key in keys.items() if key in known}
            about = {
                "record_id": record["record_id"],
                "provider": record["provider"] and sys.intern(record["provider"]),
                "source": record["source"],
            }
            yield Job(number * size + place, about, addresses, found, all_images=all_images)


def _stands(lake: Lake, link: Link, there: dict[str, bool]) -> bool:
    """Is the picture of this address where it was put?"""
    keys = [link.place[name] for name in ("shard_uri", "original_uri") if link.place and link.place.get(name)]
    for key in keys:
        if key not in there:
            there[key] = lake.store.exists(key)
    return all(there[key] for key in keys)
