"""The rate limit of an API key, shared by all processes: a bucket of tokens in the database that the server's headers correct.

The server counts in fixed windows aligned to the clock (search contract §1.3), so the bucket is full again at once when
a window ends. Requests are taken in small lots, so that a fast loop does not write to the database for each of them.
"""

import hashlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update

from pipeline.database.connection import begin_writing
from pipeline.database.tables import api_quotas
from pipeline.domain.rate_limit import RateLimit

LARGEST_LOT = 20
JITTER_S = 0.25  # the server's clock and ours are never quite the same


class SharedQuota:
    """One key at one API; safe to share between threads.

    Nothing is known, and nothing is held back, until a reply has told of a quota.
    """

    def __init__(
        self, engine: Engine, address: str, key: str, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._engine = engine
        self._name = f"{address}|{hashlib.sha256(key.encode()).hexdigest()[:12]}"[:200]
        self._clock = clock
        self._lock = threading.Lock()
        self._lot, self._lot_ends, self._lot_size = 0, clock(), 1
        self._seen: dict[str, Any] | None = None  # what the last reply said; goes into the database with the next lot
        self._known = True  # whether the database may know of a quota

    def take(self) -> float:
        """Take one request; 0 when it may be sent now, else the seconds until it may be asked for again."""
        with self._lock:
            now = self._clock()
            if self._lot and now < self._lot_ends:
                self._lot -= 1
                return 0.0
            if not self._known:
                return 0.0
            with begin_writing(self._engine) as connection:
                return self._next_lot(connection, now)

    def observe(self, limit: RateLimit, *, refused: bool) -> None:
        """Learn what a reply's headers say; a 429 empties the bucket for everybody."""
        if limit.remaining is None or limit.reset_s is None:
            return
        with self._lock:
            now = self._clock()
            remaining = 0 if refused else limit.remaining
            self._seen = {
                "quota": limit.quota or max(remaining, 1),
                "window_s": limit.window_s or max(limit.reset_s, 1),
                "remaining": remaining,
                "reset_at": now + timedelta(seconds=limit.reset_s),
            }
            self._known = True
            if refused:
                self._lot = 0
                with begin_writing(self._engine) as connection:
                    self._learn(connection, now)

    def _next_lot(self, connection: Connection, now: datetime) -> float:
        row = self._learn(connection, now)
        if row is None:
            self._known = False
            return 0.0
        if row["remaining"] <= 0:
            return float((row["reset_at"] - now).total_seconds() + JITTER_S)
        # Lots grow with use: what a short command does not need is not taken from others.
        lot = min(LARGEST_LOT, self._lot_size, max(1, row["remaining"] // 20))
        self._lot_size = 2 * lot
        self._write(connection, {"remaining": row["remaining"] - lot})
        self._lot, self._lot_ends = lot - 1, row["reset_at"]
        return 0.0

    def _learn(self, connection: Connection, now: datetime) -> dict[str, Any] | None:
        """The bucket as it stands now, with what this process has heard since."""
        found = connection.execute(select(api_quotas).where(api_quotas.c.name == self._name)).mappings().first()
        row = dict(found) if found else None
        seen, self._seen = self._seen, None
        if row is not None and row["reset_at"] <= now:  # a new window: full again
            passed = int((now - row["reset_at"]).total_seconds() // row["window_s"]) + 1
            row["reset_at"] += timedelta(seconds=passed * row["window_s"])
            row["remaining"] = row["quota"]
        if seen and seen["reset_at"] > now:
            apart = abs((row["reset_at"] - seen["reset_at"]).total_seconds()) if row is not None else 0.0
            same_window = apart < seen["window_s"] / 2  # a slow reply tells of a reset that is a little nearer than it thinks
            if same_window and row is not None:  # lots that others hold are not in the server's count yet
                seen["remaining"] = min(row["remaining"], seen["remaining"])
            if row is None:
                connection.execute(insert(api_quotas).values(name=self._name, **seen))
            row = {**(row or {}), **seen}
        if row is not None:
            self._write(connection, {name: row[name] for name in ("quota", "window_s", "remaining", "reset_at")})
        return row

    def _write(self, connection: Connection, values: dict[str, Any]) -> None:
        connection.execute(update(api_quotas).where(api_quotas.c.name == self._name).values(**values))
