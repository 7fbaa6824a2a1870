import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.generate.pace import Pace


def test_events_come_one_by_one_at_even_distances():
    pace = Pace(10.0, now=100.0)
    at = []
    for millisecond in range(1000):
        now = 100.0 + millisecond / 1000
        at += [millisecond] * pace.take(now)
    assert len(at) == 10
    assert all(abs(there - 100 * n) <= 1 for n, there in enumerate(at))


@given(
    rate=st.floats(0.1, 1e6),
    steps=st.lists(st.floats(0.0, 30.0), max_size=60),
)
def test_never_more_than_owed_is_given_and_never_faster_than_twice_the_rate(rate, steps):
    pace, now, taken = Pace(rate, 0.0), 0.0, 0
    allowance = max(1.0, 0.1 * rate)
    for step in steps:
        now += step
        number = pace.take(now)
        taken += number
        assert taken <= now * rate + 1
        assert number <= min(max(1.0, 0.1 * rate), allowance + step * 2 * rate) + 1e-6
        allowance = max(1.0, 0.1 * rate)


def test_after_a_stall_all_that_is_owed_is_sent_at_twice_the_rate():
    pace = Pace(1000.0, 0.0)
    pace.take(0.0)
    taken_by = {}
    taken = 0
    for millisecond in range(10_000, 25_000):  # stalled for ten seconds
        taken += pace.take(millisecond / 1000)
        taken_by[millisecond] = taken
    assert taken_by[10_000] <= 100
    assert taken_by[11_000] == pytest.approx(2_100, abs=10)
    assert taken_by[19_000] < 19_000 <= taken_by[20_100]
    assert taken_by[24_999] == pytest.approx(25_000, abs=2)


@given(rate=st.floats(0.1, 1000), start=st.floats(0, 1e6))
def test_after_the_wait_there_is_something_to_take_and_not_much_before(rate, start):
    pace = Pace(rate, start)
    assert pace.take(start) == 1
    wait = pace.wait_s(start)
    assert wait == pytest.approx(1 / rate, rel=1e-3)
    assert Pace(rate, start).wait_s(start) == 0
    assert pace.take(start + wait * 0.9) == 0
    assert pace.take(start + wait * 1.001) == 1
