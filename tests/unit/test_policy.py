"""What a death means, and how long the successor waits."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.contract.exits import WorkerExit
from supervisor.policy import Backoff, Verdict, judge

VERDICTS = {
    WorkerExit.OK: Verdict.REPLACE,
    WorkerExit.CRASH: Verdict.REPLACE,
    WorkerExit.ORPHANED: Verdict.REPLACE,
    WorkerExit.DOUBT: Verdict.REPLACE,
    WorkerExit.FENCED: Verdict.REPLACE,  # the replacement looks who fenced it, before it takes over
    WorkerExit.CONTESTED: Verdict.GIVE_UP,
    WorkerExit.STATE: Verdict.GIVE_UP,
    WorkerExit.BROKERS_UNREACHABLE: Verdict.WAIT,
    WorkerExit.CONFIGURATION: Verdict.GIVE_UP,
}


def test_every_exit_code_of_a_worker_has_a_verdict() -> None:
    assert {code: judge(code, told_to_stop=False) for code in WorkerExit} == VERDICTS


@pytest.mark.parametrize("code", [-signal.SIGKILL, -signal.SIGSEGV, -signal.SIGTERM, 2, 137, 255])
def test_a_signal_or_an_unknown_code_is_replaced(code: int) -> None:
    assert judge(code, told_to_stop=False) is Verdict.REPLACE


@given(st.integers(-64, 255))
def test_who_was_told_to_stop_has_stopped_however_it_ended(code: int) -> None:
    assert judge(code, told_to_stop=True) is Verdict.STOPPED


def test_the_waits_without_progress_double_up_to_the_cap() -> None:
    backoff = Backoff(first_s=0.1, cap_s=1.0)
    assert [backoff.died(0) for _ in range(8)] == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0])


def test_after_progress_a_death_costs_nothing_again() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.died(10)
    assert backoff.died(11) == 0.0
    assert backoff.died(11) == pytest.approx(0.1)


def test_progress_that_was_made_before_the_first_death_is_counted_once() -> None:
    backoff = Backoff()
    assert [backoff.died(1_000), backoff.died(1_000)] == pytest.approx([0.0, 0.1])


def test_an_offset_that_was_set_back_is_no_progress() -> None:
    backoff = Backoff()
    backoff.died(1_000)
    assert backoff.died(500) == pytest.approx(0.1)


@given(
    st.lists(st.integers(0, 5), max_size=60),
    st.floats(0.001, 1.0),
    st.floats(1.0, 100.0),
)
def test_a_wait_is_bounded_and_never_shrinks_without_progress(
    gains: list[int], first_s: float, cap_s: float
) -> None:
    backoff, progress, last = Backoff(first_s=first_s, cap_s=cap_s), 0, 0.0
    for gain in gains:
        progress += gain
        wait = backoff.died(progress)
        assert 0.0 <= wait <= cap_s
        assert wait == 0.0 if gain else wait >= last
        last = wait


def test_a_thousand_deaths_wait_for_the_cap_and_do_not_overflow() -> None:
    backoff = Backoff(cap_s=10.0)
    waits = [backoff.died(0) for _ in range(1_000)]
    assert set(waits[10:]) == {10.0}
