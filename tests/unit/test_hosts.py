"""Who is visited next: turns, limits, paces, pauses and giving up, at whatever time a test says that it is."""

import json
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.images.hosts import FIRST_PAUSE_S, GIVEN_UP_AFTER, LONGEST_PAUSE_S, Host, HostQueue, HostStats

NOW = 1_000.0
MOST = 8


def queue_of(*names: str, items: int = 50, per_host: int = MOST, interval_s: float = 0.0) -> HostQueue[str]:
    queue: HostQueue[str] = HostQueue(per_host=per_host, interval_s=interval_s)
    for name in names:
        for at in range(items):
            queue.put(name, f"{name}{at}")
    return queue


def all_that_may_go(queue: HostQueue[str], now: float) -> Iterator[tuple[Host[str], str]]:
    while (taken := queue.take(now)) is not None:
        yield taken


def items(queue: HostQueue[str], now: float) -> list[str]:
    return [item for _, item in all_that_may_go(queue, now)]


def known(queue: HostQueue[str], name: str = "a", now: float = NOW) -> Host[str]:
    """The host, after a first answer."""
    taken = queue.take(now)
    assert taken is not None and taken[0].name == name
    queue.answered(taken[0], now)
    return taken[0]


def fail(queue: HostQueue[str], now: float, *, wait_s: float | None = None) -> float:
    """One visit, alone, that ends in trouble; the moment when the next one may begin."""
    taken = queue.take(now)
    assert taken is not None
    queue.troubled(taken[0], now, since=now, wait_s=wait_s, why="HTTP 503")
    return taken[0].not_before


# --- Turns and limits ---


def test_hosts_take_turns_however_many_items_each_has() -> None:
    queue: HostQueue[str] = HostQueue(per_host=MOST)
    for at in range(100):
        queue.put("a", f"a{at}")
    for name in ("b", "c"):
        for at in range(3):
            queue.put(name, f"{name}{at}")
    order = []
    while (taken := queue.take(NOW)) is not None and len(order) < 12:
        order.append(taken[1])
        queue.answered(taken[0], NOW)
    assert sorted(order[:3]) == ["a0", "b0", "c0"]
    assert Counter(item[0] for item in order[:9]) == {"a": 3, "b": 3, "c": 3}
    assert set(order[9:]) == {"a3", "a4", "a5"}


def test_the_items_of_a_host_come_in_their_order_and_what_is_put_first_comes_before() -> None:
    queue = queue_of("a", items=3, per_host=1)
    queue.put("a", "again", first=True)
    order = []
    while (taken := queue.take(NOW)) is not None:
        order.append(taken[1])
        queue.answered(taken[0], NOW)
    assert order == ["again", "a0", "a1", "a2"]


def test_a_host_gets_one_visit_until_it_has_answered() -> None:
    queue = queue_of("a", "b")
    assert items(queue, NOW) == ["a0", "b0"]
    assert items(queue, NOW + 100) == []
    queue.answered(queue.host("a"), NOW + 100)
    assert items(queue, NOW + 100) == [f"a{at}" for at in range(1, MOST + 1)]
    assert items(queue, NOW + 100) == []


def test_a_visit_that_ends_makes_room_for_one_more() -> None:
    queue = queue_of("a", per_host=3)
    host = known(queue)
    assert len(items(queue, NOW)) == 3
    queue.answered(host, NOW)
    assert len(items(queue, NOW)) == 1
    assert host.active == 3


def test_one_at_a_time_stays_one_at_a_time() -> None:
    queue = queue_of("a", per_host=1)
    for at in range(40):
        assert items(queue, NOW + at) == [f"a{at}"]
        queue.answered(queue.host("a"), NOW + at)


def test_waiting_counts_what_has_not_been_handed_out() -> None:
    queue = queue_of("a", "b", items=2)
    assert queue.waiting == 4
    queue.take(NOW)
    assert queue.waiting == 3
    queue.put("c", "c0")
    assert queue.waiting == 4 and {host.name for host in queue.hosts()} == {"a", "b", "c"}


def test_an_empty_queue_has_nothing_and_waits_for_nothing() -> None:
    queue = queue_of()
    assert (queue.take(NOW), queue.next_time(), queue.waiting) == (None, None, 0)


def test_a_host_that_ran_out_of_items_goes_on_when_it_gets_more() -> None:
    queue = queue_of("a", items=1)
    host = known(queue)
    assert queue.take(NOW) is None
    queue.put("a", "late")
    assert queue.take(NOW) == (host, "late")


# --- Pace ---


