"""Worker processes as the supervisor sees them: real ones, without a broker."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from pathlib import Path
from typing import NoReturn

import pytest

from supervisor.contract.board import Board, Role, Stage
from supervisor.contract.exits import WorkerExit
from supervisor.contract.messages import Failed, Serve, Standby, WorkerRole
from supervisor.contract.settings import App, Kafka, Settings
from supervisor.host import child as children
from supervisor.host.child import Child, spawn
from supervisor.host.guardian import Guardian
from supervisor.host.loop import Loop
from supervisor.rules.policy import Intent
from tests.procfs import descriptors, in_masks, left_open

_DEADLINE_S = 60.0


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board.create(tmp_path / "board", workers=4, partitions=2)


@pytest.fixture
def started(board: Board) -> Iterator[Child]:
    child = spawn(1, board.path, Settings())
    yield child
    child.kill(Intent.STOP)
    child.reap()


def next_report(child: Child) -> object:
    assert wait([child.reports], _DEADLINE_S)
    return child.take_report()


def ended(child: Child) -> None:
    assert wait([child.sentinel], _DEADLINE_S)


def test_a_started_process_says_when_it_is_ready_and_stands_on_the_board(
    board: Board, started: Child
) -> None:
    assert isinstance(next_report(started), Standby)
    assert started.take_report() is None
    slot = board.worker(1)
    assert (slot.pid, slot.role, slot.stage) == (started.pid, Role.SPARE, Stage.STANDBY)
    assert slot.heartbeat_ns >= slot.started_ns > 0


def test_a_process_in_standby_that_is_told_to_stop_ends_by_itself(board: Board) -> None:
    child = spawn(0, board.path, Settings())
    next_report(child)
    child.drain(5.0, Intent.STOP)
    ended(child)
    assert child.intent is Intent.STOP
    assert child.reap() == WorkerExit.OK


def test_a_process_that_was_killed_is_collected_with_its_signal(board: Board) -> None:
    child = spawn(0, board.path, Settings())
    child.kill(Intent.STOP)
    ended(child)
    assert child.take_report() is None
    assert child.reap() == -signal.SIGKILL


def test_the_last_words_of_a_process_are_there_after_its_death(board: Board) -> None:
    """It never reads the role it was given, which must not cost us what it said itself."""
    child = spawn(0, board.path, Settings(app=App(pipeline="no.such.pipeline")))
    child.serve(Serve("olap", 0, (0,), (), 0))
    ended(child)
    report = child.take_report()
    assert isinstance(report, Failed)
    assert "no.such.pipeline" in report.cause
    assert report.exit_code == WorkerExit.CONFIGURATION
    assert child.take_report() is None
    assert child.reap() == WorkerExit.CONFIGURATION


@pytest.mark.parametrize("role", ["probe", "realtime", "olap"])
def test_settings_that_librdkafka_refuses_end_every_role_as_a_mistake_in_the_configuration(
    board: Board, role: WorkerRole
) -> None:
    """It would be the same for each successor, so that a crash would only spend the restart budget."""
    child = spawn(0, board.path, Settings(kafka=Kafka(client={"max.in.fligth": 1})))
    assert isinstance(next_report(child), Standby)
    child.serve(Serve(role, 0, (0,), (), 0))
    ended(child)
    report = child.take_report()
    assert isinstance(report, Failed)
    assert report.cause == (
        'librdkafka refuses the settings of kafka.client: No such configuration property: "max.in.fligth"'
    )
    assert report.remedy.startswith("correct kafka.client")
    assert child.reap() == WorkerExit.CONFIGURATION


def test_one_that_is_dead_can_be_told_nothing_and_that_is_no_error(board: Board) -> None:
    child = spawn(0, board.path, Settings())
    child.kill(Intent.STOP)
    ended(child)
    assert child.serve(Serve("olap", 0, (0,), (), 0)) is False
    child.drain(1.0, Intent.STOP)
    child.kill(Intent.STOP)
    child.reap()


def test_no_signal_goes_to_a_pid_that_may_be_somebody_elses_by_now(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """multiprocessing collects every dead child whenever it starts another one, which frees the pid. A second
    death of the same round is such a child: collected, and its sentinel not yet looked at."""
    child = spawn(0, board.path, Settings())
    child.kill(Intent.STOP)
    ended(child)
    assert child.pid not in {process.pid for process in multiprocessing.active_children()}
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
    child.drain(1.0, Intent.STOP)
    child.kill(Intent.STOP)
    assert signals == []
    assert child.reap() == -signal.SIGKILL


GRANDCHILDREN = pytest.mark.parametrize(
    "start",
    ["subprocess.Popen(['sleep', '600'], close_fds=False).pid", "os.fork() or time.sleep(600)"],
    ids=["a program", "a fork"],
)


@pytest.fixture
def starting(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starting]:
    """Processes whose pipeline starts another one as it is imported."""
    descriptors: list[int] = []

    def starting(start: str, guardian: Guardian | None = None) -> tuple[Child, int]:
        (tmp_path / "a_starting_pipeline.py").write_text(
            "import os, pathlib, subprocess, time\n"
            f"started = {start}\n"
            f"pathlib.Path({str(tmp_path)!r}, 'pid').write_text(str(started))\n"
            "from workers.logins import DIMENSIONS, Event, enrich\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        settings = Settings(app=App(pipeline="a_starting_pipeline"))
        child = spawn(0, board.path, settings, guardian=guardian)
        assert isinstance(next_report(child), Standby)
        descriptors.append(os.pidfd_open(int((tmp_path / "pid").read_text())))
        return child, descriptors[-1]

    yield starting
    for descriptor in descriptors:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)


Starting = Callable[..., tuple[Child, int]]
SLEEP = "subprocess.Popen(['sleep', '600']).pid"


@GRANDCHILDREN
def test_what_a_pipeline_started_does_not_hide_the_death_of_its_worker_and_dies_with_it(
    starting: Starting, start: str
) -> None:
    """It holds every descriptor of the worker open, that of multiprocessing's sentinel too, and lives on."""
    child, grandchild = starting(start)
    child.kill(Intent.STOP)
    ended(child)
    assert not wait([child._process.sentinel, grandchild], 0), "it holds nothing open, and so proves nothing"
    assert child.reap() == -signal.SIGKILL
    assert wait([grandchild], _DEADLINE_S)


