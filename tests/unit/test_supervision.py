"""The supervisor with real processes and no broker: starts that fail, and stops in the midst of it."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from supervisor import crew, orders
from supervisor.contract.board import Board
from supervisor.contract.exits import Exit
from supervisor.contract.faults import AlreadyRunning, ConfigurationFault
from supervisor.contract.settings import App, Kafka, Olap, Realtime, Restart, Runtime, Settings
from supervisor.host import instance, priority
from supervisor.host.child import Child, spawn
from supervisor.host.loop import Loop
from supervisor.supervision import Supervisor

NOBODY_LISTENS = Kafka(bootstrap_servers="127.0.0.1:1")


@pytest.fixture(autouse=True)
def _stay_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process runs other tests, too, and what these start would go ahead of everybody."""
    monkeypatch.setattr(priority, "step_ahead", lambda: None)


class CallsOnLine(logging.Handler):
    """Calls back when the supervisor logs a line that holds ``text`` for the ``count``-th time."""

    def __init__(self, text: str, count: int, act: Callable[[], None]) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._text, self._count, self._act = text, count, act

    def emit(self, record: logging.LogRecord) -> None:
        if self._text in record.getMessage():
            self.lines.append(record.getMessage())
            if len(self.lines) == self._count:
                self._act()


def stop() -> None:
    signal.raise_signal(signal.SIGTERM)


def run(
    tmp_path: Path,
    settings: Settings,
    *,
    stop_at: tuple[str, int] | None = None,
    signals: Sequence[signal.Signals] = (),
    level: int = logging.INFO,
) -> list[str]:
    """Run a supervisor until it ends, or until it has logged a line so many times; returns these lines.

    Once its processes are started it is sent ``signals``, each when the one before has been dealt with.
    """
    text, count = stop_at or ("", 0)
    handler = CallsOnLine(text, count, stop)
    logger = logging.getLogger("supervisor")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        with Loop() as loop:
            send_each(signals, loop)
            Supervisor(settings, tmp_path, loop).run()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        assert not [process for process in multiprocessing.active_children() if process.is_alive()]
    return handler.lines


def send_each(signals: Sequence[signal.Signals], loop: Loop) -> None:
    def send() -> None:
        signal.raise_signal(signals[0])
        send_each(signals[1:], loop)

    if signals:
        loop.after(0, send)


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Settings]:
    """Settings with a pipeline of this text."""

    def write(text: str) -> Settings:
        (tmp_path / "pipeline_under_test.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        app = App(pipeline="pipeline_under_test")
        return Settings(
            app=app,
            kafka=NOBODY_LISTENS,
            olap=Olap(workers=1),
            realtime=Realtime(enabled=False),
            restart=Restart(backoff_jitter=0.0),
        )

    return write


def test_processes_that_die_before_they_are_ready_are_not_started_as_fast_as_they_die(
    tmp_path: Path, pipeline: Callable[[str], Settings]
) -> None:
    """A pipeline whose import crashes the interpreter: no exception, no report, no seat that backs off."""
    settings = pipeline("import os\nos._exit(7)")
    lines = run(tmp_path, settings, stop_at=("without a role", 4))
    assert [line.partition("; replaced ")[2] for line in lines] == [
        "at once",
        *(f"in {wait} s" for wait in (0.1, 0.2, 0.4)),
    ]
    assert all("exit code 7" in line for line in lines)


def test_a_pipeline_that_cannot_be_imported_ends_everything_and_says_why(
    tmp_path: Path, pipeline: Callable[[str], Settings]
) -> None:
    with pytest.raises(ConfigurationFault, match="No module named 'no_such_library'") as caught:
        run(tmp_path, pipeline("import no_such_library"))
    assert caught.value.exit_code is Exit.CONFIGURATION
    assert instance.holder(tmp_path) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_while_processes_are_starting_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    started: list[int] = []

    def spawn_and_stop(slot: int, *others: Any) -> Child:
        started.append(slot)
        if len(started) == 3:
            signal.raise_signal(number)
        return spawn(slot, *others)

    monkeypatch.setattr(crew, "spawn", spawn_and_stop)
    settings = Settings(kafka=NOBODY_LISTENS, runtime=Runtime(max_starting=6))
    assert run(tmp_path, settings, stop_at=("stopped", 1)) == ["stopped"]
    assert started == [0, 1, 2, 3, 4, 5]
    assert instance.holder(tmp_path) is None


@pytest.mark.parametrize("limit", [1, 2])
def test_no_more_processes_start_at_the_same_time_than_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    at_once: list[int] = []
    starting: set[int] = set()

    def counted(slot: int, *others: Any) -> Child:
        starting.add(slot)
        at_once.append(len(starting))
        return spawn(slot, *others)

    def ready(supervisor: Supervisor, child: Child) -> None:
        starting.discard(child.slot)
        was_ready(supervisor, child)

    was_ready = Supervisor.ready
    monkeypatch.setattr(crew, "spawn", counted)
    monkeypatch.setattr(Supervisor, "ready", ready)
    settings = Settings(kafka=NOBODY_LISTENS, runtime=Runtime(max_starting=limit))
    run(tmp_path, settings, stop_at=("is in standby", 4), level=logging.DEBUG)
    assert max(at_once) == limit


@pytest.mark.parametrize("closed", [True, False])
def test_sighup_drains_where_the_terminal_has_closed_and_else_reloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    terminal = iter([True, not closed])
    monkeypatch.setattr(orders, "_has_terminal", lambda: next(terminal))
    signals = (signal.SIGHUP,) if closed else (signal.SIGHUP, signal.SIGTERM)
    lines = run(tmp_path, Settings(kafka=NOBODY_LISTENS), signals=signals)
    first = "SIGHUP: draining" if closed else "reload begins"
    assert any(line.startswith(first) for line in lines)
    assert lines[-1] == "stopped"


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_a_system_without_room_for_a_process_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(crew, "_SPAWN_RETRY_S", 0.01)

    def no_room(*_: object) -> Child:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(crew, "spawn", no_room)
    lines = run(tmp_path, Settings(kafka=NOBODY_LISTENS), stop_at=("cannot start a process", 5))
    assert len([line for line in lines if "cannot start a process" in line]) == 5
    assert os.strerror(code) in lines[0]


def test_a_second_supervisor_is_refused_and_leaves_the_firsts_board_alone(tmp_path: Path) -> None:
    with Loop() as loop:
        first = Supervisor(Settings(), tmp_path, loop)
        board = Board.open(tmp_path / instance.BOARD)
        board.header.supervisor_pid = 4711
        with pytest.raises(AlreadyRunning):
            Supervisor(Settings(), tmp_path, loop)
        first._close()
    assert Board.open(tmp_path / instance.BOARD).header.supervisor_pid == 4711


def test_a_wall_clock_that_jumps_moves_no_timer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour back while a spawn is tried again: it is, after the same time."""
    monkeypatch.setattr(crew, "_SPAWN_RETRY_S", 0.01)
    monkeypatch.setattr(time, "time", lambda: 0.0)

    def no_room(*_: object) -> Child:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(crew, "spawn", no_room)
    began = time.monotonic()
    run(tmp_path, Settings(kafka=NOBODY_LISTENS), stop_at=("cannot start a process", 3))
    assert time.monotonic() - began < 30