def test_visits_of_one_host_keep_their_distance_and_others_need_not_wait() -> None:
    queue = queue_of("a", "b", interval_s=2.0)
    assert items(queue, NOW) == ["a0", "b0"]
    for name in ("a", "b"):
        queue.answered(queue.host(name), NOW + 0.1)
    assert items(queue, NOW + 1.9) == []
    assert queue.next_time() == NOW + 2.0
    assert items(queue, NOW + 2.0) == ["a1", "b1"]
    assert items(queue, NOW + 3.9) == []
    assert items(queue, NOW + 4.0) == ["a2", "b2"]  # at a distance, and still several under way


def test_a_slow_answer_does_not_make_up_for_the_distance() -> None:
    queue = queue_of("a", interval_s=2.0)
    host = known(queue)
    assert items(queue, NOW + 9) == ["a1"]
    assert items(queue, NOW + 9) == []
    queue.answered(host, NOW + 9)
    assert queue.next_time() in (None, NOW + 11)
    assert items(queue, NOW + 10.9) == [] and items(queue, NOW + 11) == ["a2"]


def test_the_time_of_the_next_visit_is_the_soonest_of_all_hosts() -> None:
    queue = queue_of("a", "b", items=2)
    for name, wait in (("a", 30.0), ("b", 7.0)):
        taken = queue.take(NOW)
        assert taken is not None and taken[0].name == name
        queue.troubled(taken[0], NOW, since=NOW, wait_s=wait, why="HTTP 429")
    assert queue.take(NOW) is None
    assert queue.next_time() == NOW + 7
    assert items(queue, NOW + 7) == ["b1"]
    assert queue.next_time() == NOW + 30


# --- Trouble ---


@pytest.mark.parametrize("wait", [0.5, 30.0, 600.0])
def test_a_host_is_left_alone_as_long_as_it_asks(wait: float) -> None:
    queue = queue_of("a")
    known(queue)
    assert fail(queue, NOW, wait_s=wait) == NOW + wait
    assert queue.take(NOW + wait - 0.01) is None
    assert queue.take(NOW + wait) is not None


def test_a_host_that_asks_for_no_pause_gets_none() -> None:
    queue = queue_of("a")
    fail(queue, NOW, wait_s=0.0)
    assert queue.take(NOW) is not None


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    queue = queue_of("a")
    host = known(queue)
    for _ in range(2):
        queue.take(NOW)
    queue.troubled(host, NOW, since=NOW, wait_s=60.0, why="HTTP 503")
    queue.troubled(host, NOW + 1, since=NOW, wait_s=1.0, why="HTTP 503")
    assert queue.take(NOW + 59) is None and queue.take(NOW + 60) is not None


def test_without_a_wish_the_pause_doubles_each_time() -> None:
    queue = queue_of("a")
    now, pauses = NOW, []
    for _ in range(GIVEN_UP_AFTER - 1):
        later = fail(queue, now)
        pauses.append(later - now)
        now = later
    assert pauses == [FIRST_PAUSE_S * 2**at for at in range(GIVEN_UP_AFTER - 1)]
    assert max(pauses) <= LONGEST_PAUSE_S


def test_an_answer_makes_the_next_pause_short_again() -> None:
    queue = queue_of("a")
    now = fail(queue, fail(queue, fail(queue, NOW)))
    known(queue, now=now)
    assert fail(queue, now) == now + FIRST_PAUSE_S


def test_trouble_halves_how_many_may_be_under_way() -> None:
    queue = queue_of("a")
    host = known(queue)
    limits, now = [host.limit], NOW
    for _ in range(4):
        now = fail(queue, now)
        limits.append(host.limit)
    assert limits == [8, 4, 2, 1, 1]


