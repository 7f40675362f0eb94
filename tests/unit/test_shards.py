"""Shards of derivatives: a tar that any tool opens, and one range read for one picture."""

import tarfile
from pathlib import Path

from pipeline.images.shards import ShardWriter
from pipeline.storage import LocalStore

PICTURES = {"a" * 64: b"one", "b" * 64: b"x" * 512, "c" * 64: b"y" * 5_000}


def written(path: Path) -> dict[str, tuple[int, int]]:
    with ShardWriter(path) as shard:
        return {name: shard.add(name, content) for name, content in PICTURES.items()}


def test_every_picture_is_one_range_read(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for name, (offset, size) in written(tmp_path / "shard.tar").items():
        assert store.get_range("shard.tar", offset, size) == PICTURES[name]


def test_the_shard_is_a_tar_with_a_member_for_each_picture(tmp_path: Path) -> None:
    written(tmp_path / "shard.tar")
    with tarfile.open(tmp_path / "shard.tar") as tar:
        assert tar.getnames() == [f"{name}.jpg" for name in PICTURES]
        assert [(member.mtime, member.uid, member.uname) for member in tar.getmembers()] == [(0, 0, "")] * 3


def test_the_same_picture_is_stored_once(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "shard.tar") as shard:
        assert shard.add("a" * 64, b"one") == shard.add("a" * 64, b"one")
        assert len(shard) == 1
    with tarfile.open(tmp_path / "shard.tar") as tar:
        assert len(tar.getnames()) == 1


def test_the_bytes_of_a_shard_depend_on_its_pictures_alone(tmp_path: Path) -> None:
    assert written(tmp_path / "one.tar") == written(tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_an_empty_shard_is_a_tar_without_members(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "shard.tar") as shard:
        assert len(shard) == 0
    with tarfile.open(tmp_path / "shard.tar") as tar:
        assert tar.getnames() == []
