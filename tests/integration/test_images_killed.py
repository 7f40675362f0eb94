"""A download task that is killed at any moment: nothing is lost, nothing is done twice, the result has the same bytes."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from pipeline.database import connect
from pipeline.database.tables import image_links
from pipeline.datasets.lake import open_lake
from pipeline.domain.identifiers import image_id
from pipeline.settings import Settings
from tests.integration.pictures import (
    HTML,
    Command,
    ImageHost,
    Page,
    do_images,
    drawing,
    image_host,
    images_of,
    jpeg,
    links_in,
    record,
    rows_of,
    saved,
    settings_of,
    shards_in,
    stored,
    verdicts,
    without,
    write_run,
)

RECORDS, PER_PIECE, PER_BATCH = 300, 25, 200
# How often each kind of moment is hit: while pictures come in, while a file is being written, while the run is published.
KILLS = {"fetching": 14, "writing": 4, "publishing": 2}
WITHIN_S = 60


@pytest.fixture
def host() -> Iterator[ImageHost]:
    with image_host() as server:
        yield server


@pytest.fixture
def settings(host: ImageHost, tmp_path: Path) -> Settings:
    return settings_of(tmp_path / "var", host.names)


def draw_collection(host: ImageHost) -> list[dict[str, Any]]:
    """Pictures that come slowly; some are gone, some are pages, some lie at several addresses, some are no JPEGs."""
    records = []
    for number in range(RECORDS):
        path = f"/{number:03d}"
        host.draw(path, number, wait_s=0.04)
        if number % 10 == 3:
            del host.pages[path]
        elif number % 17 == 5:
            host.pages[path] = Page(HTML)
        elif number % 23 == 7:
            host.draw(path, number // 2, wait_s=0.04)  # the picture of another record
        elif number == RECORDS - 2:
            host.pages[path] = Page(saved(drawing(number), "PNG"))
        urls = [host.url(path)]
        if number % 20 == 3:
            urls.append(host.draw(f"/other-{number}", 5000 + number))
        records.append(record(f"/1/r{number:03d}", *urls))
    records[40] |= {"image_url": records[1]["image_url"], "image_urls": records[1]["image_urls"]}
    return records


def ready(condition: Callable[[], bool], command: Command) -> bool:
    """Wait for a moment; False when the command has ended before."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        if condition():
            return True
        if not command.process.is_alive():
            return False
        time.sleep(0.001)
    raise AssertionError(f"the moment did not come within {WITHIN_S} s")


