"""Ids that have been met, on disk: memory stays flat however many there are."""

import sqlite3
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self


class SeenIds:
    """A set of ids in a temporary file; use as a context manager."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="enrich-seen-")
        self._base = sqlite3.connect(Path(self._folder.name) / "ids.db", isolation_level=None, check_same_thread=False)
        # Nobody needs the file after a crash: no journal, no waiting for the disk.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-4000"):
            self._base.execute(f"PRAGMA {pragma}")
        self._base.execute("CREATE TABLE seen (id TEXT PRIMARY KEY) WITHOUT ROWID")
        self._base.execute("BEGIN")
        self._cursor = self._base.cursor()
        self._count = 0

    def add(self, record_id: str) -> bool:
        """Add an id; False when it was there already."""
        is_new = self._cursor.execute("INSERT OR IGNORE INTO seen VALUES (?)", (record_id,)).rowcount == 1
        self._count += is_new
        return is_new

    def add_all(self, record_ids: Iterable[str]) -> None:
        """Add many ids."""
        for record_id in record_ids:
            self.add(record_id)

    def __contains__(self, record_id: str) -> bool:
        return self._cursor.execute("SELECT 1 FROM seen WHERE id = ?", (record_id,)).fetchone() is not None

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._base.close()
        self._folder.cleanup()
