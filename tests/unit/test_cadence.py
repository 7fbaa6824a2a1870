"""When a transaction is committed, by whether its partition keeps up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.contract.settings import Olap
from workers.olap.cadence import Cadence

SETTINGS = Olap(commit_interval_ms=100, backlog_interval_ms=500, commit_events=1_000)


def begun(olap: Olap = SETTINGS, patience_s: float | None = None) -> Cadence:
    cadence = Cadence(olap)
    cadence.begin(10.0, cadence.interval_s if patience_s is None else patience_s)
    return cadence


def test_a_partition_that_keeps_up_commits_each_interval() -> None:
    cadence = begun()
    assert not cadence.is_due(10.09, 99)
    assert cadence.is_due(10.11, 99)


def test_a_partition_with_a_backlog_commits_less_often() -> None:
    cadence = begun()
    cadence.behind = True
    assert not cadence.is_due(10.49, 100)
    assert cadence.is_due(10.51, 100)


def test_one_that_has_caught_up_commits_at_once_what_is_older_than_the_interval() -> None:
    cadence = begun()
    cadence.behind = True
    assert not cadence.is_due(10.3, 100)
    cadence.behind = False
    assert cadence.is_due(10.3, 107)


def test_a_full_transaction_is_committed_whenever_it_is() -> None:
    cadence = begun()
    assert not cadence.is_due(10.0, 999)
    assert cadence.is_due(10.0, 1_000)


def test_without_patience_nothing_is_waited_for_even_in_a_backlog() -> None:
    """As behind a restart, where readers have waited already."""
    cadence = begun(patience_s=0.0)
    cadence.behind = True
    assert cadence.is_due(10.0, 100)


@pytest.mark.parametrize("backlog_ms", [1, 100])
def test_an_interval_that_is_longer_anyway_holds_in_a_backlog_too(backlog_ms: int) -> None:
    cadence = begun(Olap(commit_interval_ms=1_000, backlog_interval_ms=backlog_ms))
    cadence.behind = True
    assert not cadence.is_due(10.99, 1)
    assert cadence.is_due(11.01, 1)


@pytest.mark.parametrize(
    ("commit_s", "window_s"), [(0.0, 0.1), (0.03, 0.07), (0.05, 0.05), (0.08, 0.08), (0.3, 0.1)]
)
def test_a_commit_is_part_of_the_interval_but_never_takes_more_of_it_than_collecting(
    commit_s: float, window_s: float
) -> None:
    cadence = begun()
    cadence.committed(commit_s)
    assert cadence.window_s(0.1) == pytest.approx(window_s)


@given(st.floats(0.001, 60), st.floats(0, 120))
def test_a_window_is_at_most_the_cycle_and_at_least_half_of_it(cycle_s: float, commit_s: float) -> None:
    cadence = begun()
    cadence.committed(commit_s)
    assert cycle_s / 2 <= cadence.window_s(cycle_s) <= cycle_s


@given(
    st.floats(0, 2),
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=5),
    st.integers(0, 999),
)
def test_what_is_left_is_over_when_it_is_due(after_s: float, behind: bool, events: int) -> None:
    cadence = begun()
    cadence.behind = behind
    assert cadence.is_due(10.0 + after_s, events) == (cadence.left_s(10.0 + after_s) == 0)
    assert 0 <= cadence.left_s(10.0 + after_s) <= 0.5 + 1e-6
