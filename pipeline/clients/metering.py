"""What every request is counted against: the key's rate limit, shared by all processes, and a run's own budget."""

import threading
from collections.abc import Callable
from typing import Protocol

from pipeline.domain.rate_limit import RateLimit


class Quota(Protocol):
    """The rate limit of a key (`pipeline.database.quota`)."""

    def take(self) -> float:
        """Take one request; 0 when it may be sent, else the seconds to wait before asking again."""

    def observe(self, limit: RateLimit, *, refused: bool) -> None:
        """Learn what the server says of the quota."""


class Budget(Protocol):
    """A run's own limits (`pipeline.database.run_budget`)."""

    def spend_request(self) -> None:
        """Count one request; raises BudgetSpent when there is none left."""

    def check_time(self, wait_s: float) -> None:
        """Raise BudgetSpent when the run's time ends before `wait_s` have passed."""


class Metering:
    """Asked before every request and told after it; without a quota and a budget it only counts."""

    def __init__(self, quota: Quota | None = None, budget: Budget | None = None) -> None:
        self._quota = quota
        self._budget = budget
        self._lock = threading.Lock()
        self.requests = 0
        self.limit = RateLimit()

    def before(self, sleep: Callable[[float], None]) -> None:
        """Wait until the quota has room. Raises BudgetSpent when the run may ask no more, or would have to wait too long."""
        if self._budget:
            self._budget.check_time(0)
        while self._quota and (wait := self._quota.take()) > 0:
            if self._budget:
                self._budget.check_time(wait)
            sleep(wait)
        if self._budget:
            self._budget.spend_request()
        with self._lock:
            self.requests += 1

    def check_wait(self, seconds: float) -> None:
        """Raise BudgetSpent when the run's time would end during a wait."""
        if self._budget:
            self._budget.check_time(seconds)

    def after(self, limit: RateLimit, *, refused: bool) -> None:
        """Learn from a reply's headers."""
        if limit.remaining is not None:
            self.limit = limit
        if self._quota:
            self._quota.observe(limit, refused=refused)
