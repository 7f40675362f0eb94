"""How many requests are under way together, and when a quota lets the next one go."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from pipeline.clients.annotation_posting import FIRST, RESET_MARGIN_S, Pace, Slots
from pipeline.domain.rate_limit import RateLimit


def told(left: int, reset_s: int, quota: int = 100) -> RateLimit:
    return RateLimit(quota, 60, left, reset_s)


def begin(pace: Pace, count: int, now: float) -> None:
    for _ in range(count):
        assert pace.wait_s(now) == 0
        pace._under_way += 1


def test_until_the_first_answer_one_request_goes_alone() -> None:
    pace = Pace()
    assert pace.wait_s(0) == 0
    begin(pace, 1, 0.0)
    assert pace.wait_s(0) > 0
    pace.observe(RateLimit(), 0)
    pace.give()
    begin(pace, 50, 0.0)  # a server that says nothing of a quota has none
    assert pace.wait_s(0) == 0


def test_requests_under_way_count_against_what_is_left() -> None:
    pace = Pace()
    pace.observe(told(3, 10), now=0.0)
    begin(pace, 3, 0.5)
    assert pace.wait_s(1.0) > 0
    pace.observe(told(2, 9), now=1.0)
    pace.give()
    assert pace.wait_s(1.0) > 0  # two are left, and two are under way
    for left in (1, 0):
        pace.observe(told(left, 9), now=1.0)
        pace.give()
    assert 8 < pace.wait_s(1.0) <= 10 + RESET_MARGIN_S
    assert pace.wait_s(11.0 + RESET_MARGIN_S) == 0  # a new window


def test_an_answer_of_the_window_before_does_not_take_the_new_window_away() -> None:
    pace = Pace()
    pace.observe(told(0, 5), now=0.0)
    assert pace.wait_s(5 + RESET_MARGIN_S) == 0
    pace.observe(told(99, 60), now=6.5)
    pace.observe(told(98, 60), now=6.6)
    begin(pace, 98, 6.7)
    assert pace.wait_s(6.7) > 0


@given(st.integers(1, 30), st.lists(st.integers(1, 6), min_size=5, max_size=60))
def test_a_quota_is_never_overstepped_however_many_are_under_way(quota: int, waves: list[int]) -> None:
    """A server with windows of 10 s that answers each wave 0.3 s later, the oldest request last."""
    pace, now, used, window = Pace(), 100.0, 0, -1
    for wanted in waves * 3:
        wave = 0
        while wave < wanted:
            if (wait := pace.wait_s(now)) == 0:
                begin(pace, 1, now)
                wave += 1
            elif wave:
                break
            else:
                now += wait
        answers = []
        for _ in range(wave):  # as they arrive
            if int(now) // 10 != window:
                window, used = int(now) // 10, 0
            used += 1
            assert used <= quota
            answers.append(RateLimit(quota, 10, quota - used, 10 - int(now) % 10))
        now += 0.3
        for answer in reversed(answers):
            pace.observe(answer, now)
            pace.give()


def test_good_answers_let_more_requests_go_together_and_trouble_halves_them_once() -> None:
    slots = Slots(40)
    for _ in range(100):
        slots.speed_up()
    assert slots.limit == 40
    started = slots._cut_at
    for _ in range(5):  # of one wave
        slots.slow_down(started)
    assert slots.limit == 20
    assert Slots(3).limit == 3 and Slots(100).limit == FIRST


def test_a_place_that_is_given_back_goes_to_the_one_who_waits() -> None:
    async def work() -> list[int]:
        slots, order = Slots(2), []

        async def one(number: int) -> None:
            await slots.take()
            order.append(number)
            await asyncio.sleep(0)
            slots.give()

        await asyncio.gather(*(one(number) for number in range(20)))
        assert slots.used == 0
        return order

    assert sorted(asyncio.run(work())) == list(range(20))


def test_one_who_was_cancelled_while_waiting_takes_no_place() -> None:
    async def work() -> int:
        slots = Slots(1)
        await slots.take()
        cancelled, next_one = (asyncio.ensure_future(slots.take()) for _ in range(2))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.sleep(0)
        slots.give()
        await next_one
        return slots.used

    assert asyncio.run(work()) == 1
