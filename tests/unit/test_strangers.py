"""Orphans are collected by whoever adopts them, ours are not: as a subreaper, and as PID 1."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from supervisor.host import strangers
from supervisor.host.loop import Loop
from supervisor.host.strangers import Strangers, adopts, hold_signals

_DEADLINE_S = 30.0

# Stands before each script: a process that adopts orphans, and orphans that are dead at once or soon.
PRELUDE = """
import ctypes, json, os, signal, subprocess, sys, time
from supervisor.host import strangers
from supervisor.host.loop import Loop
from supervisor.host.strangers import Strangers
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER

def orphan(seconds="0"):
    "A process whose parent ends at once; returns its pid."
    read, write = os.pipe()
    if (parent := os.fork()) == 0:
        if (child := os.fork()) == 0:
            os.execvp("sleep", ["sleep", seconds])
        os.write(write, str(child).encode())
        os._exit(0)
    os.waitpid(parent, 0)
    return int(os.read(read, 20))
"""


def run(script: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script],
        capture_output=True,
        text=True,
        check=False,
        timeout=_DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_a_double_forked_process_is_collected_within_a_second() -> None:
    found = run("""
with Loop() as loop:
    reaper = Strangers(loop, lambda: [])
    reaper.start()
    began = time.monotonic()
    pid = orphan("0.05")
    def look():
        if reaper.reaped:
            loop.stop()
        else:
            loop.after(0.005, look)
    look()
    loop.run()
    print(json.dumps({"reaped": reaper.reaped, "seconds": time.monotonic() - began,
                      "there": os.path.exists(f"/proc/{pid}")}))
""")
    assert found["reaped"] == 1
    assert found["there"] is False
    assert 0.05 <= float(str(found["seconds"])) < 1.05


def test_many_that_die_together_are_all_collected_although_their_signals_merge() -> None:
    found = run("""
