from __future__ import annotations

import pytest

from supervisor.contract.histogram import BUCKETS, bucket_of
from supervisor.governor.delay import Delay, Look

LATE_MS = 25.0


class Source:
    """A real-time process that shows events, and the delay that is seen of it."""

    def __init__(self) -> None:
        self.delay = Delay(LATE_MS)
        self.counts = [0] * BUCKETS
        self.now_s = 1_000.0
        self.show(0, 1)  # the first look only begins to count,
        self.show(0, 1)  # and the second finds that nothing is missed

    def show(self, age_ms: int, events: int) -> tuple[int, int] | None:
        self.counts[bucket_of(age_ms)] += events
        self.now_s += 0.1
        return self.delay.feed("process", self.counts, 0, self.now_s)

    def look(self, forgiven: float = 0.0) -> Look:
        look = self.delay.look(self.now_s, forgiven)
        assert look is not None
        return look


@pytest.fixture
def burst() -> Source:
    """Two seconds, of which a fifth was late: the last moments."""
    source = Source()
    for moment in range(20):
        source.show(2 if moment < 16 else 200, 50)
    return source


def test_a_burst_is_all_there_is_to_see_in_the_last_moment(burst: Source) -> None:
    assert burst.look().p90_ms > 100
    assert burst.look().p99_ms > 100


def test_what_is_forgiven_is_left_out_and_told_all_the_same(burst: Source) -> None:
    look = burst.look(forgiven=0.3)
    assert look.p90_ms == look.p99_ms < 10
    assert look.unforgiven_ms > 100


def test_more_than_is_forgiven_is_not(burst: Source) -> None:
    assert burst.look(forgiven=0.15).p99_ms > 100


def test_of_a_slow_stream_too_what_is_told_is_not_what_is_forgiven() -> None:
    source = Source()
    for age_ms in [2, 2, 2, 200]:
        source.show(age_ms, 1)
    assert source.look(forgiven=0.4).p99_ms < 10
    assert source.look(forgiven=0.4).unforgiven_ms > 100


def test_late_is_what_is_beyond_the_least_by_more_than_the_bound() -> None:
    source = Source()
    assert source.show(2, 10) == (0, 10)
    assert source.show(200, 7) == (7, 7)


def test_nothing_shown_and_a_new_process_say_nothing_of_lateness() -> None:
    source = Source()
    source.show(200, 7)
    assert source.delay.feed("process", source.counts, 0, source.now_s + 0.1) is None
    assert source.delay.feed("successor", source.counts, 0, source.now_s + 0.2) is None