def test_what_a_pipeline_started_dies_with_a_worker_that_ended_well(starting: Starting) -> None:
    child, grandchild = starting(SLEEP)
    child.drain(5.0, Intent.STOP)
    ended(child)
    assert child.reap() == WorkerExit.OK
    assert wait([grandchild], _DEADLINE_S)


def test_a_group_is_killed_before_its_leader_is_collected_by_whomever(starting: Starting) -> None:
    """multiprocessing collects whoever has ended when it starts another one. Until then a number is nobody
    else's; after that the group's could be."""
    order: list[tuple[int, bool]] = []

    class Note(Guardian):
        def release(self, pid: int) -> None:
            order.append((pid, Path(f"/proc/{pid}").exists()))
            super().release(pid)

    with Loop() as loop:
        guardian = Note(loop)
        child, grandchild = starting(SLEEP, guardian)
        pid = child.pid
        child.kill(Intent.STOP)
        ended(child)
        multiprocessing.active_children()
        assert wait([grandchild], _DEADLINE_S)
        assert child.reap() == -signal.SIGKILL
        guardian.close()
    assert order == [(pid, True)], "released once, while it was a zombie"


def test_the_guardian_kills_what_a_pipeline_started_when_nobody_else_can(starting: Starting) -> None:
    """As after a SIGKILL to the supervisor: the pipe to the guardian ends, and the worker dies by itself."""
    with Loop() as loop:
        guardian = Guardian(loop)
        child, grandchild = starting(SLEEP, guardian)
        guardian.close()
        assert wait([grandchild], _DEADLINE_S)
        assert wait([child.sentinel], _DEADLINE_S)
        assert child.reap() == -signal.SIGKILL


def test_a_worker_leads_a_session_of_its_own_that_no_terminal_halts(started: Child) -> None:
    next_report(started)
    assert os.getsid(started.pid) == os.getpgid(started.pid) == started.pid


