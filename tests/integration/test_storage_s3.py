"""One suite for every object store: a local folder, and a real S3 server on loopback."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from pipeline.datasets.lake import Lake, as_table
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import OUTCOMES
from pipeline.domain.scope import Scope, Selection
from pipeline.storage import ObjectStore, open_store

BUCKET = "lake"


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """An empty store of each kind."""
    if request.param == "folder":
        return open_store((tmp_path / "lake").as_uri())
    server: str = request.getfixturevalue("s3_server")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    boto3.client("s3", endpoint_url=server).create_bucket(Bucket=BUCKET)
    # A prefix of its own for each test keeps them apart.
    return open_store(f"s3://{BUCKET}/house/{tmp_path.name}", s3_endpoint_url=server)


def test_what_is_written_is_read_back(store: ObjectStore) -> None:
    store.put_bytes("a/b.bin", b"\x00\xff" * 10)
    assert store.get_bytes("a/b.bin") == b"\x00\xff" * 10


def test_writing_again_replaces_the_whole_object(store: ObjectStore) -> None:
    store.put_bytes("a", b"a long first version")
    store.put_bytes("a", b"short")
    assert store.get_bytes("a") == b"short"


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    store.put_bytes("empty", b"")
    assert store.exists("empty") and store.get_bytes("empty") == b""


def test_a_large_file_goes_up_whole(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"0123456789abcdef" * 600_000)  # more than one part of a multipart upload
    store.put_file("shards/big.tar", path)
    assert store.get_range("shards/big.tar", 9_599_990, 10) == b"6789abcdef"
    assert len(store.get_bytes("shards/big.tar")) == 9_600_000


@pytest.mark.parametrize(
    ("offset", "size", "expected"),
    [(0, 3, b"012"), (3, 4, b"3456"), (9, 1, b"9"), (7, 100, b"789"), (4, 0, b""), (0, 10, b"0123456789")],
)
def test_a_range_is_exactly_the_bytes_asked_for(store: ObjectStore, offset: int, size: int, expected: bytes) -> None:
    store.put_bytes("digits", b"0123456789")
    assert store.get_range("digits", offset, size) == expected


def test_an_absent_key_is_file_not_found_wherever_it_is_read(store: ObjectStore) -> None:
    store.put_bytes("there/x", b"1")
    for key in ("absent", "there/y", "other/x"):
        assert not store.exists(key)
        with pytest.raises(FileNotFoundError):
            store.get_bytes(key)
        with pytest.raises(FileNotFoundError):
            store.get_range(key, 0, 1)
        with pytest.raises(FileNotFoundError), store.local_copy(key):
            pass


def test_only_the_very_key_exists(store: ObjectStore) -> None:
    store.put_bytes("runs/run=1/run.json", b"{}")
    assert store.exists("runs/run=1/run.json")
    assert not store.exists("runs/run=1/run")
    assert not store.exists("runs/run=1")


def test_a_local_copy_has_the_objects_bytes(store: ObjectStore) -> None:
    store.put_bytes("x/part.parquet", b"bytes")
    with store.local_copy("x/part.parquet") as path:
        assert path.read_bytes() == b"bytes"
    assert store.get_bytes("x/part.parquet") == b"bytes"


def test_listing_gives_the_keys_under_a_prefix_in_order(store: ObjectStore) -> None:
    for key in ("b/2", "a/part-00010", "a/part-00002", "a/other", "a/sub/part-1", "ab/1", "a/part-00001"):
        store.put_bytes(key, b"1")
    assert list(store.list("a/part-")) == ["a/part-00001", "a/part-00002", "a/part-00010"]
    assert list(store.list("a/")) == ["a/other", "a/part-00001", "a/part-00002", "a/part-00010", "a/sub/part-1"]
    assert list(store.list("a")) == [*store.list("a/"), "ab/1"]
    assert set(store.list("")) == {*store.list("a"), "b/2"}
    assert list(store.list("nothing/here/")) == []


def test_more_keys_than_one_page_are_listed(store: ObjectStore) -> None:
    # Amazon's servers give at most 1,000 keys a page.
    keys = [f"many/{number:05d}" for number in range(1_010)]
    for key in keys:
        store.put_bytes(key, b"")
    assert list(store.list("many/")) == keys


def test_deleting_removes_one_key_and_an_absent_one_is_fine(store: ObjectStore) -> None:
    store.put_bytes("a/1", b"1")
    store.put_bytes("a/2", b"2")
    store.delete("a/1")
    store.delete("a/1")
    assert list(store.list("")) == ["a/2"]


def test_an_address_is_the_root_and_the_key(store: ObjectStore) -> None:
    assert store.root.startswith(("file:///", "s3://lake/house/"))
    assert store.address("a/b=c/d.json") == f"{store.root}/a/b=c/d.json"


def test_a_run_is_published_and_read_on_every_store(store: ObjectStore) -> None:
    run = Run("r1", "default", Selection("query", "*:*"), Scope("full"), datetime(2026, 1, 1, tzinfo=UTC))
    row = {"stage": "x", "input_id": "/1/a", "record_id": None, "outcome": "gone", "reason": "gone", "detail": "", "attempt": 1}
    lake = Lake(store)
    lake.save_run(run)
    leftover = lake.write_part(run, "outcomes", 7, [as_table("outcomes", [row | run.columns()])], OUTCOMES)
    part = lake.write_part(run, "outcomes", 0, [as_table("outcomes", [row | run.columns()])], OUTCOMES)
    lake.publish(run, "outcomes", [part])
    assert not store.exists(leftover.key)
    assert [found["input_id"] for batch in lake.rows(lake.run(run.key), "outcomes") for found in batch.to_pylist()] == ["/1/a"]
