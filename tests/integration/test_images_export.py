"""Pictures out of the lake again: one by its id, a run's as a folder that the pipeline itself can read."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from PIL import Image
from typer.testing import CliRunner
from werkzeug.serving import make_server

from pipeline.cli.images import images as commands
from pipeline.collection import read_collection
from pipeline.datasets.lake import open_lake
from pipeline.domain.identifiers import image_id
from pipeline.errors import PermanentError
from pipeline.images.export import export_run, get_picture
from pipeline.settings import Settings
from tests.integration.archive import enrich
from tests.integration.pictures import (
    CLOSED,
    OPEN,
    Command,
    ImageHost,
    Page,
    do_images,
    image_host,
    jpeg,
    record,
    rows_of,
    settings_of,
    shards_in,
    stored,
    write_run,
)
from tests.integration.s3_server import BUCKET, S3Server


@pytest.fixture
def host() -> Iterator[ImageHost]:
    with image_host("127.0.0.1") as server:
        yield server


@pytest.fixture
def settings(host: ImageHost, tmp_path: Path) -> Settings:
    return settings_of(tmp_path / "var", host.names, images_per_shard=4)


def enriched(host: ImageHost, settings: Settings, count: int = 10) -> str:
    key = write_run(settings, [record(f"/1/r{number:02d}", host.draw(f"/{number}", number)) for number in range(count)])
    do_images(settings, key)
    return key


def test_a_picture_is_found_by_its_image_id_and_by_its_record_id(host: ImageHost, settings: Settings) -> None:
    key = enriched(host, settings)
    row = rows_of(settings, key)[7]
    for identity in (row["image_id"], row["record_id"]):
        assert get_picture(identity, original=False, settings=settings) == stored(settings, row)


def test_an_unknown_id_and_an_original_that_is_not_kept_are_told_in_one_message(host: ImageHost, settings: Settings) -> None:
    enriched(host, settings, 1)
    with pytest.raises(PermanentError, match="/9/nobody: no picture"):
        get_picture("/9/nobody", original=False, settings=settings)
    with pytest.raises(PermanentError, match="KEEP_ORIGINALS"):
        get_picture("/1/r00", original=True, settings=settings)


def test_an_export_is_a_collection_folder_with_every_picture(host: ImageHost, settings: Settings, tmp_path: Path) -> None:
    key = enriched(host, settings)
    assert export_run(key, tmp_path / "out", most=None, settings=settings) == 10
    for row in rows_of(settings, key):
        assert (tmp_path / "out" / f"{row['record_id'].strip('/').replace('/', '_')}.jpg").read_bytes() == stored(settings, row)
    lines = (tmp_path / "out" / "metadata.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 11 and lines[0].startswith("record_id,image_file,title")
    assert lines[1].startswith("/1/r00,1_r00.jpg,")


def test_an_export_goes_on_without_writing_what_is_there_and_has_a_limit(
    host: ImageHost, settings: Settings, tmp_path: Path
) -> None:
    key, folder = enriched(host, settings), tmp_path / "out"
    assert export_run(key, folder, most=3, settings=settings) == 3
    written = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.jpg")}
    assert len(written) == 3
    assert export_run(key, folder, most=None, settings=settings) == 10
    assert {name: (folder / name).stat().st_mtime_ns for name in written} == written
    assert len(list(folder.glob("*.jpg"))) == 10


def test_a_folder_with_a_metadata_csv_of_its_own_is_left_alone(host: ImageHost, settings: Settings, tmp_path: Path) -> None:
    key = enriched(host, settings, 1)
    (tmp_path / "metadata.csv").write_text("mine")
    with pytest.raises(PermanentError, match=r"metadata\.csv is there already"):
        export_run(key, tmp_path, most=None, settings=settings)
    assert (tmp_path / "metadata.csv").read_text() == "mine"


def test_the_commands_have_help_with_an_example() -> None:
    for name in ("check", "get", "export", "recheck", "links"):
        said = CliRunner().invoke(commands, [name, "--help"]).output
        assert "Example" in said, name


# --- One picture ---


def test_the_command_gives_a_picture_to_a_file_or_to_the_next_program(
    host: ImageHost, settings: Settings, tmp_path: Path
) -> None:
    row = rows_of(settings, enriched(host, settings, 2))[1]
    file = tmp_path / "picture.jpg"
    given = Command(settings, "images", "get", row["record_id"], "-o", str(file), folder=tmp_path / "p").end()
    assert given.code == 0 and file.read_bytes() == stored(settings, row)
    assert f"{row['shard_size']:,} bytes" in given.text
    piped = Command(settings, "images", "get", row["image_id"], folder=tmp_path / "p").end()
    assert piped.code == 0 and piped.output == stored(settings, row)


def test_the_command_says_in_one_line_what_there_is_not(host: ImageHost, settings: Settings, tmp_path: Path) -> None:
    enriched(host, settings, 1)
    unknown = enrich(settings, "images", "get", "/9/nobody")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.strip() == (
        "PermanentError: /9/nobody: no picture of this image id (SHA-256) or record id (/dataset/local) is in the lake"
    )
    original = Command(settings, "images", "get", "/1/r00", "--original", folder=tmp_path / "p").end()
    assert original.code == 2 and "KEEP_ORIGINALS=true" in original.complaints and original.output == b""


def test_an_original_is_what_was_received(host: ImageHost, settings: Settings) -> None:
    settings.keep_originals = True
    enriched(host, settings, 2)
    for identity in ("/1/r01", image_id(jpeg(1))):
        assert get_picture(identity, original=True, settings=settings) == jpeg(1)


def test_a_record_gives_its_newest_picture(host: ImageHost, settings: Settings) -> None:
    enriched(host, settings, 2)
    host.draw("/1", 100)
    key = write_run(settings, [record("/1/r01", host.url("/1"))], run_id="next", days=1)
    do_images(settings, key)
    (row,) = rows_of(settings, key)
    assert row["image_id"] == image_id(jpeg(100))
    assert get_picture("/1/r01", original=False, settings=settings) == stored(settings, row)


def test_a_picture_is_given_although_its_host_fails_now(host: ImageHost, settings: Settings) -> None:
    (row, *_) = rows_of(settings, enriched(host, settings, 2))
    host.pages["/0"] = Page(status=500, headers={"Retry-After": "0"})
    do_images(settings, write_run(settings, [record("/1/r00", host.url("/0"))], run_id="next", days=1))
    assert get_picture("/1/r00", original=False, settings=settings) == stored(settings, row)


def test_a_shard_that_was_deleted_by_hand_is_named(host: ImageHost, settings: Settings) -> None:
    enriched(host, settings, 1)
    (shard,) = shards_in(settings)
    open_lake(settings).store.delete(shard)
    with pytest.raises(PermanentError, match=f"{shard} is no longer in the lake"):
        get_picture("/1/r00", original=False, settings=settings)


# --- Folders ---


def test_an_export_is_read_back_with_what_is_known_of_each_record(host: ImageHost, settings: Settings, tmp_path: Path) -> None:
    records = [
        record("/1/a", host.draw("/a", 1), title='A "title", with\na line', rights=CLOSED, rights_category="restricted"),
        record("/1/b", host.url("/nothing")),
        record("/1/c", host.draw("/c", 3), creators=[], year=None, title="Ζωγραφιά"),
        record("/1/d", host.url("/nothing"), host.draw("/d", 4)),
    ]
    key = write_run(settings, records)
    do_images(settings, key)
    assert export_run(key, tmp_path / "out", most=None, settings=settings) == 3
    collection = read_collection(tmp_path / "out")
    assert (collection.problems, collection.skipped) == ((), ())
    a, c, d = collection.rows
    assert (a.record_id, a.creator, a.year, a.rights) == ("/1/a", "A. Maker; B. Maker", 1850, CLOSED)
    assert " ".join(a.title.split()) == 'A "title", with a line'
    assert (a.provider, a.data_provider) == ("A provider", "A museum")
    assert (c.record_id, c.title, c.creator, c.year, c.rights) == ("/1/c", "Ζωγραφιά", "", None, OPEN)
    assert d.record_id == "/1/d"
    for row, number in ((a, 1), (c, 3), (d, 4)):
        path = collection.image_path(row)
        assert path is not None and path.read_bytes() == get_picture(image_id(jpeg(number)), original=False, settings=settings)
        with Image.open(io.BytesIO(path.read_bytes())) as picture:
            assert picture.size == (120, 90)


def test_an_export_has_one_picture_of_each_record(host: ImageHost, settings: Settings, tmp_path: Path) -> None:
    urls = [host.draw(f"/{number}", number) for number in range(3)]
    key = write_run(settings, [record("/1/a", *urls), record("/1/b", urls[1])], images="all")
    do_images(settings, key)
    assert export_run(key, tmp_path / "out", most=None, settings=settings) == 2
    first, second = read_collection(tmp_path / "out").rows
    assert [(tmp_path / "out" / row.image_file).read_bytes() for row in (first, second)] == [
        get_picture(image_id(jpeg(number)), original=False, settings=settings) for number in (0, 1)
    ]


def test_records_whose_ids_differ_in_a_sign_alone_have_files_of_their_own(
    host: ImageHost, settings: Settings, tmp_path: Path
) -> None:
    names = ("/1/a_b", "/1/a~b", "/1/a%b", "/1_a/b")
    records = [record(name, host.draw(f"/{number}", number)) for number, name in enumerate(names)]
    key = write_run(settings, records)
    do_images(settings, key)
    export_run(key, tmp_path / "out", most=None, settings=settings)
    collection = read_collection(tmp_path / "out")
    assert len({row.image_file for row in collection.rows}) == len(names)
    for number, row in enumerate(collection.rows):
        expected = get_picture(image_id(jpeg(number)), original=False, settings=settings)
        assert (tmp_path / "out" / row.image_file).read_bytes() == expected, row.record_id


def test_a_record_with_the_longest_id_can_be_exported(host: ImageHost, settings: Settings, tmp_path: Path) -> None:
    key = write_run(settings, [record(f"/1/{'x' * 400}", host.draw("/a", 1))])
    do_images(settings, key)
    assert export_run(key, tmp_path / "out", most=None, settings=settings) == 1
    (row,) = read_collection(tmp_path / "out").rows
    assert (tmp_path / "out" / row.image_file).is_file()


def test_an_export_that_was_cut_off_writes_only_what_is_missing(host: ImageHost, settings: Settings, tmp_path: Path) -> None:
    key, folder = enriched(host, settings), tmp_path / "out"
    export_run(key, folder, most=None, settings=settings)
    files = sorted(folder.glob("*.jpg"))
    contents = {path.name: path.read_bytes() for path in files}
    files[-1].unlink()
    files[-2].write_bytes(contents[files[-2].name][:100])  # the moment of the kill
    (folder / "metadata.csv").write_text("record_id,image_f")
    written = {path.name: path.stat().st_mtime_ns for path in files[:-2]}
    assert export_run(key, folder, most=None, settings=settings) == 10
    assert {path.name: path.read_bytes() for path in folder.glob("*.jpg")} == contents
    assert {name: (folder / name).stat().st_mtime_ns for name in written} == written
    assert len(read_collection(folder).rows) == 10


def test_a_folder_of_another_run_gets_the_pictures_of_this_one(host: ImageHost, settings: Settings, tmp_path: Path) -> None:
    key, folder = enriched(host, settings, 3), tmp_path / "out"
    export_run(key, folder, most=None, settings=settings)
    host.draw("/1", 100)
    other = write_run(settings, [record("/1/r01", host.url("/1"))], run_id="next", days=1)
    do_images(settings, other)
    (row,) = rows_of(settings, other)
    (folder / "1_r01.jpg").write_bytes(bytes(row["shard_size"]))  # the old picture happened to be as long as the new one
    export_run(other, folder, most=None, settings=settings)
    (exported,) = read_collection(folder).rows
    assert (folder / exported.image_file).read_bytes() == stored(settings, row)


def test_the_export_command_says_how_many_and_refuses_a_foreign_folder(
    host: ImageHost, settings: Settings, tmp_path: Path
) -> None:
    key, out = enriched(host, settings, 5), tmp_path / "out"
    done = Command(settings, "images", "export", str(out), "--run", key, "--limit", "2", folder=tmp_path / "p").end()
    assert done.code == 0 and "2 pictures and metadata.csv" in " ".join(done.text.split())
    assert len(read_collection(out).rows) == len(list(out.glob("*.jpg"))) == 2
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "metadata.csv").write_text("record_id,image_file\n")
    refused = Command(settings, "images", "export", str(foreign), "--run", key, folder=tmp_path / "p").end()
    assert refused.code == 2 and "is there already" in refused.complaints and "Traceback" not in refused.complaints
    assert sorted(path.name for path in foreign.iterdir()) == ["metadata.csv"]
    nothing = Command(settings, "images", "export", str(out), "--run", "runs/run=x/run.json", folder=tmp_path / "p").end()
    assert nothing.code == 2 and "no such run" in nothing.complaints


# --- On S3 ---


@dataclass(frozen=True)
class Call:
    """A request that the server got."""

    method: str
    path: str
    range: str


@dataclass
class CountingS3:
    """moto, and what was asked of it."""

    server: S3Server
    calls: list[Call] = field(default_factory=list)

    def reads_of(self, suffix: str) -> list[Call]:
        """The GET requests for objects with this suffix."""
        return [call for call in self.calls if call.method == "GET" and call.path.endswith(suffix)]


@contextmanager
def counting_s3() -> Iterator[CountingS3]:
    calls: list[Call] = []
    moto = DomainDispatcherApplication(create_backend_app)

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        calls.append(Call(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_RANGE", "")))
        return moto(environ, start)

    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        found = CountingS3(S3Server("moto", f"http://127.0.0.1:{server.server_port}"), calls)
        found.server.create_bucket()
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CountingS3]:
    with counting_s3() as counting:
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        for name, value in counting.server.environment(tmp_path / "none").items():
            monkeypatch.setenv(name, value)
        yield counting


@pytest.fixture
def remote(s3: CountingS3, settings: Settings) -> Settings:
    return settings.model_copy(update={"storage_url": f"s3://{BUCKET}/house", "s3_endpoint_url": s3.server.url})


def length(call: Call) -> int:
    first, last = call.range.removeprefix("bytes=").split("-")
    return int(last) - int(first) + 1


def test_one_picture_is_one_range_read_of_the_bucket(host: ImageHost, s3: CountingS3, remote: Settings) -> None:
    row = rows_of(remote, enriched(host, remote))[5]
    s3.calls.clear()
    content = get_picture(row["record_id"], original=False, settings=remote)
    (call,) = s3.reads_of(".tar")
    assert call.path.endswith(row["shard_uri"]) and length(call) == row["shard_size"] == len(content)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "JPEG"


def test_an_export_reads_the_bucket_in_ranges_and_a_second_one_reads_no_shard(
    host: ImageHost, s3: CountingS3, remote: Settings, settings: Settings, tmp_path: Path
) -> None:
    key = enriched(host, remote)
    s3.calls.clear()
    assert export_run(key, tmp_path / "bucket", most=None, settings=remote) == 10
    reads = s3.reads_of(".tar")
    assert len(reads) == 3 and all(call.range for call in reads)  # three shards of four records
    s3.calls.clear()
    assert export_run(key, tmp_path / "bucket", most=None, settings=remote) == 10
    assert s3.reads_of(".tar") == []
    enriched(host, settings)
    export_run(key, tmp_path / "folder", most=None, settings=settings)
    assert _files(tmp_path / "bucket") == _files(tmp_path / "folder")


def test_a_few_pictures_of_a_bucket_do_not_cost_its_shards(
    host: ImageHost, s3: CountingS3, remote: Settings, tmp_path: Path
) -> None:
    key = enriched(host, remote)
    sizes = sum(len(content) for content in shards_in(remote).values())
    s3.calls.clear()
    assert export_run(key, tmp_path / "out", most=2, settings=remote) == 2
    reads = s3.reads_of(".tar")
    assert len(reads) == 1 and length(reads[0]) < sizes / 3


def test_the_stage_on_a_bucket_stores_once_and_reads_no_shard(host: ImageHost, s3: CountingS3, remote: Settings) -> None:
    enriched(host, remote)
    shards = shards_in(remote)
    s3.calls.clear()
    host.forget()
    key = write_run(
        remote, [record(f"/1/r{number:02d}", host.url(f"/{number}")) for number in range(10)], run_id="next", days=1
    )
    report = do_images(remote, key)
    assert report["counts"]["extra"]["not_modified"] == 10 and host.sent == 0
    assert s3.reads_of(".tar") == []
    assert not [call for call in s3.calls if call.method in ("PUT", "POST") and call.path.endswith(".tar")]
    assert shards_in(remote) == shards


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".jpg", ".csv")}
