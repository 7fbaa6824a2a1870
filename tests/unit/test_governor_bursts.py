from __future__ import annotations

import pytest

from supervisor.governor.bursts import Bursts


def feed(bursts: Bursts, pattern: list[float], seconds: float, *, resting: bool) -> None:
    """A tenth of a second each, over and over."""
    for step in range(round(seconds * 10)):
        bursts.feed(pattern[step % len(pattern)], 0.1, resting=resting)


ONE_IN_TEN = [1.0, *[0.0] * 9]


def test_nothing_is_forgiven_where_nothing_is_known() -> None:
    assert Bursts().forgiven == 0


def test_twice_the_share_at_rest_is_forgiven() -> None:
    bursts = Bursts()
    feed(bursts, ONE_IN_TEN, 60, resting=True)
    assert bursts.forgiven == pytest.approx(0.2, rel=0.1)


def test_who_has_seen_little_forgives_little() -> None:
    bursts = Bursts()
    feed(bursts, ONE_IN_TEN, 1.0, resting=True)
    assert 0 < bursts.forgiven <= 0.1


def test_what_is_late_in_one_piece_is_no_burst() -> None:
    """A stall says nothing of what comes after it."""
    bursts = Bursts()
    feed(bursts, [1.0], 4, resting=True)
    feed(bursts, [0.0], 1, resting=True)
    assert bursts.forgiven == 0


def test_what_was_late_at_work_and_ended_by_rest_is_no_burst_at_rest() -> None:
    bursts = Bursts()
    for _ in range(10):
        feed(bursts, [1.0], 0.5, resting=False)
        feed(bursts, [0.0], 2.0, resting=True)
    assert bursts.forgiven == 0


def test_it_is_over_once_there_is_none_while_the_olap_side_works() -> None:
    bursts = Bursts()
    feed(bursts, ONE_IN_TEN, 20, resting=True)
    feed(bursts, ONE_IN_TEN, 20, resting=False)
    assert bursts.forgiven > 0.1
    feed(bursts, [0.0], 60, resting=False)
    assert bursts.forgiven < 0.03


def test_more_of_them_at_work_than_at_rest_are_not_forgiven() -> None:
    bursts = Bursts()
    feed(bursts, [0.0], 20, resting=True)
    feed(bursts, ONE_IN_TEN, 60, resting=False)
    assert bursts.forgiven == 0


def test_never_so_many_are_forgiven_that_a_queue_would_be() -> None:
    bursts = Bursts()
    feed(bursts, [1.0, 1.0, 0.0], 60, resting=True)
    assert bursts.forgiven == 0.4