def test_where_no_descriptor_is_left_to_watch_a_process_it_is_not_left_running(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_descriptor(_pid: int) -> NoReturn:
        raise OSError(24, "Too many open files")

    others = {process.pid for process in multiprocessing.active_children()}
    monkeypatch.setattr(os, "pidfd_open", no_descriptor)
    with pytest.raises(OSError, match="Too many"):
        spawn(0, board.path, Settings())
    assert {process.pid for process in multiprocessing.active_children()} <= others


def test_a_process_whose_supervisor_hangs_up_ends_as_an_orphan(board: Board) -> None:
    child = spawn(0, board.path, Settings())
    assert isinstance(next_report(child), Standby)
    child._pipe.close()
    ended(child)
    assert child.reap() == WorkerExit.ORPHANED


def test_ctrl_c_from_its_first_moment_on_is_nothing_to_a_process(
    board: Board, capfd: pytest.CaptureFixture[str]
) -> None:
    """The interpreter's own answer would be a traceback, the system's the process's end."""
    child = spawn(0, board.path, Settings())
    try:
        while not wait([child.reports, child.sentinel], 0.001):
            os.kill(child.pid, signal.SIGINT)
        assert isinstance(child.take_report(), Standby)
        assert in_masks(child.pid, signal.SIGINT, "SigBlk", "SigIgn") == [False, True]
    finally:
        child.kill(Intent.STOP)
        child.reap()
    assert capfd.readouterr().err == ""


def test_starting_a_process_leaves_ctrl_c_to_the_supervisor_as_it_was(board: Board) -> None:
    def blocked() -> bool:
        return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])

    child = spawn(0, board.path, Settings())
    assert not blocked()
    child.kill(Intent.STOP)
    child.reap()


def test_ctrl_c_is_nothing_to_the_very_first_process_either(tmp_path: Path) -> None:
    """Starting that one starts multiprocessing's resource tracker, too, which unblocks the signal."""
    code = (
        "import os, pathlib, signal, sys\n"
        "from multiprocessing.connection import wait\n"
        "from supervisor.host.child import spawn\n"
        "from supervisor.contract.board import Board\n"
        "from supervisor.contract.settings import Settings\n"
        "from supervisor.rules.policy import Intent\n"
        "board = Board.create(pathlib.Path(sys.argv[1]) / 'board', workers=1, partitions=1)\n"
        "child = spawn(0, board.path, Settings())\n"
        "while not wait([child.reports, child.sentinel], 0.001):\n"
        "    os.kill(child.pid, signal.SIGINT)\n"
        "print(type(child.take_report()).__name__)\n"
        "child.kill(Intent.STOP); child.reap()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("Standby\n", "")


def test_starting_and_collecting_leaves_no_descriptor_and_no_zombie(board: Board) -> None:
    first = spawn(0, board.path, Settings())  # starts multiprocessing's resource tracker, which stays
    first.kill(Intent.STOP)
    first.reap()
    before, others = descriptors(), set(multiprocessing.active_children())
    for number in range(20):
        child = spawn(number % 4, board.path, Settings())
        child.kill(Intent.STOP)
        child.reap()
    assert left_open(before) < 20
    assert set(multiprocessing.active_children()) <= others


def test_a_start_that_fails_leaves_nothing_behind(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_arguments: object) -> NoReturn:
        raise OSError(11, "Resource temporarily unavailable")

    spawn(0, board.path, Settings()).kill(Intent.STOP)
    multiprocessing.active_children()
    before = descriptors()
    monkeypatch.setattr("multiprocessing.util.spawnv_passfds", no_room)
    for _ in range(20):
        with pytest.raises(OSError, match="temporarily unavailable"):
            spawn(0, board.path, Settings())
    assert left_open(before) < 20


def test_the_commands_main_module_is_not_imported_by_the_process() -> None:
    main = sys.modules["__main__"]
    with children._no_main_module():
        assert not hasattr(sys.modules["__main__"], "__file__")
    assert sys.modules["__main__"] is main


def test_the_process_dies_with_the_thread_that_stands_for_the_supervisor(tmp_path: Path) -> None:
    """SIGKILL to the supervisor leaves no worker behind, even one that waits for nothing."""
    code = (
        "import pathlib, sys\n"
        "from multiprocessing.connection import wait\n"
        "from supervisor.host.child import spawn\n"
        "from supervisor.contract.board import Board\n"
        "from supervisor.contract.settings import Settings\n"
        "board = Board.create(pathlib.Path(sys.argv[1]) / 'board', workers=1, partitions=1)\n"
        "child = spawn(0, board.path, Settings())\n"
        "wait([child.reports]); child.take_report()\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        watched = os.pidfd_open(int(supervisor.stdout.readline()))
        supervisor.kill()
        assert wait([watched], _DEADLINE_S)
        os.close(watched)
