"""What a death means, whom it is blamed on, and how long the successor waits."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from supervisor.contract.exits import WorkerExit
from supervisor.contract.settings import Restart
from supervisor.rules.policy import Backoff, Cause, Intent, Verdict, blamed, classify, delays, describe, judge

CAUSES = {
    WorkerExit.OK: Cause.KILLED,  # it drained on a SIGTERM that was not ours
    WorkerExit.CRASH: Cause.CRASH,
    WorkerExit.ORPHANED: Cause.KILLED,
    WorkerExit.DOUBT: Cause.DOUBT,
    WorkerExit.FENCED: Cause.FENCED,
    WorkerExit.STATE: Cause.STATE,
    WorkerExit.CONTESTED: Cause.CONTESTED,
    WorkerExit.DLQ_LIMIT: Cause.DLQ_LIMIT,
    WorkerExit.BROKERS_UNREACHABLE: Cause.BROKERS,
    WorkerExit.CONFIGURATION: Cause.CONFIGURATION,
}
MEANT = {
    Intent.STOP: Cause.STOPPED,
    Intent.RETIRE: Cause.STOPPED,
    Intent.RECYCLE: Cause.RECYCLED,
    Intent.HANG: Cause.HUNG,
    Intent.STALL: Cause.STALLED,
    Intent.MEMORY: Cause.OUT_OF_MEMORY,
    Intent.START_TIMEOUT: Cause.START_TIMEOUT,
}
# Cause: verdict where a spent budget stops everything, verdict where it parks, blamed.
TABLE = {
    Cause.NONE: (Verdict.REPLACE, Verdict.REPLACE, False),
    Cause.STOPPED: (Verdict.STOPPED, Verdict.STOPPED, False),
    Cause.RECYCLED: (Verdict.REPLACE, Verdict.REPLACE, False),
    Cause.CRASH: (Verdict.REPLACE, Verdict.REPLACE, True),
    Cause.KILLED: (Verdict.REPLACE, Verdict.REPLACE, True),
    Cause.OUT_OF_MEMORY: (Verdict.REPLACE, Verdict.REPLACE, True),
    Cause.HUNG: (Verdict.REPLACE, Verdict.REPLACE, True),
    Cause.STALLED: (Verdict.REPLACE, Verdict.REPLACE, True),
    Cause.DOUBT: (Verdict.REPLACE, Verdict.REPLACE, True),
    # The replacement looks who fenced it, before it takes over.
    Cause.FENCED: (Verdict.REPLACE, Verdict.REPLACE, True),
    Cause.BROKERS: (Verdict.WAIT, Verdict.WAIT, False),
    Cause.CONFIGURATION: (Verdict.GIVE_UP, Verdict.GIVE_UP, False),
    Cause.STATE: (Verdict.GIVE_UP, Verdict.PARK, False),
    Cause.CONTESTED: (Verdict.GIVE_UP, Verdict.GIVE_UP, False),
    Cause.DLQ_LIMIT: (Verdict.PARK, Verdict.PARK, False),
    Cause.START_TIMEOUT: (Verdict.REPLACE, Verdict.REPLACE, True),
    Cause.BUDGET: (Verdict.GIVE_UP, Verdict.PARK, False),
}
codes = st.integers(-64, 255)
steady = Restart(backoff_jitter=0.0)


# -- causes ---------------------------------------------------------------------------------------------


def test_every_exit_code_of_a_worker_has_a_cause() -> None:
    assert {code: classify(code, Intent.NONE) for code in WorkerExit} == CAUSES


@given(codes, st.booleans())
def test_what_the_supervisor_meant_goes_before_how_the_process_ended(code: int, out_of_memory: bool) -> None:
    meant = {
        intent: classify(code, intent, out_of_memory=out_of_memory)
        for intent in Intent
        if intent is not Intent.NONE
    }
    assert meant == MEANT


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_people_send_is_a_kill(number: signal.Signals) -> None:
    assert classify(-number, Intent.NONE) is Cause.KILLED


@pytest.mark.parametrize("code", [-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, 2, 137, 255])
def test_any_other_signal_and_any_unknown_code_is_a_crash(code: int) -> None:
    assert classify(code, Intent.NONE) is Cause.CRASH


@given(codes)
def test_only_a_sigkill_can_be_the_kernels_for_want_of_memory(code: int) -> None:
    cause = classify(code, Intent.NONE, out_of_memory=True)
    assert (cause is Cause.OUT_OF_MEMORY) == (code == -signal.SIGKILL)


# -- verdicts -------------------------------------------------------------------------------------------


def test_every_cause_has_its_verdict_and_is_blamed_or_not() -> None:
    assert {cause: (judge(cause), judge(cause, when_spent="park"), blamed(cause)) for cause in Cause} == TABLE


@pytest.mark.parametrize(
    ("cause", "code", "words"),
    [
        (Cause.CRASH, -signal.SIGSEGV, "SIGSEGV"),
        (Cause.CRASH, -63, "signal 63"),
        (Cause.CRASH, 1, "exit code 1, crash"),
        (Cause.CRASH, 7, "exit code 7"),
        (Cause.DOUBT, 21, "exit code 21, doubt"),
        (Cause.BROKERS, 69, "exit code 69, brokers unreachable"),
        (Cause.HUNG, -signal.SIGKILL, "hang"),
        (Cause.OUT_OF_MEMORY, -signal.SIGKILL, "out of memory"),
        (Cause.KILLED, -signal.SIGKILL, "SIGKILL"),
    ],
)
def test_a_death_is_said_as_people_say_it(cause: Cause, code: int, words: str) -> None:
    assert describe(cause, code) == words


# -- backoff --------------------------------------------------------------------------------------------


def test_the_waits_without_progress_double_up_to_the_cap() -> None:
    backoff = Backoff(Restart(backoff_first_s=0.1, backoff_cap_s=1.0, backoff_jitter=0.0))
    assert [backoff.died(0) for _ in range(8)] == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0])


def test_the_delays_that_are_shown_are_those_that_are_waited() -> None:
    backoff = Backoff(steady)
    shown = delays(steady)
    assert [backoff.died(0) for _ in shown] == shown
    assert shown == pytest.approx([0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10])


def test_a_first_delay_above_the_cap_is_cut_off_there() -> None:
    assert delays(Restart(backoff_first_s=5.0, backoff_cap_s=2.0)) == [0.0, 2.0]


def test_after_three_crashes_and_progress_the_next_delay_is_minimal_again() -> None:
    backoff = Backoff(steady)
    assert [backoff.died(10) for _ in range(3)][-1] > 0
    assert [backoff.died(11), backoff.died(11)] == pytest.approx([0.0, 0.1])


def test_progress_that_was_made_before_the_first_death_is_counted_once() -> None:
    backoff = Backoff(steady)
    assert [backoff.died(1_000), backoff.died(1_000)] == pytest.approx([0.0, 0.1])


def test_an_offset_that_was_set_back_is_no_progress() -> None:
    backoff = Backoff(steady)
    backoff.died(1_000)
    assert backoff.died(500) == pytest.approx(0.1)
    assert backoff.died(501) == 0.0  # and whoever goes on from there has made some


def test_a_thousand_deaths_wait_for_the_cap_and_do_not_overflow() -> None:
    backoff = Backoff(steady)
    waits = [backoff.died(0) for _ in range(2_000)]
    assert set(waits[10:]) == {10.0}


def test_workers_at_the_cap_do_not_return_in_step() -> None:
    waits = set()
    for draw in (0.0, 0.25, 0.5, 0.75, 0.999):
        backoff = Backoff(Restart(backoff_cap_s=10.0, backoff_jitter=0.1), lambda draw=draw: draw)
        waits.add([backoff.died(0) for _ in range(20)][-1])
    assert len(waits) == 5
    assert min(waits) == 9.0
    assert 10.9 < max(waits) < 11.0


def test_what_a_person_forgives_is_the_first_death_again() -> None:
    backoff = Backoff(steady)
    for _ in range(5):
        backoff.died(0)
    backoff.forget()
    assert [backoff.died(0), backoff.died(0)] == pytest.approx([0.0, 0.1])


def test_other_numbers_hold_from_the_next_death_on_and_the_deaths_before_count() -> None:
    backoff = Backoff(steady)
    for _ in range(3):
        backoff.died(0)
    backoff.adopt(Restart(backoff_first_s=1.0, backoff_cap_s=100.0, backoff_jitter=0.0))
    assert [backoff.died(0), backoff.died(0)] == pytest.approx([4.0, 8.0])


class BackoffMachine(RuleBasedStateMachine):
    """Deaths and progress in any order, with every draw of the jitter."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = Restart(backoff_first_s=0.1, backoff_cap_s=3.0, backoff_jitter=0.2)
        self.draw = 0.0
        self.backoff = Backoff(self.settings, lambda: self.draw)
        self.progress = 0
        self.deaths = 0
        self.wait = 0.0
        self.nominal = 0.0

    @rule(offsets=st.integers(1, 1_000))
    def commit(self, offsets: int) -> None:
        self.progress += offsets
        self.deaths = 0

    @rule(draw=st.floats(0, 1, exclude_max=True))
    def die(self, draw: float) -> None:
        self.draw = draw
        self.wait = self.backoff.died(self.progress)
        shown = delays(self.settings)
        self.nominal = shown[min(self.deaths, len(shown) - 1)]
        self.deaths += 1

    @invariant()
    def the_wait_is_the_one_shown_give_or_take_the_jitter(self) -> None:
        assert self.nominal * 0.8 - 1e-9 <= self.wait <= self.nominal * 1.2 + 1e-9


TestBackoff = BackoffMachine.TestCase
