"""One rate limit for all processes, a budget for each start of a run, ids on disk, pages fetched ahead."""

import multiprocessing
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.clients.metering import Metering
from pipeline.database import connect
from pipeline.database.quota import SharedQuota
from pipeline.database.run_budget import RunBudget
from pipeline.domain.harvest_rules import Limits
from pipeline.domain.rate_limit import RateLimit
from pipeline.errors import BudgetSpent
from pipeline.harvest.prefetch import prefetched
from pipeline.harvest.seen import SeenIds
from pipeline.settings import Settings

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


class Clock:
    """A clock that goes on when it is told."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, var_dir=tmp_path)


def limit(remaining: int, reset_s: int = 60, quota: int = 100, window_s: int = 60) -> RateLimit:
    return RateLimit(quota, window_s, remaining, reset_s)


def taken(quota: SharedQuota, most: int = 1_000) -> int:
    """How many requests it lets through without waiting."""
    count = 0
    while count < most and quota.take() == 0:
        count += 1
    return count


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"RateLimit-Policy": '"personal";q=1000;w=3600', "RateLimit": '"personal";r=12;t=42'}, RateLimit(1000, 3600, 12, 42)),
        ({"RateLimit": '"project";r=0;t=1'}, RateLimit(None, None, 0, 1)),
        ({}, RateLimit()),
        ({"RateLimit": "nonsense"}, RateLimit()),
    ],
)
def test_the_headers_of_a_rate_limit_are_read(headers, found):
    assert RateLimit.of(headers) == found


def test_without_a_word_of_the_reset_one_waits_to_the_full_hour():
    now = datetime.now(UTC)
    left = 3600 - now.minute * 60 - now.second
    assert left - 5 <= RateLimit().seconds_to_reset() <= left + 2
    assert 42 <= limit(0, reset_s=42).seconds_to_reset() <= 43


def test_nothing_is_held_back_while_no_quota_is_known(settings):
    assert taken(SharedQuota(connect(settings), "api", "key")) == 1_000


def test_two_clients_of_a_key_take_no_more_together_than_the_server_allows(settings):
    clock = Clock()
    one, two, other = (SharedQuota(connect(settings), "api", key, clock=clock) for key in ("key", "key", "another key"))
    one.observe(limit(40), refused=False)
    assert one.take() == 0
    total = 1 + taken(one, 15) + taken(two)
    assert total + taken(one) == 40
    assert 60 <= two.take() <= 61
    assert other.take() == 0


def test_when_the_window_ends_the_bucket_is_full_again(settings):
    clock = Clock()
    quota = SharedQuota(connect(settings), "api", "key", clock=clock)
    quota.observe(limit(3), refused=False)
    assert taken(quota) == 3
    clock.now += timedelta(seconds=61)
    assert taken(quota) == 100
    clock.now += timedelta(seconds=600)
    assert quota.take() == 0


def test_what_the_server_says_goes_before_our_own_count(settings):
    clock = Clock()
    quota = SharedQuota(connect(settings), "api", "key", clock=clock)
    quota.observe(limit(50), refused=False)
    assert taken(quota, 2) == 2
    quota.observe(limit(5), refused=False)  # somebody else uses the key, too
    assert taken(quota) <= 5 + 2


def test_a_refusal_empties_the_bucket_for_everybody(settings):
    clock = Clock()
    one, two = (SharedQuota(connect(settings), "api", "key", clock=clock) for _ in range(2))
    one.observe(limit(50), refused=False)
    assert one.take() == 0
    two.observe(limit(0, reset_s=30), refused=True)
    assert taken(one) <= 2  # the rest of a lot that was handed out before
    assert 30 <= two.take() <= 31


def _take_all(address: str, var: str, results: "multiprocessing.Queue[int]") -> None:
    settings = Settings(_env_file=None, var_dir=Path(var))
    results.put(taken(SharedQuota(connect(settings), address, "key")))


def test_processes_share_the_quota_through_the_database(settings, tmp_path):
    SharedQuota(connect(settings), "api", "key").observe(limit(90, reset_s=600, window_s=600), refused=True)
    first = SharedQuota(connect(settings), "api", "key")
    first.observe(limit(90, reset_s=1200, window_s=1200), refused=False)
    mine = taken(first, 5)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_take_all, args=("api", str(tmp_path), results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    together = sum(results.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join(10)
    assert mine == 5 and 80 <= together + mine <= 90


def test_a_budget_of_requests_is_kept_to_the_request_by_all_threads_together(settings):
    budget = RunBudget(connect(settings), "run|1", Limits(max_requests=20))
    sent = []

    def work() -> None:
        metering = Metering(budget=budget)
        for _ in range(10):
            try:
                metering.before(time.sleep)
            except BudgetSpent:
                return
            sent.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sent) == 20
    with pytest.raises(BudgetSpent, match=r"max_requests \(20\)"):
        budget.spend_request()
    RunBudget(connect(settings), "run|2", Limits(max_requests=20)).spend_request()  # another start has its own


def test_a_budget_of_records_grants_what_is_left(settings):
    budget = RunBudget(connect(settings), "run|1", Limits(max_records=250))
    assert [budget.spend_records(100) for _ in range(4)] == [100, 100, 50, 0]
    assert RunBudget(connect(settings), "run|1", Limits()).spend_records(7) == 7


def test_hours_count_from_the_first_process_of_a_start_and_a_wait_beyond_them_is_not_begun(settings):
    clock = Clock()
    first = RunBudget(connect(settings), "run|1", Limits(max_hours=2), clock=clock)
    clock.now += timedelta(hours=1, minutes=59)
    second = RunBudget(connect(settings), "run|1", Limits(max_hours=2), clock=clock)
    first.check_time(0)
    second.check_time(30)
    with pytest.raises(BudgetSpent, match="while waiting 90 s for the rate limit"):
        second.check_time(90)
    clock.now += timedelta(minutes=2)
    with pytest.raises(BudgetSpent, match=r"max_hours \(2\)"):
        first.check_time(0)


def test_ids_on_disk_are_told_apart():
    with SeenIds() as seen:
        assert [seen.add(one) for one in ("/1/b", "/1/a", "/1/b", "/1/ä")] == [True, True, False, True]
        assert (len(seen), "/1/a" in seen, "/1/c" in seen) == (3, True, False)


def test_pages_are_fetched_ahead_and_an_error_comes_after_the_pages_before_it():
    fetched = []

    def pages():
        for number in range(5):
            fetched.append(number)
            yield number
        raise ValueError("the end")

    used = []

    def use() -> None:
        for page in prefetched(pages(), ahead=2):
            time.sleep(0.02)
            used.append(page)
            assert len(fetched) <= len(used) + 3

    with pytest.raises(ValueError, match="the end"):
        use()
    assert used == [0, 1, 2, 3, 4]


def test_whoever_stops_early_stops_the_fetching():
    fetched = []

    def pages():
        for number in range(1_000_000):
            fetched.append(number)
            yield number

    for page in prefetched(pages(), ahead=2):
        if page == 3:
            break
    time.sleep(0.5)
    count = len(fetched)
    time.sleep(0.3)
    assert len(fetched) == count <= 8
