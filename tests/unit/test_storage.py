"""The folder as an object store: what is its own beside the suite that all stores share."""

import threading
from pathlib import Path

import pytest

from pipeline.errors import CriticalError
from pipeline.storage import LocalStore, S3Store, open_store


def test_a_reader_never_sees_a_part_of_an_object(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    versions = [bytes([letter]) * 400_000 for letter in b"ab"]
    store.put_bytes("runs/x", versions[0])
    stop = threading.Event()

    def write() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            store.put_bytes("runs/x", versions[turn % 2])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = [store.get_bytes("runs/x") for _ in range(300)]
    finally:
        stop.set()
        writer.join()
    assert set(seen) <= set(versions)
    assert len(set(seen)) == 2


def test_a_write_that_fails_leaves_the_old_object_and_no_debris(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "lake")
    store.put_bytes("a/b", b"old")
    with pytest.raises(FileNotFoundError):
        store.put_file("a/b", tmp_path / "missing")
    assert store.get_bytes("a/b") == b"old"
    assert [path.name for path in (tmp_path / "lake").rglob("*") if path.is_file()] == ["b"]


def test_temporary_files_are_hidden(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put_bytes("a/b", b"1")
    (tmp_path / "a" / ".tmp-half").write_bytes(b"half")
    assert list(store.list("")) == ["a/b"] == list(store.list("a/"))


def test_a_folder_is_no_object(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put_bytes("a/b/c", b"1")
    assert not store.exists("a/b") and not store.exists("a")
    with pytest.raises(FileNotFoundError), store.local_copy("a/b"):
        pass


def test_objects_can_be_read_by_others(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put_bytes("a", b"1")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_the_address_decides_which_store_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    folder = tmp_path / "a lake"
    store = open_store(folder.as_uri())
    store.put_bytes("x", b"1")
    assert (folder / "x").read_bytes() == b"1"
    bucket = open_store("s3://bucket/some/prefix/", s3_endpoint_url="http://127.0.0.1:1")
    assert isinstance(bucket, S3Store) and bucket.root == "s3://bucket/some/prefix"


@pytest.mark.parametrize("address", ["", "lake", "/lake", "http://host/lake", "s3://", "file://", "gs://bucket/x"])
def test_any_other_address_is_refused_with_the_name_of_the_setting(address: str) -> None:
    with pytest.raises(CriticalError, match="STORAGE_URL"):
        open_store(address)
