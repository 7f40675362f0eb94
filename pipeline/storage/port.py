"""What every store can do. Keys are `/`-separated paths below the store's root."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class ObjectStore(Protocol):
    """Atomic whole-object writes, whole and range reads.

    Every method raises FileNotFoundError for an absent key where it reads one.
    """

    root: str

    def put_bytes(self, key: str, data: bytes) -> None:
        """Write an object; a reader sees the old or the new one, never a part."""

    def put_file(self, key: str, path: Path) -> None:
        """Write an object from a local file, atomically as `put_bytes`."""

    def get_bytes(self, key: str) -> bytes:
        """The whole object."""

    def get_range(self, key: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`."""

    def local_copy(self, key: str) -> AbstractContextManager[Path]:
        """The object as a local file for the time of a `with` block."""

    def exists(self, key: str) -> bool:
        """Is there an object under this very key?"""

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with the prefix, sorted."""

    def delete(self, key: str) -> None:
        """Remove the object; an absent one is fine."""

    def address(self, key: str) -> str:
        """The object's full address, for messages."""
