"""Tar shards of derivatives (WebDataset naming), with the offset of every member, so that one range read gets it."""

import io
import tarfile
from pathlib import Path
from types import TracebackType
from typing import Self

BLOCK = 512


class ShardWriter:
    """Writes a POSIX tar of `<image_id>.jpg` members; the same picture is stored once."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.TarFile(path, mode="w", format=tarfile.USTAR_FORMAT)
        self._places: dict[str, tuple[int, int]] = {}

    def add(self, image_id: str, jpeg: bytes) -> tuple[int, int]:
        """Add a derivative; returns (offset, size) of its bytes in the shard."""
        if image_id not in self._places:
            # No time, no owner: the shard's bytes depend on its pictures alone.
            member = tarfile.TarInfo(f"{image_id}.jpg")
            member.size = len(jpeg)
            offset = self._tar.offset + BLOCK
            self._tar.addfile(member, io.BytesIO(jpeg))
            self._places[image_id] = (offset, len(jpeg))
        return self._places[image_id]

    def __len__(self) -> int:
        return len(self._places)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._tar.close()
