"""Tar shards of derivatives (WebDataset naming), with the offset of every member, so that one range read gets it."""

import io
import os
import tarfile
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

BLOCK = 512
COPIED = 1024 * 1024  # bytes at once: a picture is written in one go


class ShardWriter:
    """Writes a POSIX tar of `<image_id>.<suffix>` members; the same picture is stored once."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.TarFile(path, mode="w", format=tarfile.USTAR_FORMAT, copybufsize=COPIED)
        self._places: dict[str, tuple[int, int]] = {}

    def add(self, image_id: str, content: bytes, suffix: str = ".jpg") -> tuple[int, int]:
        """Add a picture; returns (offset, size) of its bytes in the shard."""
        if image_id not in self._places:
            # No time, no owner: the shard's bytes depend on its pictures alone.
            member = tarfile.TarInfo(f"{image_id}{suffix}")
            member.size = len(content)
            offset = self._tar.offset + BLOCK
            self._tar.addfile(member, io.BytesIO(content))
            self._places[image_id] = (offset, len(content))
        return self._places[image_id]

    def __len__(self) -> int:
        return len(self._places)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._tar.close()


class Spool:
    """Where a task's pictures wait, on disk, until their place in a shard is known; threads may fill it together."""

    def __init__(self, *, originals: bool = False) -> None:
        self._file = tempfile.TemporaryFile(prefix="enrich-")  # noqa: SIM115  closed with the spool
        self._originals = originals
        self._places: dict[tuple[str, bool], tuple[int, int]] = {}
        self._end = 0
        self._lock = threading.Lock()

    def keep(self, image_id: str, jpeg: bytes, original: bytes) -> None:
        """Keep a derivative, and its original where originals are kept."""
        self._append((image_id, False), jpeg)
        if self._originals:
            self._append((image_id, True), original)

    def derivative(self, image_id: str) -> bytes:
        """The JPEG of a picture; KeyError when it is not here."""
        return self._read((image_id, False))

    def original(self, image_id: str) -> bytes | None:
        """The bytes as received; None when originals are not kept."""
        return self._read((image_id, True)) if self._originals else None

    def close(self) -> None:
        """Throw everything away."""
        self._file.close()

    def _append(self, key: tuple[str, bool], content: bytes) -> None:
        if key in self._places:
            return
        with self._lock:
            offset, self._end = self._end, self._end + len(content)
        os.pwrite(self._file.fileno(), content, offset)
        self._places[key] = (offset, len(content))

    def _read(self, key: tuple[str, bool]) -> bytes:
        offset, size = self._places[key]
        return os.pread(self._file.fileno(), size, offset)  # another thread than the one that writes
