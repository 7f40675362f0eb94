"""What every store can do. Keys are `/`-separated paths below the store's root."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class ObjectStore(Protocol):
    """Atomic whole-object writes, whole and range reads.

    Every method raises FileNotFoundError for an absent key where it reads one. What passes by itself (a server that
    does not answer) is a TransientError, what somebody has to mend (a bucket, a credential, a full disk) a CriticalError.
    """

    root: str

    def put_bytes(self, key: str, data: bytes) -> None:
        """Write an object; a reader sees the old or the new one, never a part. Doing it again changes nothing."""

    def put_file(self, key: str, path: Path) -> None:
        """Write an object from a local file, atomically as `put_bytes`."""

    def get_bytes(self, key: str) -> bytes:
        """The whole object."""

    def get_range(self, key: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`, or what there is of them before the object ends; ValueError for negative numbers."""

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """What `get_range` gives for each (offset, size), in the order of `ranges`.

        Ranges that follow each other here and lie close together in the object are read at once, so ask in order of
        offset: thousands of members of a shard are then a few requests. Errors are raised when the first answer is asked
        for; without ranges nothing is read, and an absent key is no error.
        """

    def local_copy(self, key: str) -> AbstractContextManager[Path]:
        """The object as a local file for the time of a `with` block."""

    def exists(self, key: str) -> bool:
        """Is there an object under this very key?"""

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with the prefix, sorted; all of them or an error, never only the first ones."""

    def delete(self, key: str) -> None:
        """Remove the object; an absent one is fine."""

    def address(self, key: str) -> str:
        """The object's full address, for messages."""
