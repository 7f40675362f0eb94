"""Records written by hand, pictures drawn by number, and a small image host that counts what is asked of it."""

import asyncio
import csv
import io
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from PIL import Image

from pipeline.cli import main
from pipeline.collection.reader import EXPECTED
from pipeline.database import connect, links
from pipeline.database.links import Link
from pipeline.database.tables import image_links
from pipeline.datasets.lake import as_table, open_lake
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import RECORDS
from pipeline.domain.harvest_rules import HarvestRules
from pipeline.domain.scope import Scope, Selection
from pipeline.images.steps import download_batch, plan_downloads, publish_images
from pipeline.settings import Settings
from tests.conftest import NOW
from tests.integration.archive import environment_of

EVERYTHING = Selection("query", "*:*")
OPEN = "http://creativecommons.org/publicdomain/zero/1.0/"
CLOSED = "http://rightsstatements.org/vocab/InC/1.0/"
HTML = b"<!DOCTYPE html><html><body>Please use the viewer</body></html>"
PLACE = ("shard_uri", "shard_offset", "shard_size", "original_uri", "original_offset", "original_size")
RUN = ("run_id", "created_at")
_PRELOADED = ("pipeline.cli.stages", "alembic.command", "alembic.config", "alembic.script", "great_expectations", "faiss")
_READY_WITHIN_S = 20
_SEGMENT = 65_533  # the most that a comment in a JPEG holds


# --- Pictures ---


def drawing(number: int, width: int = 120, height: int = 90) -> Image.Image:
    """A picture that looks like no other number's."""
    blocks = np.random.default_rng(number).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)


def saved(picture: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """The bytes of its file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": 90} | options if kind == "JPEG" else options))
    return buffer.getvalue()


def jpeg(number: int, width: int = 120, height: int = 90) -> bytes:
    """The drawing of a number as a JPEG."""
    return saved(drawing(number, width, height))


def heavy(content: bytes, size: int) -> bytes:
    """The same JPEG with comments inside that make it about so large."""
    comment = b"\xff\xfe" + (_SEGMENT + 2).to_bytes(2, "big") + bytes(_SEGMENT)
    return content[:2] + comment * (size // len(comment)) + content[2:]


def write_pictures(folder: Path, pictures: Mapping[str, Image.Image]) -> None:
    """A collection with these pictures, by record id."""
    folder.mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, EXPECTED, restval="")
        writer.writeheader()
        for record_id, picture in pictures.items():
            name = f"{record_id.rpartition('/')[2]}.jpg"
            picture.save(folder / name, quality=90)
            writer.writerow({"record_id": record_id, "image_file": name, "title": name, "rights": OPEN})


# --- A small image host ---


@dataclass
class Page:
    """What stands at an address; a request that names the `etag` is answered with 304."""

    body: bytes = b""
    status: int = 200
    etag: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_s: float = 0.0


@dataclass(frozen=True)
class Asked:
    """A request, and how it was answered."""

    path: str
    host: str
    at: float
    status: int
    sent: int


class ImageHost:
    """Serves `pages`, which may be changed at any time, on all its addresses; everything else is 404."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses or ("127.0.0.1",)
        self.port = 0
        self.pages: dict[str, Page] = {}
        self.robots = ""
        self.asked: list[Asked] = []
        self.most: Counter[str] = Counter()
        self._now: Counter[str] = Counter()

    def url(self, path: str, address: str = "") -> str:
        """The address of a page."""
        return f"http://{address or self.addresses[0]}:{self.port}{path}"

    def draw(self, path: str, number: int, **page: Any) -> str:
        """Put a drawing at a path, with an ETag; returns its address."""
        self.pages[path] = Page(**({"body": jpeg(number), "etag": f'"v{number}"'} | page))
        return self.url(path)

    @property
    def names(self) -> str:
        """`host:port` of all addresses, as PRIVATE_IMAGE_HOSTS wants them."""
        return ",".join(f"{address}:{self.port}" for address in self.addresses)

    def forget(self) -> None:
        """Count anew."""
        self.asked.clear()
        self.most.clear()

    @property
    def paths(self) -> list[str]:
        """What was asked for, in order, without robots.txt."""
        return [asked.path for asked in self.asked if asked.path != "/robots.txt"]

    def statuses(self, path: str) -> list[int]:
        """How the requests of a page were answered."""
        return [asked.status for asked in self.asked if asked.path == path]

    @property
    def sent(self) -> int:
        """Bytes of all pages that were sent."""
        return sum(asked.sent for asked in self.asked if asked.path != "/robots.txt")

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        page = self._page(request.path_qs)
        same = bool(page.etag) and request.headers.get("If-None-Match") == page.etag
        status, body = (304, b"") if same else (page.status, page.body)
        self.asked.append(Asked(request.path_qs, request.host, time.monotonic(), status, len(body)))
        self._now[request.host] += 1
        self.most[request.host] = max(self.most[request.host], self._now[request.host])
        try:
            await asyncio.sleep(page.wait_s)
        finally:
            self._now[request.host] -= 1
        headers = {**page.headers, **({"ETag": page.etag} if page.etag else {})}
        return web.Response(status=status, body=body, headers=headers)

    def _page(self, path: str) -> Page:
        if path == "/robots.txt" and self.robots:
            return Page(self.robots.encode())
        return self.pages.get(path, Page(status=404))

    async def _serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await runner.setup()
        for address in self.addresses:
            await web.TCPSite(runner, address, self.port).start()
            self.port = self.port or runner.addresses[0][1]
        ready.set()
        await stop.wait()
        await runner.cleanup()


@contextmanager
def image_host(*addresses: str) -> Iterator[ImageHost]:
    """An image host in a thread."""
    host, ready, loop, stop = ImageHost(*addresses), threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(host._serve(ready, stop),))
    thread.start()
    try:
        assert ready.wait(_READY_WITHIN_S)
        yield host
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


