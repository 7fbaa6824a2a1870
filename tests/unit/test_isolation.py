"""Which CPUs each role gets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.rules.isolation import olap_cpus, realtime_cpus

machines = st.lists(st.integers(0, 63), min_size=1, max_size=64, unique=True)


def test_on_a_small_machine_nobody_is_bound() -> None:
    for available in ([0], [0, 1], [0, 1, 2]):
        assert realtime_cpus([], available) == ()
        assert olap_cpus(0, [], available) == ()


def test_with_four_cpus_the_first_is_the_real_time_workers_alone() -> None:
    assert realtime_cpus([], [4, 5, 6, 7]) == (4,)
    assert olap_cpus(0, [], [4, 5, 6, 7]) == (5, 6, 7)


@given(machines, st.integers(0, 100))
def test_what_the_supervisor_chooses_never_overlaps_and_leaves_no_cpu_out(
    available: list[int], index: int
) -> None:
    realtime, olap = set(realtime_cpus([], available)), set(olap_cpus(index, [], available))
    assert not realtime & olap
    assert realtime | olap in (set(), set(available))
    assert bool(realtime) == bool(olap)


def test_configured_cpus_are_taken_as_they_are_and_shared_out_in_turn() -> None:
    assert realtime_cpus([3, 1], [0, 1, 2, 3]) == (3, 1)
    assert [olap_cpus(index, [2, 5], range(8)) for index in range(4)] == [(2,), (5,), (2,), (5,)]
