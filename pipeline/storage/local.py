"""A folder as an object store."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import CriticalError
from pipeline.storage.ranges import check_range


class LocalStore:
    """Objects are files; a write goes to a hidden temporary file beside its place and is renamed into it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = folder.absolute().as_uri()

    def put_bytes(self, key: str, data: bytes) -> None:
        with self._written(key) as temporary:
            temporary.write_bytes(data)

    def put_file(self, key: str, path: Path) -> None:
        with self._written(key) as temporary:
            shutil.copyfile(path, temporary)

    def get_bytes(self, key: str) -> bytes:
        with self._opened(key) as handle:
            return handle.read()

    def get_range(self, key: str, offset: int, size: int) -> bytes:
        return next(self.get_ranges(key, [(offset, size)]))

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        for offset, size in ranges:
            check_range(offset, size)
        if not ranges:
            return
        with self._opened(key) as handle:
            length = os.fstat(handle.fileno()).st_size
            for offset, size in ranges:
                handle.seek(min(offset, length))
                # Room for all that was asked for is made before reading: a size far beyond the end must not take it.
                yield handle.read(min(size, length))

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        path = self._path(key)
        if not path.is_file():
            raise FileNotFoundError(self.address(key))
        yield path

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        # The folder part of the prefix bounds the walk; the rest filters it.
        start = self._path(prefix.rpartition("/")[0]) if "/" in prefix else self._folder
        files = (path for path in start.rglob("*") if path.is_file() and not path.name.startswith(".tmp-"))
        keys = (path.relative_to(self._folder).as_posix() for path in files)
        yield from sorted(key for key in keys if key.startswith(prefix))

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def address(self, key: str) -> str:
        return f"{self.root}/{key}"

    def _path(self, key: str) -> Path:
        return self._folder / key

    @contextmanager
    def _opened(self, key: str) -> Iterator[BinaryIO]:
        """The object's file; FileNotFoundError for a folder, too, and for a path below a file: neither is an object."""
        try:
            handle = self._path(key).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise FileNotFoundError(self.address(key)) from error
        with handle:
            yield handle

    @contextmanager
    def _written(self, key: str) -> Iterator[Path]:
        path = self._path(key)
        with room_for(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
            os.close(handle)
            temporary = Path(name)
            try:
                yield temporary
                with temporary.open("rb") as written:
                    os.fsync(written.fileno())
                temporary.chmod(0o644)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Writing below `path`: CriticalError that names it when the disk or the quota is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise CriticalError(f"no room left to write {path}; free some space and run again, it goes on where it was") from error
