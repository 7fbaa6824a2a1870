from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

import pytest

from supervisor.governor.bursts import Bursts


class Clock:
    """Feeds moments of a tenth of a second, fifty events each, ``late`` shares of which are late in turn."""

    def __init__(self) -> None:
        self.bursts = Bursts()
        self.now_s = 1_000.0

    def feed(self, late: Iterable[float], seconds: float, step_s: float = 0.1) -> None:
        shares = cycle(late)
        for _ in range(round(seconds / step_s)):
            self.now_s += step_s
            self.bursts.feed(round(next(shares) * 50), 50, self.now_s)

    @property
    def forgiven(self) -> float:
        return self.bursts.forgiven(self.now_s)


ONE_IN_TEN = [1.0, *[0.0] * 9]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_nothing_is_forgiven_where_nothing_is_known(clock: Clock) -> None:
    assert clock.forgiven == 0


def test_three_times_the_share_at_rest_is_forgiven(clock: Clock) -> None:
    clock.feed(ONE_IN_TEN, 60)
    assert clock.forgiven == pytest.approx(0.27, rel=0.1)


def test_what_the_99th_percentile_leaves_out_anyway_is_not_forgiven(clock: Clock) -> None:
    clock.feed([1.0, *[0.0] * 119], 60)
    assert clock.forgiven == 0


def test_who_looks_once_a_second_sees_the_same(clock: Clock) -> None:
    clock.feed([0.2, 0.0], 60, step_s=1.0)
    assert clock.forgiven == pytest.approx(0.27, rel=0.1)


def test_who_has_seen_little_forgives_less(clock: Clock) -> None:
    clock.feed([0.0, *ONE_IN_TEN], 1.1)
    assert 0 < clock.forgiven < 3 / 11


def test_what_is_late_in_one_piece_is_no_burst(clock: Clock) -> None:
    """A stall says nothing of what comes after it."""
    clock.feed([0.0], 1)
    clock.feed([1.0], 4)
    clock.feed([0.0], 1)
    assert clock.forgiven == 0


def test_a_stall_in_which_nothing_is_shown_is_as_long_as_it_is(clock: Clock) -> None:
    """All that waited comes at once, in one late moment."""
    for silence_s, is_burst in [(0.5, True), (3.0, False)]:
        again = Clock()
        again.feed([0.0], 5)
        again.now_s += silence_s
        again.bursts.feed(round(silence_s * 500), round(silence_s * 500), again.now_s)
        again.feed([0.0], 1)
        assert (again.forgiven > 0) is is_burst


def test_what_was_late_from_the_first_moment_of_a_rest_is_not_counted(clock: Clock) -> None:
    """Nobody knows since when: it may be what was before."""
    for _ in range(10):
        clock.bursts.break_off()
        clock.feed([1.0], 0.5)
        clock.feed([0.0], 1.0)
    assert clock.forgiven == 0


def test_what_is_broken_off_is_not_counted(clock: Clock) -> None:
    for _ in range(10):
        clock.feed([0.0], 1.0)
        clock.feed([1.0], 0.5)
        clock.bursts.break_off()
    assert clock.forgiven == 0


def test_a_rest_that_has_been_over_for_long_tells_nothing(clock: Clock) -> None:
    clock.feed(ONE_IN_TEN, 20)
    known = clock.forgiven
    clock.now_s += 100
    assert clock.forgiven == known
    clock.now_s += 60
    assert clock.forgiven == 0


def test_a_later_rest_tells_how_it_is_now(clock: Clock) -> None:
    clock.feed(ONE_IN_TEN, 20)
    clock.now_s += 60
    clock.feed([0.0], 2)
    assert clock.forgiven == 0


def test_never_so_many_are_forgiven_that_a_queue_would_be(clock: Clock) -> None:
    clock.feed([1.0, 1.0, 0.0], 60)
    assert clock.forgiven == 0.4
