"""Everything the sandbox remembers: one SQLite file in the state directory, so that a restart meets the same platform.

WAL with synchronous=NORMAL: a committed write outlives a killed process, and a commit costs microseconds.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS journal (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, platform TEXT NOT NULL, operation TEXT NOT NULL, id TEXT NOT NULL,
  record_id TEXT, body TEXT, at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS annotation (
  id INTEGER PRIMARY KEY AUTOINCREMENT, document TEXT NOT NULL, motivation TEXT NOT NULL, creator_uri TEXT NOT NULL,
  generator_uri TEXT NOT NULL, created INTEGER NOT NULL, generated INTEGER NOT NULL, searchable_at INTEGER,
  disabled INTEGER
);
CREATE TABLE IF NOT EXISTS annotation_term (
  field TEXT NOT NULL, value TEXT NOT NULL, annotation_id INTEGER NOT NULL,
  PRIMARY KEY (field, value, annotation_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS annotation_term_of ON annotation_term (annotation_id);
CREATE TABLE IF NOT EXISTS annotation_report (
  annotation_id INTEGER NOT NULL, user_uri TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (annotation_id, user_uri)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS annotation_whitelist (
  url TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS annotation_setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS container_annotation (
  name TEXT PRIMARY KEY, document TEXT NOT NULL, version INTEGER NOT NULL, deleted INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS with_collection (
  id TEXT PRIMARY KEY, label TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, created INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS with_entry (
  position INTEGER PRIMARY KEY AUTOINCREMENT, collection_id TEXT NOT NULL, record_db_id TEXT NOT NULL,
  record_id TEXT NOT NULL, UNIQUE (collection_id, record_db_id)
);
CREATE INDEX IF NOT EXISTS with_entry_record ON with_entry (record_db_id);
CREATE TABLE IF NOT EXISTS with_annotation (
  id TEXT PRIMARY KEY, record_db_id TEXT NOT NULL, same_as TEXT NOT NULL, document TEXT NOT NULL,
  UNIQUE (record_db_id, same_as)
);
CREATE TABLE IF NOT EXISTS with_user (id TEXT PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS with_account (
  username TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE, first_name TEXT NOT NULL, last_name TEXT NOT NULL,
  password TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS with_collection_more (collection_id TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS with_campaign (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS with_thesaurus (
  id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, version TEXT NOT NULL, label TEXT NOT NULL, kind TEXT NOT NULL,
  owner TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS with_term (
  id TEXT PRIMARY KEY, thesaurus_id TEXT NOT NULL, uri TEXT NOT NULL, document TEXT NOT NULL, UNIQUE (thesaurus_id, uri)
);
CREATE INDEX IF NOT EXISTS with_term_uri ON with_term (uri);
"""


class State:
    """The sandbox's memory. Used from one thread at a time: the one the server runs in."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside happen, or none."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def execute(self, sql: str, parameters: Iterable[object] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        return self._connection.execute(sql, tuple(parameters))

    def executemany(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Run one statement for many rows."""
        self._connection.executemany(sql, rows)

    def one(self, sql: str, parameters: Iterable[object] = ()) -> tuple[Any, ...] | None:
        """The first row, or None."""
        row: tuple[Any, ...] | None = self.execute(sql, parameters).fetchone()
        return row

    def all(self, sql: str, parameters: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        """Every row."""
        return self.execute(sql, parameters).fetchall()

    def log(self, platform: str, operation: str, identifier: str, record_id: str | None, body: object) -> None:
        """Write one line of the journal; belongs into the transaction of the write it tells of."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.execute(
            "INSERT INTO journal (platform, operation, id, record_id, body, at) VALUES (?, ?, ?, ?, ?, ?)",
            (platform, operation, identifier, record_id, json.dumps(body, ensure_ascii=False), at),
        )

    def journal(self) -> list[dict[str, Any]]:
        """Every write the servers accepted, in order."""
        rows = self.all("SELECT seq, platform, operation, id, record_id, body, at FROM journal ORDER BY seq")
        names = ("seq", "platform", "operation", "id", "record_id", "body", "at")
        return [{**dict(zip(names, row, strict=True)), "body": json.loads(row[5])} for row in rows]

    def close(self) -> None:
        """Write the log back and let the file go."""
        self._connection.close()


def now_ms() -> int:
    """Milliseconds since 1970, as both platforms keep time."""
    return time.time_ns() // 1_000_000
