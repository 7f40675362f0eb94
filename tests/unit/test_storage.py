"""The folder as an object store: what is its own beside the suite that all stores share."""

import itertools
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import CriticalError
from pipeline.storage import LocalStore, S3Store, open_store
from pipeline.storage.ranges import neighbours

KB, MB = 1024, 1024 * 1024
# Ranges near one another and far away, small and larger than a group may be.
FAR_AND_NEAR = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 200 * KB), st.integers(0, 40 * MB)), st.one_of(st.integers(0, 100), st.integers(0, 12 * MB))
    ),
    max_size=30,
)


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


@given(FAR_AND_NEAR)
def test_groups_of_ranges_keep_their_order_and_cover_what_they_hold(ranges: list[tuple[int, int]]) -> None:
    groups = list(neighbours(ranges))
    assert [member for _, members in groups for member in members] == ranges
    for (start, size), members in groups:
        assert start == min(offset for offset, _ in members)
        assert start + size == max(offset + size for offset, size in members)


@given(FAR_AND_NEAR)
def test_what_is_read_at_once_is_bounded_and_holds_no_wide_gap(ranges: list[tuple[int, int]]) -> None:
    for (_, size), members in neighbours(ranges):
        assert size <= 8 * MB or len(members) == 1
        ends = itertools.accumulate((offset + length for offset, length in sorted(members)), max)
        gaps = [offset - end for end, (offset, _) in zip(ends, sorted(members)[1:], strict=False)]
        assert max(gaps, default=0) <= 64 * KB


@pytest.mark.parametrize(
    ("ranges", "groups"),
    [
        ([], 0),
        ([(0, 10), (10, 10), (20, 10)], 1),
        ([(20, 10), (10, 10), (0, 10)], 1),
        ([(0, 10), (10 + 64 * KB, 10)], 1),
        ([(0, 10), (11 + 64 * KB, 10)], 2),
        ([(11 + 64 * KB, 10), (0, 10)], 2),
        ([(0, 4 * MB), (4 * MB, 4 * MB)], 1),
        ([(0, 4 * MB), (4 * MB, 4 * MB + 1)], 2),
        ([(0, 20 * MB), (5, 5)], 2),
        ([(number * 512, 512) for number in range(100_000)], 7),
    ],
)
def test_close_neighbours_are_read_together(ranges: list[tuple[int, int]], groups: int) -> None:
    assert len(list(neighbours(ranges))) == groups


def test_many_ranges_of_a_folders_object_open_its_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.put_bytes("shard", b"0123456789")
    opened, real = [], Path.open

    def counted(path: Path, *options: str) -> object:
        opened.append(path)
        return real(path, *options)

    monkeypatch.setattr(Path, "open", counted)
    assert list(store.get_ranges("shard", [(number, 1) for number in range(10)])) == [b"%d" % number for number in range(10)]
    assert len(opened) == 1


def test_ranges_of_an_object_that_is_replaced_meanwhile_are_all_of_the_old_one(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put_bytes("shard", b"0123456789")
    parts = store.get_ranges("shard", [(0, 2), (2, 2)])
    first = next(parts)
    store.put_bytes("shard", b"abcdefghij")
    assert [first, *parts] == [b"01", b"23"]
