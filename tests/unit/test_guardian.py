"""The guardian: what is left of the workers' groups goes when the supervisor goes. With real processes."""

from __future__ import annotations

import array
import contextlib
import fcntl
import logging
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from pathlib import Path

import pytest

from supervisor.host import guardian as guardians
from supervisor.host import instance
from supervisor.host.guardian import Guardian
from supervisor.host.loop import Loop
from tests.procfs import descriptors, left_open

_DEADLINE_S = 30.0

# A worker's group is a shell here, and a grandchild that it has started.
SUPERVISOR = """
import os, subprocess, sys, time
from supervisor.host.guardian import Guardian
from supervisor.host.loop import Loop

def group():
    shell = subprocess.Popen(
        ["sh", "-c", "sleep 600 & echo $!; wait"], process_group=0, stdout=subprocess.PIPE, text=True
    )
    return shell, int(shell.stdout.readline())

loop = Loop()
guardian = Guardian(loop)
(shell, child), (other, others_child) = group(), group()
guardian.guard(shell.pid)
guardian.guard(other.pid)
guardian.release(other.pid)
print(guardian.pid, shell.pid, child, other.pid, others_child, flush=True)
sys.stdin.readline()
{end}
"""


class Processes:
    """Processes that are not our children, by descriptors that no reuse of a pid can mislead."""

    def __init__(self, *pids: int) -> None:
        self.descriptors = [os.pidfd_open(pid) for pid in pids]

    def all_gone(self, seconds: float = _DEADLINE_S) -> bool:
        left = list(self.descriptors)
        while left:
            ended = wait(left, seconds)
            if not ended:
                return False
            left = [descriptor for descriptor in left if descriptor not in ended]
        return True

    def all_there(self) -> bool:
        return not wait(self.descriptors, 0)

    def close(self) -> None:
        for descriptor in self.descriptors:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)


@contextlib.contextmanager
def watched(*pids: int) -> Iterator[Processes]:
    processes = Processes(*pids)
    try:
        yield processes
    finally:
        processes.close()