class Task:
    """The stage in a process of its own, again and again, until it is done."""

    def __init__(self, settings: Settings, host: ImageHost, folder: Path, records: list[dict[str, Any]]) -> None:
        self.settings, self.host, self._folder = settings, host, folder
        self.key = write_run(settings, records)
        self.lake = settings.var_dir / "lake"
        self._addresses = [[url for url in one["image_urls"]] for one in records]
        self._random = random.Random(11)
        self._fetches = 0

    def start(self) -> Command:
        temporary = self._folder / "temporary"
        temporary.mkdir(parents=True, exist_ok=True)
        self.host.forget()
        arguments = ("stage", "images", "--run", self.key)
        return Command(self.settings, *arguments, folder=self._folder, TMPDIR=str(temporary))

    def kill(self, moment: str) -> bool:
        """Start it and kill it at a moment of this kind; was it there to be killed?"""
        open_addresses, command = self.open_addresses(), self.start()
        came = ready({"fetching": self._fetching(), "writing": self._writing, "publishing": self._publishing}[moment], command)
        time.sleep(self._random.uniform(0, 0.4 if moment == "publishing" else 0.02) if moment != "writing" else 0)
        killed = command.kill() and came
        assert set(self.host.paths) <= open_addresses
        if moment != "publishing":
            self._forget_newest_links()
        return killed

    def open_addresses(self) -> set[str]:
        """What may still be asked for: the addresses of pieces that no checkpoint names."""
        done = {(batch, piece) for batch, pieces in self.checkpoints().items() for piece in pieces}
        base = self.host.url("")
        return {
            url.removeprefix(base)
            for number, urls in enumerate(self._addresses)
            if (number // PER_BATCH, number % PER_BATCH // PER_PIECE) not in done
            for url in urls
        }

    def checkpoints(self) -> dict[int, list[int]]:
        """The pieces of each batch that are done."""
        files = (self.lake / "runs" / "run=night" / "images").glob("pieces-*.json")
        return {int(path.stem[-5:]): [int(piece) for piece in json.loads(path.read_text())["pieces"]] for path in files}

    def pieces_done(self) -> int:
        """How many pieces have a checkpoint."""
        return sum(map(len, self.checkpoints().values()))

    def visible(self) -> list[str]:
        """The manifests of what the stage writes."""
        names = ("images", "shards", "outcomes", "near_duplicates")
        return [str(path) for name in names for path in (self.lake / name).rglob("_manifest.json")]

    def _fetching(self) -> Callable[[], bool]:
        """After so many requests; every fourth time after one more piece, which on a busy machine may come later than that."""
        self._fetches += 1
        if self._fetches % 4 == 0:
            before = self.pieces_done()
            return lambda: self.pieces_done() > before
        wanted = self._random.randint(1, 3 * PER_PIECE)
        return lambda: len(self.host.paths) >= wanted

    def _writing(self) -> bool:
        return bool(self.host.paths) and any(self.lake.rglob(".tmp-*"))

    def _publishing(self) -> bool:
        return len(list((self.lake / "runs" / "run=night" / "images").glob("result-*.json"))) == RECORDS // PER_BATCH + 1

    def _forget_newest_links(self) -> None:
        """As if the kill had come between a checkpoint and its links."""
        if pieces := [(batch, max(numbers)) for batch, numbers in self.checkpoints().items() if numbers]:
            batch, piece = max(pieces)
            first = batch * PER_BATCH + piece * PER_PIECE
            ids = [f"/1/r{number:03d}" for number in range(first, first + PER_PIECE)]
            if (self.lake / "runs" / "run=night" / "images" / f"links-{batch:05d}-{piece:03d}.json").exists():
                with connect(self.settings).begin() as connection:
                    connection.execute(delete(image_links).where(image_links.c.record_id.in_(ids)))


def data_files(settings: Settings) -> dict[str, bytes]:
    """Everything that readers see: parts, shards, manifests."""
    lake = settings.var_dir / "lake"
    names = (path for path in sorted(lake.rglob("*")) if path.suffix in (".parquet", ".tar") or path.name == "_manifest.json")
    return {str(path.relative_to(lake)): path.read_bytes() for path in names}


def test_a_task_killed_twenty_times_ends_as_an_undisturbed_one(host: ImageHost, tmp_path: Path) -> None:
    changes = {"images_per_batch": PER_BATCH, "images_per_shard": PER_PIECE, "download_per_host": 4}
    records = draw_collection(host)
    undisturbed = Task(settings_of(tmp_path / "undisturbed", host.names, **changes), host, tmp_path / "first", records)
    assert undisturbed.start().end().code == 0
    asked = Counter(host.paths)

    task = Task(settings_of(tmp_path / "killed", host.names, **changes), host, tmp_path / "second", records)
    moments = [moment for moment in ("fetching", "writing") for _ in range(KILLS[moment])]
    random.Random(11).shuffle(moments)
    killed = 0
    for moment in moments:
        killed += task.kill(moment)
        assert task.visible() == []
    assert killed == len(moments) and 2 <= task.pieces_done() < RECORDS // PER_PIECE
    killed += sum(task.kill("publishing") for _ in range(KILLS["publishing"]))
    assert killed == sum(KILLS.values())
    last = task.start().end()
    assert last.code == 0, last.complaints

    rows = rows_of(task.settings, task.key)
    assert sorted({row["record_id"] for row in rows}) == [one["record_id"] for one in records]
    assert max(Counter((row["record_id"], row["image_url"]) for row in rows).values()) == 1
    assert max(Counter(row["record_id"] for row in rows if row["outcome"] == "ok").values()) == 1
    assert all(image_id(b"") != row["image_id"] for row in rows)
    assert data_files(task.settings) == data_files(undisturbed.settings)
    assert without(links_in(task.settings), "id", "lake") == without(links_in(undisturbed.settings), "id", "lake")
    assert len(links_in(task.settings)) == len(rows)
    assert sum(asked.values()) == len({url for one in records for url in one["image_urls"]})


def test_a_task_that_was_killed_while_it_wrote_leaves_no_half_file(host: ImageHost, settings: Settings, tmp_path: Path) -> None:
    settings.images_per_shard = 5
    records = [record(f"/1/{number:02d}", host.draw(f"/{number}", number)) for number in range(40)]
    task = Task(settings, host, tmp_path / "processes", records)
    assert any([task.kill("writing") for _ in range(3)])
    assert task.start().end().code == 0
    # What a kill leaves of a file that was being written is hidden: no store lists it.
    assert not [key for key in open_lake(settings).store.list("") if "/.tmp-" in key]


def interrupted(settings: Settings, host: ImageHost, folder: Path, pieces: int) -> Task:
    """A task of eight records, two a piece, killed as soon as so many pieces are done."""
    settings.images_per_shard, settings.download_per_host = 2, 1
    records = [record(f"/1/r{number:03d}", host.draw(f"/{number}", number, wait_s=0.1)) for number in range(8)]
    task = Task(settings, host, folder, records)
    command = task.start()
    assert ready(lambda: len(task.checkpoints().get(0, [])) >= pieces, command) and command.kill()
    return task


def test_links_that_a_kill_has_kept_from_the_database_are_written_by_the_next_start(
    host: ImageHost, settings: Settings, tmp_path: Path
) -> None:
    task = interrupted(settings, host, tmp_path / "processes", 2)
    done = task.checkpoints()[0]
    with connect(settings).begin() as connection:
        connection.execute(delete(image_links))
    host.forget()
    do_images(settings, task.key)
    assert sorted(host.paths) == [f"/{number}" for number in range(2 * len(done), 8)]
    found = links_in(settings)
    assert [row["url"] for row in found] == [host.url(f"/{number}") for number in range(8)]
    assert {(row["state"], row["checks"]) for row in found} == {("ok", 1)} and all(row["place"] for row in found)


def test_another_image_of_a_record_does_not_keep_its_piece_waiting_for_all_others(host: ImageHost, settings: Settings) -> None:
    settings.images_per_shard, settings.download_per_host = 4, 1
    records = [record(f"/1/r{number:02d}", host.draw(f"/{number}", number)) for number in range(40)]
    records[0] = record("/1/r00", host.url("/nothing"), host.draw("/other", 100))
    images_of(settings, records)
    assert host.paths.index("/other") < 10


def test_the_report_of_a_task_that_was_killed_counts_no_picture_twice(
    host: ImageHost, settings: Settings, tmp_path: Path
) -> None:
    """Pictures of later pieces were there already when the first piece was written, and are fetched once more."""
    settings.images_per_shard = 2
    waits = {1: 0.5, 2: 30.0}
    records = [
        record(f"/1/r{number:03d}", host.draw(f"/{number}", number, wait_s=waits.get(number, 0.0))) for number in range(8)
    ]
    task = Task(settings, host, tmp_path / "processes", records)
    command = task.start()
    assert ready(lambda: task.checkpoints().get(0, []) == [0], command) and command.kill()
    host.draw("/2", 2)
    report = do_images(settings, task.key)
    (stats,) = report["hosts"].values()
    assert (report["counts"]["inputs"], report["counts"]["ok"], stats["ok"]) == (8, 8, 8)


# --- A finished batch once more ---


def with_failure(host: ImageHost, settings: Settings) -> tuple[str, list[dict[str, Any]]]:
    """Three pieces of two records; the third record's host fails for now."""
    settings.images_per_shard = 2
    records = [record(f"/1/{number}", host.draw(f"/{number}", number)) for number in range(6)]
    host.pages["/2"] = Page(status=503, headers={"Retry-After": "0"})
    return write_run(settings, records), records


def test_a_finished_batch_with_passing_failures_fetches_only_these_again(host: ImageHost, settings: Settings) -> None:
    key, _ = with_failure(host, settings)
    report = do_images(settings, key)
    before, shards = rows_of(settings, key), shards_in(settings)
    assert report["counts"]["reasons"] == {"http_5xx": 1}
    host.draw("/2", 2)
    host.forget()
    report = do_images(settings, key)
    assert {path: host.statuses(path) for path in host.paths} == {"/2": [200], "/3": [304]}
    rows = rows_of(settings, key)
    assert verdicts(rows) == [("ok", None)] * 6 and report["counts"]["ok"] == 6
    assert [row for row in rows if row["record_id"] != "/1/2"] == [row for row in before if row["record_id"] != "/1/2"]
    assert {name: shards_in(settings)[name] for name in shards} == shards and len(shards_in(settings)) == len(shards) + 1
    assert all(image_id(jpeg(number)) == row["image_id"] for number, row in enumerate(rows))
    assert [len(stored(settings, row)) for row in rows] == [row["shard_size"] for row in rows]
    assert rows_of(settings, key, "outcomes/stage=images") == []
    host.forget()
    do_images(settings, key)
    assert host.asked == [] and rows_of(settings, key) == rows


def test_failures_that_stay_do_not_cost_a_shard_that_addresses_point_to(host: ImageHost, settings: Settings) -> None:
    key, _ = with_failure(host, settings)
    do_images(settings, key)
    shards, rows = shards_in(settings), rows_of(settings, key)
    for _ in range(2):
        do_images(settings, key)
        assert shards_in(settings) == shards and rows_of(settings, key) == rows
    for row in links_in(settings):
        if row["place"]:
            assert row["place"]["shard_uri"] in shards


def test_a_picture_that_changed_meanwhile_goes_to_a_shard_of_its_own(host: ImageHost, settings: Settings) -> None:
    key, _ = with_failure(host, settings)
    do_images(settings, key)
    shards = shards_in(settings)
    host.draw("/2", 2)
    host.draw("/3", 300)
    do_images(settings, key)
    rows = rows_of(settings, key)
    assert [rows[number]["image_id"] for number in (2, 3)] == [image_id(jpeg(2)), image_id(jpeg(300))]
    assert rows[2]["shard_uri"] == rows[3]["shard_uri"] and rows[2]["shard_uri"] not in shards
    kept = {row["place"]["shard_uri"] for row in links_in(settings)} & shards.keys()
    assert {name: shards_in(settings)[name] for name in kept} == {name: shards[name] for name in kept}


def test_readers_see_the_rows_of_before_until_what_was_tried_again_is_published(
    host: ImageHost, settings: Settings, tmp_path: Path
) -> None:
    """Killed in its second pass, after the first of two pieces that had failures."""
    settings.images_per_shard = 2
    records = [record(f"/1/r{number:03d}", host.draw(f"/{number}", number)) for number in range(6)]
    for path in ("/0", "/4"):
        host.pages[path] = Page(status=503, headers={"Retry-After": "0"})
    task = Task(settings, host, tmp_path / "processes", records)
    do_images(settings, task.key)
    before, files = rows_of(settings, task.key), data_files(settings)
    host.draw("/0", 0)
    host.draw("/4", 4, wait_s=30.0)
    command = task.start()
    assert ready(lambda: len(links_with_picture(settings)) == 5, command) and command.kill()
    assert rows_of(settings, task.key) == before
    assert {name: content for name, content in data_files(settings).items() if name in files} == files
    host.draw("/4", 4)
    do_images(settings, task.key)
    assert verdicts(rows_of(settings, task.key)) == [("ok", None)] * 6
    assert [len(stored(settings, row)) == row["shard_size"] for row in rows_of(settings, task.key)] == [True] * 6


def links_with_picture(settings: Settings) -> list[dict[str, Any]]:
    return [row for row in links_in(settings) if row["place"]]


def test_the_report_of_a_batch_that_was_done_again_still_counts_every_picture(host: ImageHost, settings: Settings) -> None:
    key, _ = with_failure(host, settings)
    do_images(settings, key)
    host.draw("/2", 2)
    report = do_images(settings, key)
    (stats,) = report["hosts"].values()
    assert (stats["ok"], report["counts"]["ok"]) == (6, 6)


def test_a_batch_size_that_was_changed_leaves_nothing_of_the_old_batches_in_the_report(
    host: ImageHost, settings: Settings
) -> None:
    records = [record(f"/1/{number}", host.draw(f"/{number}", number)) for number in range(6)]
    key = write_run(settings.model_copy(update={"images_per_batch": 2}), records)
    do_images(settings.model_copy(update={"images_per_batch": 2}), key)
    report = do_images(settings, key)
    (stats,) = report["hosts"].values()
    assert (stats["ok"], report["counts"]["ok"]) == (6, 6)
    lake = open_lake(settings)
    assert [part.rows for part in lake.parts(lake.run(key), "images")] == [6]


def test_a_run_with_other_records_under_the_same_name_has_its_own_rows(host: ImageHost, settings: Settings) -> None:
    first = images_of(settings, [record("/1/a", host.draw("/a", 1))])
    second = images_of(settings, [record("/1/a", host.url("/a")), record("/1/b", host.draw("/b", 2))])
    assert [row["record_id"] for row in second] == ["/1/a", "/1/b"]
    assert without(second[:1]) == without(first)
