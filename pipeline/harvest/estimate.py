"""What a harvest would take: records, requests, hours, bytes and the hosts that would be asked; nothing is downloaded."""

import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.clients.europeana import ROWS, SearchClient
from pipeline.clients.with_platform import WithClient
from pipeline.datasets.lake import Lake, open_lake
from pipeline.datasets.run import Run
from pipeline.domain.record import Record
from pipeline.errors import EnrichmentError, PermanentError
from pipeline.harvest.id_list import ids_of_run
from pipeline.harvest.listings import WITH_GROUP, FolderListing
from pipeline.harvest.parse import parse_item
from pipeline.harvest.parse_record import parse_object
from pipeline.harvest.slices import IDS_PER_QUERY, Slice, slices_of
from pipeline.harvest.steps import search_client
from pipeline.settings import Settings

SAMPLE = 100
MEASURED = 20  # of the sample's records, this many are asked of the Record API for the size of their images
TYPICAL_BYTES = 270_000  # of an image of which nobody measured the size
FACETS = ("DATA_PROVIDER", "RIGHTS", "TYPE")
SLICES_COUNTED = 50  # of more slices than these only some are counted


@dataclass
class Estimate:
    """`per_host` are image requests a host; of `sizes_asked` images `sizes_known` were measured, the others are typical."""

    records: int = 0
    requests: int = 0
    hours: float | None = None
    rate: str = ""
    images: int = 0
    download_gb: float = 0.0
    sizes_known: int = 0
    sizes_asked: int = 0
    per_host: dict[str, int] = field(default_factory=dict)
    facets: dict[str, dict[str, int]] = field(default_factory=dict)
    slices: int = 0
    stopped_by: str = ""
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return dict(self.__dict__)


def estimate_run(run: Run, *, settings: Settings) -> Estimate:
    """Ask the source how much there is. Raises what the source's refusal means (CriticalError for a wrong key or query)."""
    if run.rules.service == "folder":
        return _of_folder(run)
    if run.rules.service == "with":
        return _of_with(run, settings)
    return _of_europeana(run, settings)


def _of_europeana(run: Run, settings: Settings) -> Estimate:
    client, lake = search_client(settings), open_lake(settings)
    count = sum(1 for _ in ids_of_run(lake, run)) if run.scope.mode == "ids" else 0
    slices = list(slices_of(run, count))
    found = Estimate(slices=len(slices))
    if run.scope.mode == "ids":
        found.records, found.requests = count, math.ceil(count / IDS_PER_QUERY)
        sample = _sample_of_ids(client, lake, run)
    else:
        sample = _count(client, run, slices, found)
    if run.rules.needs_record_api:
        found.requests += found.records
    _apply_limits(run, found)
    _spread(client, sample, run, found)
    _hours(client, found)
    if run.rules.limits.max_hours and found.hours and found.hours > run.rules.limits.max_hours:
        found.stopped_by = "max_hours"
        found.notes.append(f"max_hours ({run.rules.limits.max_hours:g}) stops the run before, as partial")
    return found