# --- Records, runs, rows ---


def settings_of(var: Path, hosts: str, **changes: Any) -> Settings:
    """Settings that may visit these private hosts, and ask nobody for thumbnails."""
    values: dict[str, Any] = {
        "var_dir": var,
        "private_image_hosts": hosts,
        "use_thumbnails": False,
        "download_attempts": 1,
        "max_failed_share": 1.0,
    }
    return Settings(_env_file=None, **(values | changes))


def record(record_id: str, *urls: str, **changes: Any) -> dict[str, Any]:
    """A row of `records` with these images."""
    return {
        "record_id": record_id,
        "dataset_id": record_id.split("/")[1],
        "title": f"Record {record_id}",
        "titles": {},
        "descriptions": {},
        "creators": ["A. Maker", "B. Maker"],
        "creator_names": {},
        "subjects": {},
        "types": {},
        "year": 1850,
        "media_type": "IMAGE",
        "concept_uris": [],
        "concept_labels": {},
        "provider": "A provider",
        "data_provider": "A museum",
        "dataset_name": "",
        "country": "Europe",
        "languages": ["en"],
        "rights": OPEN,
        "rights_category": "open",
        "record_rights": "",
        "image_url": urls[0] if urls else None,
        "image_urls": list(urls),
        "media": [],
        "landing_url": f"http://example.org{record_id}",
    } | changes


def media(url: str, **changes: Any) -> dict[str, Any]:
    """A file of a record."""
    return {"url": url, "rights": OPEN, "rights_category": "open"} | changes


def write_run(
    settings: Settings,
    records: Iterable[dict[str, Any]],
    *,
    run_id: str = "night",
    days: int = 0,
    selection: Selection = EVERYTHING,
    **rules: Any,
) -> str:
    """A run whose harvest has found these records; returns its key."""
    lake = open_lake(settings)
    run = Run(
        run_id,
        "museum",
        selection,
        Scope("full"),
        created_at=NOW + timedelta(days=days),
        rules=HarvestRules(**rules),
    )
    run = lake.save_run(run)
    table = as_table("records", [one | run.columns() for one in records])
    lake.publish(run, "records", [lake.write_part(run, "records", 0, [table], RECORDS)])
    return run.key


