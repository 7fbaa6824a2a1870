"""The demo's parts as real processes: how they end, and what is said of it."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.contract.faults import Fault
from supervisor.demo.part import Part
from supervisor.host.interrupts import Interrupted, Interrupts


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Part]]:
    parts = []

    def start(*arguments: str, kept: bool = False) -> Part:
        parts.append(Part("generator", arguments, tmp_path / "part.log", kept=kept))
        return parts[-1]

    yield start
    for part in parts:
        part.end(signal.SIGKILL, 10, lambda: False)


@pytest.fixture
def deaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is started from now on is a program that does nothing, for a long time."""
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def never() -> bool:
    return False


def wait(part: Part) -> None:
    while part.exit_code is None:
        time.sleep(0.01)


def test_one_that_ends_by_itself_is_a_fault_with_its_last_lines(start: Callable[..., Part]) -> None:
    part = start("nonsense")
    wait(part)
    with pytest.raises(Fault) as caught:
        part.require_running()
    cause = caught.value.cause
    assert cause.startswith("the generator ended unexpectedly (exit code 2); its last lines were:\n  ")
    assert "No such command 'nonsense'" in cause
    assert caught.value.remedy == "run it again with --keep, to have the whole log"


def test_where_the_log_is_kept_the_remedy_names_it(start: Callable[..., Part], tmp_path: Path) -> None:
    assert start("--help", kept=True).fault("is slow").remedy == f"see {tmp_path / 'part.log'}"


def test_one_that_was_killed_says_by_what(start: Callable[..., Part], deaf: None) -> None:
    part = start()
    assert part.exit_code is None
    part.require_running()
    assert part.end(signal.SIGKILL, 10, never) == -signal.SIGKILL
    with pytest.raises(Fault, match=r"killed by SIGKILL"):
        part.require_running()


def test_a_variable_of_the_shell_does_not_reach_it(
    start: Callable[..., Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPERVISOR_TOPICS_PARTITIONS", "nonsense")
    part = start("config", "show")
    wait(part)
    assert "nonsense" not in "\n".join(part.log_lines())
    assert part.exit_code == 0


def test_one_that_does_not_heed_the_signal_is_killed_after_a_while(
    start: Callable[..., Part], deaf: None
) -> None:
    assert start().end(signal.SIGCONT, 0.05, never) == -signal.SIGKILL


def test_an_end_that_is_hastened_does_not_wait_and_twice_is_as_once(
    start: Callable[..., Part], deaf: None
) -> None:
    part = start()
    assert part.end(signal.SIGCONT, 3_600, lambda: True) == -signal.SIGKILL
    assert part.end(signal.SIGCONT, 3_600, never) == -signal.SIGKILL


def test_a_signal_is_counted_and_acted_upon_where_it_is_safe() -> None:
    with Interrupts() as interrupts:
        interrupts.check()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert (interrupts.count, interrupts.number) == (2, signal.SIGINT)
        with pytest.raises(Interrupted):
            interrupts.check()


def test_within_at_once_a_signal_raises_on_the_spot_and_afterwards_not() -> None:
    with Interrupts() as interrupts:
        with interrupts.at_once(), pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert interrupts.count == 2
        with pytest.raises(Interrupted):
            interrupts.at_once().__enter__()


def test_one_that_is_ignored_stays_ignored_and_the_others_are_given_back() -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    before = signal.getsignal(signal.SIGINT)
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGHUP)
            assert interrupts.count == 0
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGHUP, former)
