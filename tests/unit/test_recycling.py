"""When a worker is replaced although nothing is wrong with it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.contract.settings import Limits
from supervisor.rules.recycling import Reason, Recycling

MB = 1024 * 1024


def recycling(draw: float = 0.5, **limits: float) -> Recycling:
    """Born at 1,000 s; a draw of 0.5 is no jitter."""
    return Recycling(Limits(**limits), 1_000.0, lambda: draw)  # type: ignore[arg-type]


@given(st.floats(0, 1e9), st.integers(0, 10**12), st.integers(0, 10**12))
def test_without_limits_nothing_is_ever_due(age_s: float, events: int, rss: int) -> None:
    assert recycling().due(1_000.0 + age_s, events, rss) is None


def test_a_worker_is_due_at_its_age_and_not_before() -> None:
    process = recycling(max_age_s=600.0)
    assert process.due(1_599.9, 0, 0) is None
    assert process.due(1_600.0, 0, 0) is Reason.AGE


def test_a_worker_is_due_at_its_count_and_not_before() -> None:
    process = recycling(max_events=1_000)
    assert process.due(1_000.0, 999, 0) is None
    assert process.due(1_000.0, 1_000, 0) is Reason.COUNT


@pytest.mark.parametrize(("draw", "limit"), [(0.0, 900), (0.5, 1_000), (1.0, 1_100)])
def test_the_jitter_moves_both_limits_in_both_directions(draw: float, limit: int) -> None:
    process = recycling(draw, max_events=1_000, jitter=0.1)
    assert [process.due(1_000.0, events, 0) for events in (limit - 1, limit)] == [None, Reason.COUNT]
    process = recycling(draw, max_age_s=1_000.0, jitter=0.1)
    assert [process.due(1_000.0 + age, 0, 0) for age in (limit - 1, limit)] == [None, Reason.AGE]


def test_the_jitter_is_drawn_once_for_each_process() -> None:
    """Drawn at each look, the lowest draw would win."""
    chance = random.Random(1)
    draws = []

    def draw() -> float:
        draws.append(chance.random())
        return draws[-1]

    process = Recycling(Limits(max_age_s=600.0, max_events=10**9), 0.0, draw)
    drawn = len(draws)
    for second in range(500):
        process.due(float(second), 0, 0)
    assert len(draws) == drawn


def test_workers_born_together_are_not_all_due_together() -> None:
    chance = random.Random(1)
    limits = Limits(max_age_s=1_000.0, jitter=0.1)
    crew = [Recycling(limits, 0.0, chance.random) for _ in range(16)]
    due_at = {next(second for second in range(2_000) if process.due(float(second), 0, 0)) for process in crew}
    assert len(due_at) >= 12
    assert min(due_at) >= 900
    assert max(due_at) <= 1_100


def test_memory_above_the_soft_limit_is_due_only_after_so_many_looks_in_a_row() -> None:
    process = recycling(memory_soft_mb=100, memory_samples=3, memory_interval_s=5.0)
    sizes = [101, 101, 100, 101, 101, 101, 99]
    found = [process.due(1_000.0 + 5 * number, 0, size * MB) for number, size in enumerate(sizes)]
    assert found == [None, None, None, None, None, Reason.MEMORY_SOFT, None]


def test_asking_more_often_than_the_interval_is_not_looking_more_often() -> None:
    process = recycling(memory_soft_mb=100, memory_samples=3, memory_interval_s=5.0)
    first_due = next(
        tenth for tenth in range(1_000) if process.due(1_000.0 + tenth / 10, 0, 200 * MB) is not None
    )
    assert first_due >= 50


def test_looks_that_come_a_little_early_are_counted_all_the_same() -> None:
    process = recycling(memory_soft_mb=100, memory_samples=3, memory_interval_s=5.0)
    assert [process.due(1_000.0 + 4.99 * number, 0, 200 * MB) for number in range(3)] == [
        None,
        None,
        Reason.MEMORY_SOFT,
    ]


def test_a_look_that_could_not_measure_changes_nothing() -> None:
    process = recycling(memory_soft_mb=100, memory_samples=2, memory_interval_s=5.0)
    sizes = [200, 0, 0, 200]
    found = [process.due(1_000.0 + 5 * number, 0, size * MB) for number, size in enumerate(sizes)]
    assert found == [None, None, None, Reason.MEMORY_SOFT]


def test_memory_above_the_hard_limit_is_due_at_once_and_before_everything_else() -> None:
    process = recycling(memory_soft_mb=100, memory_hard_mb=200, memory_samples=1, max_events=1, max_age_s=1.0)
    assert process.due(2_000.0, 10, 201 * MB) is Reason.MEMORY_HARD
    assert process.due(2_005.0, 10, 200 * MB) is Reason.MEMORY_SOFT
    assert process.due(2_010.0, 10, 100 * MB) is Reason.COUNT
    assert process.due(2_015.0, 0, 100 * MB) is Reason.AGE


def test_other_limits_hold_for_a_process_that_is_there_varied_as_they_were_at_its_birth() -> None:
    draws = iter([0.0, 1.0])
    process = Recycling(Limits(), 1_000.0, lambda: next(draws))
    assert process.due(10_000.0, 10_000, 0) is None
    process.adopt(Limits(max_age_s=1_000.0, jitter=0.1))
    assert [process.due(1_000.0 + age, 10_000, 0) for age in (899, 900)] == [None, Reason.AGE]
    process.adopt(Limits(max_events=1_000, jitter=0.1))
    assert [process.due(10_000.0, events, 0) for events in (1_099, 1_100)] == [None, Reason.COUNT]
    process.adopt(Limits())
    assert process.due(10_000.0, 10_000, 0) is None


def test_looks_above_one_soft_limit_do_not_count_for_another() -> None:
    process = recycling(memory_soft_mb=100, memory_samples=3, memory_interval_s=5.0)
    assert [process.due(1_000.0 + 5 * number, 0, 200 * MB) for number in range(2)] == [None, None]
    process.adopt(Limits(memory_soft_mb=150, memory_samples=3, memory_interval_s=5.0))
    found = [process.due(1_010.0 + 5 * number, 0, 200 * MB) for number in range(3)]
    assert found == [None, None, Reason.MEMORY_SOFT]