def do_images(settings: Settings, key: str) -> dict[str, Any]:
    """The whole stage; its report."""
    results = [download_batch(batch, settings=settings) for batch in plan_downloads(key, settings=settings)]
    report: dict[str, Any] = open_lake(settings).read_json(publish_images(key, results, settings=settings))
    return report


def images_of(settings: Settings, records: Iterable[dict[str, Any]], **run: Any) -> list[dict[str, Any]]:
    """The rows that the stage writes for these records."""
    key = write_run(settings, records, **run)
    do_images(settings, key)
    return rows_of(settings, key)


def rows_of(settings: Settings, key: str, dataset: str = "images") -> list[dict[str, Any]]:
    """The visible rows of a run's dataset."""
    lake = open_lake(settings)
    return [row for batch in lake.rows(lake.run(key), dataset) for row in batch.to_pylist()]


def without(rows: Sequence[Mapping[str, Any]], *names: str) -> list[dict[str, Any]]:
    """The rows without these columns."""
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


def verdicts(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str | None]]:
    """What became of each row, and what its picture is."""
    return [(row["outcome"], row["reason"]) for row in rows]


def stored(settings: Settings, row: Mapping[str, Any], kind: str = "shard") -> bytes:
    """A row's picture out of the lake."""
    return open_lake(settings).store.get_range(row[f"{kind}_uri"], row[f"{kind}_offset"], row[f"{kind}_size"])


def shards_in(settings: Settings) -> dict[str, bytes]:
    """All shards of the lake."""
    store = open_lake(settings).store
    return {key: store.get_bytes(key) for key in store.list("shards/") if key.endswith(".tar")}


def links_in(settings: Settings) -> list[dict[str, Any]]:
    """The whole table of addresses, in order of record and address."""
    query = image_links.select().order_by(image_links.c.record_id, image_links.c.url)
    with connect(settings).connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def link(settings: Settings, record_id: str, url: str) -> Link:
    """How one address stands."""
    lake = links.lake_id(open_lake(settings).root)
    key = links.link_id(lake, record_id, url)
    return links.known(connect(settings), [key])[key]


# --- Commands in processes of their own ---


class Command:
    """`enrich …` in a process of its own, which is forked from one that has loaded everything: it starts at once."""

    def __init__(self, settings: Settings, *arguments: str, folder: Path, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._files = [Path(tempfile.mkstemp(dir=folder, suffix=name)[1]) for name in (".out", ".err")]
        forks = multiprocessing.get_context("forkserver")
        forks.set_forkserver_preload(["tests.integration.pictures", *_PRELOADED])
        values = environment_of(settings) | environment
        self.process = forks.Process(target=_enrich, args=(arguments, values, self._files), daemon=True)
        self.process.start()

    def end(self, timeout_s: float = 60) -> "Command":
        """Wait until it has ended by itself."""
        self.process.join(timeout_s)
        assert self.process.exitcode is not None, f"still running after {timeout_s} s"
        return self

    def kill(self) -> bool:
        """SIGKILL; was it still running?"""
        running = self.process.is_alive()
        self.process.kill()
        self.process.join()
        return running

    @property
    def code(self) -> int | None:
        """Its exit status."""
        return self.process.exitcode

    @property
    def output(self) -> bytes:
        """What it has printed."""
        return self._files[0].read_bytes()

    @property
    def text(self) -> str:
        """What it has printed, as text."""
        return self.output.decode()

    @property
    def complaints(self) -> str:
        """What it has printed to the standard error, without progress."""
        lines = self._files[1].read_text().splitlines()
        return "\n".join(line for line in lines if "progress" not in line)


def _enrich(arguments: Sequence[str], environment: Mapping[str, str], files: Sequence[Path]) -> None:
    for number, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["enrich", *arguments]
    Settings.model_config["env_file"] = None
    tempfile.tempdir = None
    main()
