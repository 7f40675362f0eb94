"""Downloaded parts are kept while there is room for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets.lake import Part
from pipeline.web.part_files import PartFiles


class Downloads:
    """A store that counts its copies and removes each when it is given back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[str] = []

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        self.made.append(key)
        path = self.folder / f"{len(self.made)}-{key}"
        path.write_bytes(b"x")
        yield path
        path.unlink()


@pytest.fixture
def store(tmp_path: Path) -> Any:
    return Downloads(tmp_path)


def part(key: str, sha256: str = "1") -> Part:
    return Part(key, rows=1, size_bytes=10, sha256=sha256)


def test_a_part_is_downloaded_once(store: Any) -> None:
    files = PartFiles(store, budget=100)
    for _ in range(3):
        with files.open([part("a"), part("b")]) as paths:
            assert all(path.exists() for path in paths)
    assert store.made == ["a", "b"]


def test_the_longest_unused_part_goes_first(store: Any) -> None:
    files = PartFiles(store, budget=20)
    for key in ("a", "b", "a", "c", "a", "b"):
        with files.open([part(key)]):
            pass
    assert store.made == ["a", "b", "c", "b"]
    assert len(list(store.folder.iterdir())) == 2


def test_a_part_in_use_stays_however_little_room_there_is(store: Any) -> None:
    files = PartFiles(store, budget=0)
    with files.open([part("a")]) as (path,):
        with files.open([part("b")]):
            pass
        assert path.exists()
    assert list(store.folder.iterdir()) == []


def test_a_part_that_was_written_anew_is_downloaded_anew(store: Any) -> None:
    files = PartFiles(store, budget=100)
    for sha256 in ("1", "2"):
        with files.open([part("a", sha256)]):
            pass
    assert store.made == ["a", "a"]