with Loop() as loop:
    reaper = Strangers(loop, lambda: [])
    reaper.start()
    pids = [orphan("600") for _ in range(30)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    def look():
        if reaper.reaped == 30:
            loop.stop()
        else:
            loop.after(0.005, look)
    look()
    loop.run()
    print(json.dumps([os.path.exists(f"/proc/{pid}") for pid in pids].count(True)))
""")
    assert found == 0


def test_those_that_ended_before_it_began_are_collected_at_once() -> None:
    """As where an entry point has become PID 1's program by exec."""
    found = run("""
pid = orphan()
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
with Loop() as loop:
    reaper = Strangers(loop, lambda: [])
    reaper.start()
    print(json.dumps([reaper.reaped, os.path.exists(f"/proc/{pid}")]))
""")
    assert found == [1, False]


def test_the_exit_code_of_ours_is_left_to_whoever_started_it() -> None:
    """It hides the strangers behind it until it is collected; then they are collected too."""
    found = run("""
with Loop() as loop:
    ours = subprocess.Popen(["sh", "-c", "exit 7"])
    os.waitid(os.P_PID, ours.pid, os.WEXITED | os.WNOWAIT)
    reaper = Strangers(loop, lambda: [ours.pid])
    reaper.start()
    stranger = orphan()
    os.waitid(os.P_PID, stranger, os.WEXITED | os.WNOWAIT)
    seen = []
    def collect():
        seen.append(reaper.reaped)
        seen.append(ours.wait())
        look()
    def look():
        if reaper.reaped:
            loop.stop()
        else:
            loop.after(0.005, look)
    loop.after(0.1, collect)
    loop.run()
    print(json.dumps([seen, os.path.exists(f"/proc/{stranger}")]))
""")
    (hidden, exit_code), there = found  # type: ignore[misc]
    assert exit_code == 7, "a stolen one would be 0"
    # The kernel may show the stranger first.
    assert hidden in (0, 1)
    assert there is False


def test_while_one_of_ours_is_not_collected_it_does_not_keep_the_loop_busy() -> None:
    """A pause that doubles: some five looks within the half second, where a busy loop has thousands."""
    found = run("""
with Loop() as loop:
    ours = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ours.pid, os.WEXITED | os.WNOWAIT)
    looks = []
    reaper = Strangers(loop, lambda: looks.append(0) or [ours.pid])
    reaper.start()
    loop.after(0.5, loop.stop)
    loop.run()
    print(json.dumps([len(looks), reaper.reaped, ours.wait()]))
""")
    looks, reaped, exit_code = found  # type: ignore[misc]
    assert 2 <= looks <= 8
    assert (reaped, exit_code) == (0, 0)


def test_multiprocessings_tracker_is_ours_too() -> None:
    found = run("""
from multiprocessing import resource_tracker
resource_tracker.ensure_running()
tracker = resource_tracker._resource_tracker._pid
os.kill(tracker, signal.SIGKILL)
os.waitid(os.P_PID, tracker, os.WEXITED | os.WNOWAIT)
with Loop() as loop:
    reaper = Strangers(loop, lambda: [])
    reaper.start()
    print(json.dumps([reaper.reaped, os.waitpid(tracker, 0)[0] == tracker]))
""")
    assert found == [0, True]


def test_where_no_orphan_can_come_to_us_nothing_is_collected_and_sigchld_is_left_alone() -> None:
    assert not adopts()
    before = signal.getsignal(signal.SIGCHLD)
    with Loop() as loop, subprocess.Popen(["true"]) as ours:
        os.waitid(os.P_PID, ours.pid, os.WEXITED | os.WNOWAIT)
        reaper = Strangers(loop, list)
        reaper.start()
        assert signal.getsignal(signal.SIGCHLD) is before
        assert (reaper.reaped, ours.wait()) == (0, 0)


def test_only_pid_1_holds_signals_back() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    hold_signals()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


# -- as PID 1 -------------------------------------------------------------------------------------------

PID_1 = """
import os, signal, subprocess, sys
from supervisor.host import strangers
from supervisor.host.loop import Loop
from supervisor.host.strangers import Strangers
assert os.getpid() == 1
strangers.hold_signals()
print("held", flush=True)
sys.stdin.readline()
with Loop() as loop:
    def noticed(number):
        print(number.name, flush=True)
    loop.on_signals(strangers._HELD, noticed)
    reaper = Strangers(loop, lambda: [])
    reaper.start()
    def count():
        if reaper.reaped:
            print("reaped", reaper.reaped, flush=True)
        else:
            loop.after(0.005, count)
    loop.watch(0, lambda: (sys.stdin.readline(), os.system("(sleep 0.05 &)"), count()))
    print("running", flush=True)
    loop.run()
"""


class Init:
    """A process that is PID 1 of a namespace of its own."""

    def __init__(self, *command: str) -> None:
        self.unshare = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.unshare.stdin is not None
        assert self.unshare.stdout is not None
        self._input, self._output = self.unshare.stdin, self.unshare.stdout

    @property
    def pid(self) -> int:
        (child,) = psutil.Process(self.unshare.pid).children()
        return child.pid

    def say(self) -> None:
        self._input.write("go\n")
        self._input.flush()

    def line(self) -> str:
        return self._output.readline().strip()

    def close(self) -> None:
        # unshare alone does not forward it, and a killed one takes its child with it.
        self.unshare.kill()
        self.unshare.wait()
        self._input.close()
        self._output.close()


@pytest.fixture
def init() -> Iterator[Init]:
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here")
    allowed = subprocess.run(
        ["unshare", "--pid", "--fork", "true"], capture_output=True, text=True, check=False
    )
    if allowed.returncode:
        pytest.skip(f"unshare is refused: {allowed.stderr.strip()}")
    made = Init(sys.executable, "-c", PID_1)
    yield made
    made.close()


def test_pid_1_loses_no_signal_that_comes_before_its_handlers_do(init: Init) -> None:
    """The kernel drops a signal to PID 1 that has no handler."""
    assert init.line() == "held"
    os.kill(init.pid, signal.SIGTERM)
    init.say()
    assert {init.line(), init.line()} == {"running", "SIGTERM"}


def test_pid_1_gets_every_signal_it_has_a_meaning_for(init: Init) -> None:
    assert init.line() == "held"
    init.say()
    assert init.line() == "running"
    for number in sorted(strangers._HELD):
        os.kill(init.pid, number)
        assert init.line() == number.name


def test_pid_1_collects_what_was_double_forked(init: Init) -> None:
    assert init.line() == "held"
    init.say()
    assert init.line() == "running"
    init.say()
    reaped = init.line()
    assert reaped in {"reaped 1", "reaped 2"}, "the shell's child may have been adopted, too"
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(init.pid).children(recursive=True)
        assert [child for child in children if child.status() == psutil.STATUS_ZOMBIE] == []
