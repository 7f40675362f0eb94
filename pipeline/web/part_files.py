"""Parts as local files: the store's own files, or downloaded copies that are kept while there is room for them."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.lake import Part
from pipeline.storage import ObjectStore


@dataclass
class _Held:
    path: Path
    copy: AbstractContextManager[Path]
    size: int
    users: int = 0


class PartFiles:
    """Holds at most `budget` bytes of parts, the longest unused go first; a part in use is never taken away."""

    def __init__(self, store: ObjectStore, budget: int) -> None:
        self._store = store
        self._budget = budget
        self._held: OrderedDict[tuple[str, str], _Held] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def open(self, parts: Sequence[Part]) -> Iterator[list[Path]]:
        """The parts' paths for the time of a `with` block; FileNotFoundError when one of them is gone."""
        taken: list[_Held] = []
        try:
            for part in parts:
                taken.append(self._take(part))
            yield [held.path for held in taken]
        finally:
            with self._lock:
                for held in taken:
                    held.users -= 1
                self._make_room()

    def _take(self, part: Part) -> _Held:
        # A run that is done again may write other bytes under the same key: the digest tells them apart.
        name = (part.key, part.sha256)
        with self._lock:
            if name not in self._held:
                copy = self._store.local_copy(part.key)
                self._held[name] = _Held(copy.__enter__(), copy, part.size_bytes)
            self._held.move_to_end(name)
            self._held[name].users += 1
            return self._held[name]

    def _make_room(self) -> None:
        total = sum(held.size for held in self._held.values())
        for name, held in list(self._held.items()):
            if total <= self._budget:
                return
            if not held.users:
                held.copy.__exit__(None, None, None)
                del self._held[name]
                total -= held.size
