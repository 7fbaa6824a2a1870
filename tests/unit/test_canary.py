"""Whether the first worker of a reload does worse than the one before it."""

from __future__ import annotations

import time
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.rules.canary import Sample, _chance, compare

BEFORE = Sample(events=1_000, dead_letters=10, seconds=10.0)
sizes = st.integers(1, 60)


def sample(events: int, dead_letters: int = 0, seconds: float = 5.0) -> Sample:
    return Sample(events, dead_letters, seconds)


@given(sizes, st.integers(0, 60), st.floats(0.1, 100.0), st.integers(0, 10**9))
def test_a_canary_that_does_what_was_done_before_is_never_worse(
    events: int, dead_letters: int, seconds: float, lag: int
) -> None:
    same = Sample(events, min(events, dead_letters), seconds)
    assert compare(same, same, lag) is None


def test_to_commit_nothing_with_lag_all_the_time_is_worse_and_without_lag_it_is_not() -> None:
    assert compare(BEFORE, sample(0), lag=1) == "it committed nothing in 5.0 s with a lag of 1"
    assert compare(BEFORE, sample(0), lag=0) is None


def test_a_canary_on_a_quiet_topic_with_nothing_before_is_not_worse() -> None:
    assert compare(Sample(0, 0, 0.0), sample(0), lag=0) is None
    assert compare(Sample(0, 0, 0.0), sample(100, 50), lag=0) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (sample(1_000), sample(3, 3)),
        (sample(1_000, 10), sample(200, 20)),
        (sample(1_000, 10), sample(5, 5)),
        (sample(1_000_000, 10), sample(2_000, 10)),
        (sample(100, 60), sample(100, 100)),  # twice is not possible, and the rest is lost
    ],
)
def test_a_share_of_dead_letters_that_is_clearly_above_is_worse(before: Sample, after: Sample) -> None:
    found = compare(before, after, lag=0)
    assert found is not None
    assert "dead letters" in found


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (sample(100_000), sample(2, 2)),  # two records say little
        (sample(1_000, 5), sample(200, 3)),
        (sample(1_000, 5), sample(200, 5)),  # 1 in 66: a reload a day would fail every other month
        (sample(1_000, 10), sample(10, 1)),
        (sample(1_000_000, 10_000), sample(1_000_000, 11_000)),  # certain, and of no account
        (sample(10_000_000), sample(1_000_000, 20)),  # certain, and 1 in 50,000
        (sample(1_000, 300), sample(1_000, 500)),  # bad, and was bad before: dlq.max_ratio is for that
    ],
)
def test_what_may_be_chance_or_is_of_no_account_is_not_worse(before: Sample, after: Sample) -> None:
    assert compare(before, after, lag=0) is None


def test_it_says_how_it_is_worse() -> None:
    assert compare(BEFORE, sample(500, 250), lag=0) == (
        "50.0% of its events became dead letters, 1.0% before"
    )
    assert compare(BEFORE, sample(100), lag=5_000) == (
        "it commits 20 events/s with a lag of 5,000, 100 before"
    )


def test_slow_is_worse_only_while_it_is_really_behind() -> None:
    slow = sample(240)
    assert compare(BEFORE, slow, lag=101) is not None
    # What is in flight between two commits is no lag to speak of; less came in, less was done.
    assert compare(BEFORE, slow, lag=100) is None
    assert compare(BEFORE, sample(250), lag=101) is None


def test_too_few_events_say_nothing_about_speed() -> None:
    before = Sample(events=100, dead_letters=0, seconds=10.0)
    assert compare(before, Sample(30, 0, 9.9), lag=1_000) is None
    assert compare(before, Sample(30, 0, 10.0), lag=1_000) is not None


@given(sizes, sizes, st.data())
def test_the_chance_is_that_of_fishers_exact_test(before: int, after: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, before))
    found = data.draw(st.integers(0, after))
    if found * before <= bad * after:
        return  # asked above the mean only
    total_bad = bad + found
    ways = sum(
        comb(total_bad, count) * comb(before + after - total_bad, after - count)
        for count in range(found, min(total_bad, after) + 1)
    )
    exact = ways / comb(before + after, after)
    assert _chance(sample(before, bad), sample(after, found)) == pytest.approx(exact, rel=1e-6)


def test_huge_counts_take_no_time() -> None:
    """It runs in the supervisor's loop."""
    before, after = sample(10**9, 10**6), sample(10**9, 3 * 10**6)
    started = time.process_time()
    for _ in range(100):
        assert compare(before, after, lag=0) is not None
    assert time.process_time() - started < 1.0