@contextlib.contextmanager
def supervisor(end: str = "") -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR.format(end=end)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, [int(pid) for pid in process.stdout.readline().split()]
        finally:
            process.kill()


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a group, as a worker does."""
    with subprocess.Popen(["sleep", "600"], process_group=0) as process:
        yield process
        process.kill()


def run_until(loop: Loop, holds: Callable[[], bool]) -> None:
    def look() -> None:
        if holds():
            loop.stop()
        else:
            loop.after(0.005, look)

    look()
    loop.after(_DEADLINE_S, lambda: pytest.fail("it did not come to hold"))
    loop.run()
    loop._stopped = False


def has_read(guardian: Guardian) -> bool:
    """Whether it has taken from the pipe all that it was told: it has started, then."""
    return array.array("i", fcntl.ioctl(guardian._pipe, termios.FIONREAD, bytes(4)))[0] == 0


def test_a_killed_supervisor_leaves_nothing_of_a_workers_group_and_no_guardian() -> None:
    with supervisor() as (process, pids):
        guardian, shell, child, other, others_child = pids
        with watched(guardian, shell, child) as ours, watched(other, others_child) as released:
            process.kill()
            assert ours.all_gone()
            assert released.all_there(), "what was released is nobody's business any more"


@pytest.mark.parametrize(
    "end",
    ["", "sys.exit(1)", "os._exit(3)", "raise ZeroDivisionError", "os.abort()", "guardian.close()"],
    ids=["it returns", "it exits", "it exits at once", "an exception", "a crash", "it says goodbye"],
)
def test_however_the_supervisor_ends_the_guardian_does_its_work_and_ends(end: str) -> None:
    with supervisor(end) as (process, pids):
        guardian, shell, child, *released = pids
        with watched(guardian, shell, child) as ours, watched(*released):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            assert ours.all_gone()


def test_signals_that_everybody_gets_do_not_reach_the_guardian() -> None:
    """A terminal's go to the group, systemd's to the cgroup. It is born with all of them blocked."""
    with supervisor() as (process, pids):
        guardian, shell, child, *released = pids
        with watched(guardian, shell, child) as ours, watched(*released):
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                with contextlib.suppress(OSError):  # two are the C library's own
                    os.kill(guardian, number)
            assert ours.all_there()
            assert (os.getpgid(guardian), os.getsid(guardian)) == (guardian, guardian)
            process.kill()
            assert ours.all_gone()


def test_the_guardian_holds_nothing_of_the_supervisors_open(loop: Loop, tmp_path: Path) -> None:
    lock = instance.claim(tmp_path)
    guardian = Guardian(loop)
    guardian.guard(2**22 + 1)
    run_until(loop, lambda: has_read(guardian))
    held = dict(descriptors(guardian.pid))
    assert str(tmp_path / "lock") not in held.values()
    assert (held[1], held[2]) == ("/dev/null", "/dev/null")
    guardian.close()
    lock.close()


def test_closing_waits_for_its_end_and_leaves_no_zombie_and_no_descriptor(loop: Loop) -> None:
    before = descriptors()
    for _ in range(20):
        guardian = Guardian(loop)
        pid = guardian.pid
        assert pid is not None
        guardian.close()
        assert not Path(f"/proc/{pid}").exists()
        assert guardian.pid is None
        guardian.close()
    assert left_open(before) < 20


def test_a_guardian_that_was_killed_is_replaced_and_the_next_one_knows_everything(
    loop: Loop, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardians, "_SETTLED_S", 0.01)
    guardian = Guardian(loop)
    first = guardian.pid
    guardian.guard(sleeper.pid)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    run_until(loop, lambda: guardian.pid not in (None, first) and has_read(guardian))
    guardian.close()
    assert sleeper.wait(_DEADLINE_S) == -signal.SIGKILL


def test_what_is_released_while_there_is_no_guardian_is_not_told_to_the_next_one(
    loop: Loop, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardians, "_SETTLED_S", 0.01)
    guardian = Guardian(loop)
    first = guardian.pid
    guardian.guard(sleeper.pid)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert wait([guardian._pidfd], _DEADLINE_S)
    guardian.release(sleeper.pid)  # the pipe has no reader: that is no error either
    run_until(loop, lambda: guardian.pid not in (None, first) and has_read(guardian))
    with watched(sleeper.pid) as processes:
        guardian.close()
        assert not processes.all_gone(0.1)


def test_a_guardian_that_cannot_live_is_not_started_as_fast_as_the_machine_can(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program = tmp_path / "program"
    program.write_text("raise SystemExit(1)")
    monkeypatch.setattr(guardians, "_PROGRAM", program)
    monkeypatch.setattr(guardians, "_SETTLED_S", 60.0)
    guardian = Guardian(loop)
    with caplog.at_level(logging.WARNING):
        run_until(loop, lambda: guardian.pid is None)
    assert "the guardian ended; replaced in 60 s" in caplog.text
    guardian.close()
    assert guardian.pid is None


def test_where_there_is_no_room_for_a_guardian_it_is_tried_again(
    loop: Loop, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_arguments: object, **_options: object) -> int:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(guardians, "_SETTLED_S", 0.01)
    before = descriptors()
    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_spawn", no_room)
        for _ in range(20):
            refused = Guardian(loop)
            refused.guard(sleeper.pid)
            refused.close()
        assert left_open(before) < 20
        guardian = Guardian(loop)
        assert guardian.pid is None
        guardian.guard(sleeper.pid)
    run_until(loop, lambda: guardian.pid is not None and has_read(guardian))
    guardian.close()
    assert sleeper.wait(_DEADLINE_S) == -signal.SIGKILL


def test_a_guardian_that_does_not_read_holds_nobody_up_and_is_replaced(
    loop: Loop, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardians, "_SETTLED_S", 0.01)
    guardian = Guardian(loop)
    first = guardian.pid
    assert first is not None
    guardian.guard(sleeper.pid)
    os.kill(first, signal.SIGSTOP)
    for _ in range(20_000):  # more than a pipe holds
        guardian.guard(sleeper.pid)
    run_until(loop, lambda: guardian.pid not in (None, first) and has_read(guardian))
    guardian.close()
    assert sleeper.wait(_DEADLINE_S) == -signal.SIGKILL


def test_what_is_in_a_workers_cgroup_is_killed_too(loop: Loop, tmp_path: Path) -> None:
    """A file stands for the kernel's; its path has a blank in it."""
    leaf = tmp_path / "olap-0 of ours"
    leaf.mkdir()
    (leaf / "cgroup.kill").touch()
    with subprocess.Popen(["true"], process_group=0) as gone:
        gone.wait()
        guardian = Guardian(loop)
        guardian.guard(gone.pid)
        guardian.guard(gone.pid, leaf)
        run_until(loop, lambda: has_read(guardian))
        guardian.close()
    assert (leaf / "cgroup.kill").read_text() == "1"


def test_the_guardian_is_small(loop: Loop) -> None:
    """It stands beside every supervisor for ever: 2.6 MB to itself, which a few modules would double."""
    guardian = Guardian(loop)
    guardian.guard(2**22 + 1)
    run_until(loop, lambda: has_read(guardian))
    lines = Path(f"/proc/{guardian.pid}/smaps_rollup").read_text().splitlines()
    guardian.close()
    (private,) = (int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))
    assert private < 5_000
