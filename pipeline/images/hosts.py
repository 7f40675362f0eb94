"""Who is visited next: bounded per host, paced as each host asks, backing off where there is trouble.

Nothing here sleeps or connects: the caller says what time it is, so that pacing can be tested without waiting.
"""

import heapq
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 300.0
GIVEN_UP_AFTER = 8  # times in a row that a host was in trouble, with no answer in between
_RECOVERY = 16  # so many answers in a row raise a lowered limit by one


@dataclass
class HostStats:
    """What became of the visits to one host, for the report."""

    visits: int = 0
    ok: int = 0
    not_modified: int = 0
    bytes: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    robots: str = ""
    crawl_delay_s: float = 0.0
    pauses: int = 0
    given_up: int = 0
    seconds: float = 0.0  # from the first visit to the last answer

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**self.__dict__, "reasons": dict(sorted(self.reasons.items())), "seconds": round(self.seconds, 2)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "HostStats":
        """Read back what `to_json` wrote."""
        return cls(**{**value, "reasons": Counter(value["reasons"])})

    def merge(self, other: "HostStats") -> None:
        """Add what another batch saw of the host; batches run beside each other, so the longest time counts."""
        for name in ("visits", "ok", "not_modified", "bytes", "pauses", "given_up"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.reasons.update(other.reasons)
        self.robots = self.robots or other.robots
        self.crawl_delay_s = max(self.crawl_delay_s, other.crawl_delay_s)
        self.seconds = max(self.seconds, other.seconds)


@dataclass
class Host(Generic[Item]):
    """One host. It starts with one visit at a time, until an answer shows how it is and what it asks for."""

    name: str
    most: int
    stats: HostStats
    limit: int = 1
    waiting: deque[Item] = field(default_factory=deque)
    active: int = 0
    not_before: float = 0.0
    interval_s: float = 0.0
    trouble: int = 0
    good: int = 0
    down: str = ""  # why it was given up
    met: bool = False  # it has answered, or been in trouble
    offered: bool = False  # stands in one of the heaps
    started: float | None = None
    troubled_at: float = float("-inf")


class HostQueue(Generic[Item]):
    """Items by host; `take` gives the first one whose host may be visited now."""

    def __init__(self, *, per_host: int, interval_s: float = 0.0) -> None:
        self._per_host, self._interval_s = per_host, interval_s
        self._hosts: dict[str, Host[Item]] = {}
        self._ready: list[tuple[int, str]] = []
        self._later: list[tuple[float, str]] = []
        self._number = 0
        self.waiting = 0

    def host(self, name: str) -> Host[Item]:
        """The host of this name, new if it was not known."""
        if name not in self._hosts:
            self._hosts[name] = Host(name, self._per_host, HostStats(), interval_s=self._interval_s)
        return self._hosts[name]

    def hosts(self) -> Iterable[Host[Item]]:
        """All hosts that were met."""
        return self._hosts.values()

    def put(self, name: str, item: Item, *, first: bool = False) -> None:
        """Add an item; `first`: before those that wait already."""
        host = self.host(name)
        if first:
            host.waiting.appendleft(item)
        else:
            host.waiting.append(item)
        self.waiting += 1
        self._offer(host)

    def take(self, now: float) -> tuple[Host[Item], Item] | None:
        """The next item that may be visited at this time, if any; its host counts as visited."""
        while self._later and self._later[0][0] <= now:
            self._push(self._hosts[heapq.heappop(self._later)[1]])
        while self._ready:
            host = self._hosts[heapq.heappop(self._ready)[1]]
            host.offered = False
            if not host.waiting or (host.active >= host.limit and not host.down):
                continue  # it is offered again when a visit ends
            if host.not_before > now and not host.down:
                heapq.heappush(self._later, (host.not_before, host.name))
                host.offered = True
                continue
            item = host.waiting.popleft()
            self.waiting -= 1
            host.active += 1
            host.started = now if host.started is None else host.started
            host.not_before = max(host.not_before, now + host.interval_s)
            self._offer(host)
            return host, item
        return None

    def next_time(self) -> float | None:
        """When the next host that makes us wait may be visited; None when none does."""
        return self._later[0][0] if self._later else None

    def answered(self, host: Host[Item], now: float) -> None:
        """A visit ended with an answer, whatever it was: the host is there."""
        host.trouble = 0
        host.good += 1
        if not host.met:
            host.limit, host.met = host.most, True
        elif host.limit < host.most and host.good % _RECOVERY == 0:
            host.limit += 1
        self._ended(host, now)

    def troubled(self, host: Host[Item], now: float, *, since: float, wait_s: float | None, why: str) -> None:
        """A visit that began at `since` ended in passing trouble: fewer at once, and a pause.

        The pause is as long as the host asks, or doubled each time. Visits that were under way together meet the same
        trouble, which counts once. A host that is in trouble so many times in a row is given up: what waits for it ends at
        once.
        """
        if since >= host.troubled_at:
            host.trouble += 1
            host.limit = max(1, host.limit // 2)
        host.troubled_at, host.met = now, True
        host.good = 0
        pause = wait_s if wait_s is not None else min(FIRST_PAUSE_S * 2 ** (host.trouble - 1), LONGEST_PAUSE_S)
        host.not_before = max(host.not_before, now + pause)
        host.stats.pauses += 1
        if host.trouble >= GIVEN_UP_AFTER and not host.down:
            host.down = why
        self._ended(host, now)

    def spare(self, host: Host[Item], now: float) -> None:
        """A visit that never left the house: the host need not be left in peace after it."""
        host.not_before = min(host.not_before, now)
        host.offered = False
        self._offer(host)

    def stop(self, why: str) -> None:
        """Give up all hosts: what waits is handed out at once."""
        for host in self._hosts.values():
            host.down = host.down or why
            if host.waiting:
                host.offered = False
                self._offer(host)

    def _ended(self, host: Host[Item], now: float) -> None:
        host.active -= 1
        host.stats.seconds = now - (host.started or now)
        self._offer(host)

    def _offer(self, host: Host[Item]) -> None:
        if host.waiting and not host.offered and (host.active < host.limit or host.down):
            self._push(host)

    def _push(self, host: Host[Item]) -> None:
        host.offered = True
        self._number += 1  # turn by turn, so that a host with many items does not keep the others waiting
        heapq.heappush(self._ready, (self._number, host.name))
