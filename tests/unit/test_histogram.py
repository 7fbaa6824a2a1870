"""The latency histogram: where a value falls, and how far off a quantile can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.contract.histogram import BUCKETS, Histogram, bucket_of, lower_bound

LAST = lower_bound(BUCKETS - 1)
milliseconds = st.integers(min_value=0, max_value=LAST)


@pytest.mark.parametrize(
    ("value", "bucket"),
    [(-1, 0), (-(10**12), 0), (0, 0), (15, 15), (16, 16), (17, 16), (18, 17), (31, 23), (32, 24)],
)
def test_small_values_fall_into_known_buckets(value: int, bucket: int) -> None:
    assert bucket_of(value) == bucket


def test_the_buckets_follow_each_other_without_gap_or_overlap() -> None:
    bounds = [lower_bound(bucket) for bucket in range(BUCKETS)]
    assert bounds == sorted(set(bounds))
    for bucket in range(1, BUCKETS):
        assert bucket_of(bounds[bucket]) == bucket
        assert bucket_of(bounds[bucket] - 1) == bucket - 1


@given(milliseconds)
def test_a_bucket_is_within_an_eighth_of_its_values(value: int) -> None:
    bound = lower_bound(bucket_of(value))
    assert bound <= value <= bound + max(0, bound // 8)


def test_the_last_bucket_begins_at_about_four_minutes_and_takes_everything_beyond() -> None:
    assert 230_000 <= LAST <= 260_000
    assert {bucket_of(value) for value in (LAST, 2 * LAST, 10**15, 2**63)} == {BUCKETS - 1}


def test_nothing_counted_has_no_quantile() -> None:
    assert Histogram.quantile([0] * BUCKETS, 0.5) is None


@given(st.lists(milliseconds, min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_the_bucket_of_the_value_at_that_rank(values: list[int], share: float) -> None:
    histogram = Histogram([0] * BUCKETS)
    histogram.add(values)
    exact = next(value for place, value in enumerate(sorted(values), start=1) if place >= share * len(values))
    assert Histogram.quantile(histogram.counts(), share) == lower_bound(bucket_of(exact))


def test_counts_are_a_copy_that_later_values_do_not_change() -> None:
    histogram = Histogram([0] * BUCKETS)
    histogram.add([3, 3])
    before = histogram.counts()
    histogram.add([3])
    assert (before[3], histogram.counts()[3]) == (2, 3)
