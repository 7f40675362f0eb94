"""What one start of a run may use: records, requests, hours; counted in the database, for all its processes together."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, insert, select, update

from pipeline.database.connection import begin_writing
from pipeline.database.tables import run_budgets
from pipeline.domain.harvest_rules import Limits
from pipeline.errors import BudgetSpent

LONGEST_H = 24 * 365 * 10  # more than any run lasts, and less than a date can hold


class RunBudget:
    """The limits of one start of a run; without limits it costs nothing."""

    def __init__(
        self, engine: Engine, name: str, limits: Limits, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._engine = engine
        self._name = name[:300]
        self._limits = limits
        self._clock = clock
        self._ends: datetime | None = None
        if limits != Limits():
            started = self._started()
            self._ends = started + timedelta(hours=min(limits.max_hours, LONGEST_H)) if limits.max_hours else None

    def check_time(self, wait_s: float) -> None:
        """Raise BudgetSpent when `max_hours` end before `wait_s` seconds have passed."""
        if self._ends and self._clock() + timedelta(seconds=wait_s) >= self._ends:
            waiting = f" while waiting {wait_s:.0f} s for the rate limit" if wait_s else ""
            raise BudgetSpent(f"max_hours ({self._limits.max_hours:g}) is used up{waiting}")

    def spend_request(self) -> None:
        """Count one request; raises BudgetSpent when `max_requests` are used up."""
        limit = self._limits.max_requests
        if limit is not None and self._spend("requests", 1, limit) == 0:
            raise BudgetSpent(f"max_requests ({limit}) are used up")

    def spend_records(self, count: int) -> int:
        """Count up to `count` records and return how many may be taken."""
        limit = self._limits.max_records
        return count if limit is None else self._spend("records", count, limit)

    def why_no_records(self) -> str:
        """The words for a run that may take no more records."""
        return f"max_records ({self._limits.max_records}) are reached"

    def _spend(self, column: str, count: int, limit: int) -> int:
        with begin_writing(self._engine) as connection:
            mine = run_budgets.c.name == self._name
            used = connection.scalar(select(run_budgets.c[column]).where(mine).with_for_update()) or 0
            granted = max(0, min(count, limit - used))
            connection.execute(update(run_budgets).where(mine).values({column: used + granted}))
        return granted

    def _started(self) -> datetime:
        """When the first process of this start began."""
        with begin_writing(self._engine) as connection:
            query = select(run_budgets.c.started_at).where(run_budgets.c.name == self._name)
            started: datetime | None = connection.scalar(query)
            if started is None:
                started = self._clock()
                values = {"name": self._name, "started_at": started, "requests": 0, "records": 0}
                connection.execute(insert(run_budgets).values(values))
        return started