def test_visits_that_fail_together_are_one_trouble() -> None:
    queue = queue_of("a")
    host = known(queue)
    assert len(items(queue, NOW)) == MOST
    for at in range(MOST):
        queue.troubled(host, NOW + 1 + at / 100, since=NOW, wait_s=None, why="HTTP 503")
    assert (host.trouble, host.limit, host.active) == (1, MOST // 2, 0)
    assert host.not_before <= NOW + 1.1 + FIRST_PAUSE_S
    later = host.not_before
    assert len(items(queue, later)) == MOST // 2
    for _ in range(MOST // 2):
        queue.troubled(host, later + 1, since=later, wait_s=None, why="HTTP 503")
    assert (host.trouble, host.limit) == (2, MOST // 4)
    assert host.not_before == later + 1 + 2 * FIRST_PAUSE_S


def answer(queue: HostQueue[str], now: float, count: int) -> None:
    for _ in range(count):
        taken = queue.take(now)
        assert taken is not None
        queue.answered(taken[0], now)


@pytest.mark.parametrize("troubles", [1, 2, 3])
def test_a_lowered_limit_recovers_by_one_for_sixteen_answers_in_a_row(troubles: int) -> None:
    queue = queue_of("a", items=300)
    host, now = known(queue), NOW
    for _ in range(troubles):
        now = fail(queue, now)
    lowered = MOST >> troubles
    for limit in range(lowered, MOST):
        answer(queue, now, 15)
        assert host.limit == limit
        answer(queue, now, 1)
        assert host.limit == limit + 1
    answer(queue, now, 40)
    assert host.limit == MOST


def test_trouble_in_between_starts_the_sixteen_anew() -> None:
    queue = queue_of("a", items=300)
    host = known(queue)
    now = fail(queue, NOW)
    answer(queue, now, 15)
    now = fail(queue, now)
    answer(queue, now, 15)
    assert host.limit == 2
    answer(queue, now, 1)
    assert host.limit == 3


# --- Giving up ---


def test_a_host_that_is_in_trouble_eight_times_in_a_row_is_given_up_and_its_items_are_handed_out_at_once() -> None:
    queue = queue_of("a", "b", items=20)
    queue.take(NOW)
    queue.take(NOW)
    host, now = queue.host("a"), NOW
    for at in range(GIVEN_UP_AFTER):
        assert not host.down, at
        queue.troubled(host, now, since=now, wait_s=None, why="no route")
        now = host.not_before
        if not host.down:
            assert queue.take(now) is not None
    assert host.down == "no route" and not queue.host("b").down
    rest = items(queue, now)
    assert rest == [f"a{at}" for at in range(GIVEN_UP_AFTER, 20)]  # b waits for its first answer
    queue.put("a", "late")
    assert items(queue, now) == ["late"]


def test_an_answer_in_between_keeps_a_host_from_being_given_up() -> None:
    queue = queue_of("a", items=200)
    now = NOW
    for _ in range(5):
        for _ in range(GIVEN_UP_AFTER - 1):
            now = fail(queue, now)
        assert known(queue, now=now).down == ""


def test_many_visits_that_fail_together_do_not_give_a_host_up() -> None:
    queue = queue_of("a", per_host=50, items=100)
    host = known(queue)
    for _ in items(queue, NOW):
        pass
    for _ in range(50):
        queue.troubled(host, NOW + 1, since=NOW, wait_s=None, why="HTTP 503")
    assert (host.trouble, host.down) == (1, "")


def test_what_is_stopped_is_handed_out_at_once_whatever_its_host_asks_for() -> None:
    queue = queue_of("a", "b", items=30)
    fail(queue, NOW, wait_s=600.0)
    taken = queue.take(NOW)
    assert taken is not None and taken[0].name == "b"  # no answer yet
    queue.stop("the time is used up")
    assert sorted(items(queue, NOW)) == sorted(f"{name}{at}" for name in "ab" for at in range(1, 30))
    assert (queue.waiting, queue.take(NOW + 9_999)) == (0, None)
    assert {host.down for host in queue.hosts()} == {"the time is used up"}


def test_why_a_host_was_given_up_is_not_forgotten_when_all_is_stopped() -> None:
    queue = queue_of("a", items=20)
    now = NOW
    for _ in range(GIVEN_UP_AFTER):
        now = fail(queue, now)
    queue.stop("the time is used up")
    assert queue.host("a").down == "HTTP 503"


# --- Whatever happens ---

NAMES = ["a", "b", "c"]


class Walk:
    """A queue, what was put and handed out, and what is under way, held against each other at every step."""

    def __init__(self, per_host: int, interval_s: float) -> None:
        self.queue: HostQueue[int] = HostQueue(per_host=per_host, interval_s=interval_s)
        self.per_host = per_host
        self.now = NOW
        self.put_of: Counter[str] = Counter()
        self.handed: Counter[int] = Counter()
        self.under_way: list[tuple[Host[int], int, float]] = []
        self.number = 0
        self.last: dict[str, float] = {}

    def put(self, name: str, *, first: bool = False) -> None:
        self.queue.put(name, self.number, first=first)
        self.number += 1
        self.put_of[name] += 1

    def take(self) -> bool:
        before = {host.name: (host.active, host.limit, host.not_before, host.down) for host in self.queue.hosts()}
        taken = self.queue.take(self.now)
        if taken is None:
            self.nothing_is_left_lying()
            return False
        host, item = taken
        active, limit, not_before, down = before[host.name]
        assert down or (active < limit <= self.per_host and not_before <= self.now)
        assert down or self.now - self.last.get(host.name, 0.0) >= host.interval_s
        self.last[host.name] = self.now
        self.handed[item] += 1
        self.under_way.append((host, item, self.now))
        return True

    def nothing_is_left_lying(self) -> None:
        """Who could be visited is, and who can be later is named in time."""
        open_hosts = [host for host in self.queue.hosts() if host.waiting and (host.down or host.active < host.limit)]
        assert all(not host.down and host.not_before > self.now for host in open_hosts)
        if open_hosts:
            moment = self.queue.next_time()
            assert moment is not None and self.now < moment <= min(host.not_before for host in open_hosts)

    def end(self, which: int, how: str) -> None:
        host, item, since = self.under_way.pop(which % len(self.under_way))
        if how == "answered":
            self.queue.answered(host, self.now)
            return
        wait = {"troubled": None, "at once": 0.0, "later": 5.0}[how]
        self.queue.troubled(host, self.now, since=since, wait_s=wait, why="trouble")
        assert host.down or wait is None or host.not_before >= self.now + wait
        if how == "later" and self.handed[item] == 1:  # tried again
            self.queue.put(host.name, item, first=True)

    def check(self) -> None:
        assert self.queue.waiting == sum(len(host.waiting) for host in self.queue.hosts())
        for host in self.queue.hosts():
            assert host.active == sum(one is host for one, _, _ in self.under_way) >= 0
            assert 1 <= host.limit <= self.per_host

    def run_out(self) -> None:
        """Answer whatever is under way until nothing waits; it always ends."""
        for _ in range(20 * self.number + 20):
            if self.take():
                continue
            if self.under_way:
                self.end(0, "answered")
            elif (moment := self.queue.next_time()) is not None and self.queue.waiting:
                assert moment > self.now
                self.now = moment
            else:
                break
            self.check()
        assert (self.queue.waiting, self.under_way) == (0, [])
        assert set(self.handed) == set(range(self.number)) and max(self.handed.values(), default=1) <= 2


STEPS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(NAMES), st.booleans()),
    st.tuples(st.just("take"), st.integers(1, 6)),
    st.tuples(st.just("end"), st.integers(0, 50), st.sampled_from(["answered", "answered", "troubled", "at once", "later"])),
    st.tuples(st.just("wait"), st.sampled_from([0.01, 0.5, 1.0, 3.0, 20.0])),
)


@settings(max_examples=300)
@given(
    st.integers(1, 4), st.sampled_from([0.0, 0.0, 1.0]), st.lists(STEPS, max_size=80), st.sampled_from([None, None, "the time"])
)
def test_every_item_is_handed_out_once_never_too_many_never_too_soon_and_it_always_ends(
    per_host: int, interval_s: float, steps: list[tuple[object, ...]], stopped: str | None
) -> None:
    walk = Walk(per_host, interval_s)
    for name in NAMES[:2]:
        for _ in range(4):
            walk.put(name)
    for step in steps:
        match step:
            case ("put", str(name), bool(first)):
                walk.put(name, first=first)
            case ("take", int(count)):
                for _ in range(count):
                    walk.take()
            case ("end", int(which), str(how)) if walk.under_way:
                walk.end(which, how)
            case ("wait", float(seconds)):
                walk.now += seconds
        walk.check()
    if stopped:
        walk.queue.stop(stopped)
        before = walk.now
        while walk.take():
            pass
        assert (walk.queue.waiting, walk.now) == (0, before)
    walk.run_out()


# --- What is told of a host ---


def test_what_was_seen_of_a_host_is_written_down_and_read_back() -> None:
    stats = HostStats(visits=3, ok=2, bytes=70, reasons=Counter({"timeout": 1, "gone": 2}), robots="read", seconds=1.23456)
    told = json.loads(json.dumps(stats.to_json()))
    assert list(told["reasons"]) == ["gone", "timeout"] and told["seconds"] == 1.23
    assert HostStats.from_json(told).reasons == stats.reasons


def test_what_two_batches_saw_of_a_host_adds_up() -> None:
    stats = HostStats(visits=3, ok=2, pauses=1, reasons=Counter({"gone": 1}), crawl_delay_s=2.0, seconds=5.0)
    stats.merge(HostStats(visits=4, ok=1, given_up=2, reasons=Counter({"gone": 2, "timeout": 1}), robots="none", seconds=3.0))
    assert (stats.visits, stats.ok, stats.pauses, stats.given_up, stats.robots) == (7, 3, 1, 2, "none")
    assert (stats.reasons, stats.crawl_delay_s, stats.seconds) == (Counter({"gone": 3, "timeout": 1}), 2.0, 5.0)


def test_the_time_spent_on_a_host_runs_from_its_first_visit_to_its_last_answer() -> None:
    queue = queue_of("a", items=3)
    host = known(queue, now=NOW)
    queue.take(NOW + 4)
    queue.answered(host, NOW + 6)
    assert host.stats.seconds == 6.0
