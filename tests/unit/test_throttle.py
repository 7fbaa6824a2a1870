"""The pace of one partition."""

from hypothesis import given
from hypothesis import strategies as st

from workers.olap.throttle import Throttle


def test_without_a_rate_there_is_no_limit_and_nothing_to_wait_for() -> None:
    throttle = Throttle(0.0)
    assert throttle.allowed(0, 1.0) is None
    assert throttle.wait_s(0) == 0


def test_a_limit_begins_with_nothing_saved_up() -> None:
    throttle = Throttle(0.0)
    throttle.allowed(0, 100.0)
    assert throttle.allowed(1_000, 100.0) == 0
    assert throttle.wait_s(1_000) == 0.02
    assert throttle.allowed(1_000, 100.02) == 20


def test_what_was_not_taken_in_time_is_not_made_up_for() -> None:
    throttle = Throttle(0.0)
    assert throttle.allowed(1_000, 60.0) == 100


def test_more_than_allowed_is_a_debt() -> None:
    throttle = Throttle(0.0)
    assert throttle.allowed(1_000, 0.05) == 50
    throttle.take(100)
    assert throttle.allowed(1_000, 0.1) == 0
    assert round(throttle.wait_s(1_000), 6) == 0.02
    assert throttle.allowed(1_000, 0.125) == 25


def test_the_lowest_rate_still_gives_one_event_after_the_other() -> None:
    throttle = Throttle(0.0)
    taken = 0
    for tenth in range(1, 101):
        allowed = throttle.allowed(1, tenth / 10)
        taken += allowed or 0
        throttle.take(allowed or 0)
    assert 9 <= taken <= 10


@given(
    rate=st.integers(1, 1_000_000),
    steps=st.lists(st.floats(0.0001, 0.3), min_size=1, max_size=200),
    available=st.floats(0, 1),
)
def test_never_more_than_the_rate_and_one_burst(rate: int, steps: list[float], available: float) -> None:
    throttle, now, taken = Throttle(0.0), 0.0, 0
    for step in steps:
        now += step
        allowed = throttle.allowed(rate, now)
        assert allowed is not None
        part = int(allowed * available)
        throttle.take(part)
        taken += part
        wait = throttle.wait_s(rate)
        assert wait == 0 or wait <= 1 / rate + 0.0201
    assert taken <= rate * now + 1


@given(rate=st.integers(100, 1_000_000))
def test_who_waits_as_told_gets_the_whole_rate(rate: int) -> None:
    throttle, now, taken = Throttle(0.0), 0.0, 0
    while now < 2:
        allowed = throttle.allowed(rate, now) or 0
        throttle.take(allowed)
        taken += allowed
        now += max(throttle.wait_s(rate), 1e-4) + 0.003
    assert taken >= 0.95 * rate * 2