def _count(client: SearchClient, run: Run, slices: list[Slice], found: Estimate) -> list[Record]:
    """Records and requests by slice, from `totalResults`; one window over all of them where there are many."""
    together = len(slices) > SLICES_COUNTED and slices[0].is_window
    asked = [Slice("all", slices[0].start, slices[-1].end)] if together else slices
    sample: list[Record] = []
    for slice_ in asked:
        query = slice_.query(run)
        facets = client.facets(query, FACETS)
        total = min(facets.total, slice_.cap or facets.total)
        found.records += total
        found.requests += math.ceil(total / ROWS) + 1  # the last page with hits still names a next one (§1.6)
        for name, values in facets.fields.items():
            for label, number in values.items():
                known = found.facets.setdefault(name, {})
                known[label] = known.get(label, 0) + number
        if facets.total and len(sample) < SAMPLE:
            hits = map(parse_item, client.sample(query, SAMPLE // min(len(asked), 10)).items)
            sample += [hit for hit in hits if isinstance(hit, Record)]
    if together:
        found.requests += len(slices) - 1
    return sample


def _sample_of_ids(client: SearchClient, lake: Lake, run: Run) -> list[Record]:
    sample = []
    for record_id in ids_of_run(lake, run, 0, MEASURED):
        try:
            reply = client.record(record_id)
        except PermanentError:
            continue
        if reply is not None and isinstance(record := parse_object(reply), Record):
            sample.append(record)
    return sample


def _apply_limits(run: Run, found: Estimate) -> None:
    """What the run's own limits leave of it."""
    limits = run.rules.limits
    share = 1.0
    if limits.max_records and limits.max_records < found.records:
        share, found.stopped_by = limits.max_records / found.records, "max_records"
    if limits.max_requests and limits.max_requests < found.requests * share:
        share, found.stopped_by = limits.max_requests / found.requests, "max_requests"
    if share < 1:
        found.notes.append(f"{found.records:,} records are there; {found.stopped_by} stops the run before, as partial")
        found.records, found.requests = math.ceil(found.records * share), math.ceil(found.requests * share)


def _spread(client: SearchClient, sample: list[Record], run: Run, found: Estimate) -> None:
    """Images, their hosts and their bytes, from the sample."""
    if not sample:
        return
    sizes: list[int] = []
    images: Counter[str] = Counter()
    for record in sample[:MEASURED]:
        files = _measured(client, record)
        sizes += [file.size_bytes for file in files if file.size_bytes]
        found.sizes_asked += len(files)
    for record in sample:
        urls = record.image_urls if run.rules.images == "all" else record.image_urls[:1]
        images.update(urlsplit(url).netloc for url in urls)
    found.sizes_known = len(sizes)
    scale = found.records / len(sample)
    found.images = round(images.total() * scale)
    found.per_host = {host: max(1, round(number * scale)) for host, number in images.most_common()}
    found.download_gb = round(found.images * (sum(sizes) / len(sizes) if sizes else TYPICAL_BYTES) / 1e9, 3)


def _measured(client: SearchClient, record: Record) -> list[Any]:
    """The record's files as the Record API tells them; a record that cannot be asked has none."""
    try:
        reply = client.record(record.record_id)
    except EnrichmentError:
        return []
    found = parse_object(reply) if reply is not None else None
    return list(found.media[:1]) if isinstance(found, Record) else []


def _hours(client: SearchClient, found: Estimate) -> None:
    """At the rate limit that the server tells; without one, only the server's speed counts."""
    limit = client.metering.limit
    if limit.quota and limit.window_s:
        found.hours = round(found.requests / limit.quota * limit.window_s / 3600, 2)
        window = timedelta(seconds=limit.window_s)
        found.rate = f"{limit.quota:,} requests in {window}, {limit.remaining:,} of them left now"
        found.notes.append("the run waits for each reset by itself; max_hours ends it earlier")
    else:
        found.rate = "the server tells no limit"


def _of_folder(run: Run) -> Estimate:
    listing = FolderListing(Path(run.selection.value))
    pages = list(listing.pages(None, 1))
    records = [found for page in pages for item in page.items if isinstance(found := listing.read(item), Record)]
    skipped = sum(len(page.items) for page in pages) - len(records)
    images = sum(len(record.image_urls) for record in records)
    notes = [f"{skipped} lines of metadata.csv cannot be used"] if skipped else []
    return Estimate(records=len(records), images=images, per_host={"this machine": images}, slices=1, notes=notes)


def _of_with(run: Run, settings: Settings) -> Estimate:
    """A collection is counted, and so are a query's hits; a gallery tells its size only by being imported."""
    client = WithClient(settings)
    selection = run.selection
    if selection.kind == "gallery":
        return Estimate(slices=1, notes=["WITH tells how many records a gallery has only by importing it: nothing was asked"])
    found = Estimate(slices=1)
    if selection.kind == "with_collection":
        found.records = len(client.collected_ids(selection.value))
    else:
        found.records = client.count(selection.value)
        found.notes.append("the run lets WITH fill a collection with these records")
    found.requests = 2 + math.ceil(found.records / WITH_GROUP)
    found.images, found.rate = found.records, "WITH tells no limit"
    found.download_gb = round(found.images * TYPICAL_BYTES / 1e9, 3)
    _apply_limits(run, found)
    return found
