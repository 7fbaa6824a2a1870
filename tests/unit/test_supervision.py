"""The supervisor with real processes and no broker: starts that fail, and stops in the midst of it."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from pathlib import Path

import pytest

from supervisor import instance, supervision
from supervisor.child import Child, spawn
from supervisor.contract.board import Board
from supervisor.contract.exits import Exit, WorkerExit
from supervisor.contract.faults import AlreadyRunning, ConfigurationFault
from supervisor.contract.messages import Found, Owned, Standby
from supervisor.contract.settings import App, Kafka, Olap, Realtime, Settings
from supervisor.lifecycle import State
from supervisor.loop import Loop
from supervisor.policy import Verdict
from supervisor.supervision import Supervisor

NOBODY_LISTENS = Kafka(bootstrap_servers="127.0.0.1:1")


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
) -> list[str]:
    """Run a supervisor until it ends, or until it has logged a line so many times; returns these lines.

    Once its processes are started it is sent ``signals``, each when the one before has been dealt with.
    """
    text, count = stop_at or ("", 0)
    handler = CallsOnLine(text, count, stop)
    logger = logging.getLogger("supervisor")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with Loop() as loop:
            send_each(signals, loop)
            Supervisor(settings, tmp_path, loop).run()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        assert not [process for process in multiprocessing.active_children() if process.is_alive()]
    return handler.lines


def send_each(signals: Sequence[signal.Signals], loop: Loop) -> None:
    def send() -> None:
        signal.raise_signal(signals[0])
        send_each(signals[1:], loop)

    if signals:
        loop.after(0, send)


@pytest.fixture(autouse=True)
def no_nohup() -> Iterator[None]:
    """Whoever runs the tests may ignore SIGHUP, which outlives exec, and a supervisor then ignores it too."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Settings]:
    """Settings with a pipeline of this text."""

    def write(text: str) -> Settings:
        (tmp_path / "pipeline_under_test.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        app = App(pipeline="pipeline_under_test")
        return Settings(app=app, kafka=NOBODY_LISTENS, olap=Olap(workers=1), realtime=Realtime(enabled=False))

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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_while_processes_are_starting_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    started: list[int] = []

    def spawn_and_stop(slot: int, board: Path, settings: Settings) -> Child:
        started.append(slot)
        if len(started) == 3:
            signal.raise_signal(number)
        return spawn(slot, board, settings)

    monkeypatch.setattr(supervision, "spawn", spawn_and_stop)
    assert run(tmp_path, Settings(kafka=NOBODY_LISTENS), stop_at=("stopped", 1)) == ["stopped"]
    assert started == [0, 1, 2, 3, 4, 5]
    assert instance.holder(tmp_path) is None


def test_a_terminal_that_closes_drains_as_sigterm_does_and_once(tmp_path: Path) -> None:
    signals = (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM)
    lines = run(tmp_path, Settings(kafka=NOBODY_LISTENS), signals=signals)
    assert lines == ["SIGHUP: draining for at most 20 s", "stopped"]


def test_signals_without_a_meaning_end_nothing_and_are_told(tmp_path: Path) -> None:
    ignored = (signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2)
    lines = run(tmp_path, Settings(kafka=NOBODY_LISTENS), signals=(*ignored, signal.SIGTERM))
    assert lines[:4] == [f"{number.name} has no meaning yet and is ignored" for number in ignored]
    assert lines[-1] == "stopped"


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_a_system_without_room_for_a_process_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(supervision, "_SPAWN_RETRY_S", 0.01)

    def no_room(_slot: int, _board: Path, _settings: Settings) -> Child:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(supervision, "spawn", no_room)
    lines = run(tmp_path, Settings(kafka=NOBODY_LISTENS), stop_at=("cannot start a process", 5))
    assert len(lines) == 5
    assert os.strerror(code) in lines[0]


def test_a_second_supervisor_is_refused_and_leaves_the_firsts_board_alone(tmp_path: Path) -> None:
    with Loop() as loop:
        first = Supervisor(Settings(), tmp_path, loop)
        board = Board.open(tmp_path / instance.BOARD)
        board.header.supervisor_pid = 4711
        with pytest.raises(AlreadyRunning):
            Supervisor(Settings(), tmp_path, loop)
    os.close(first._lock)
    assert Board.open(tmp_path / instance.BOARD).header.supervisor_pid == 4711


def test_brokers_that_are_away_make_no_later_death_wait_longer(tmp_path: Path) -> None:
    """Twenty outages in a row, then a crash: the crash is the first one, and is replaced at once."""
    with Loop() as loop:
        supervisor = Supervisor(Settings(), tmp_path, loop)
        supervisor._add_seat("olap", 0, (0,))
        (seat,) = supervisor._seats
        for _ in range(20):
            supervisor._vacate(seat, 69, 0, Verdict.WAIT)
            assert seat.record.retry_ns == int(supervision._BROKERS_PAUSE_S * 1e9)
            supervisor._retry(seat)
        supervisor._vacate(seat, 1, 0, Verdict.REPLACE)
        assert seat.state is State.VACANT
    os.close(supervisor._lock)


class Seated:
    """A supervisor with one OLAP seat and a real process in standby that nobody watches."""

    def __init__(self, directory: Path, loop: Loop) -> None:
        self.supervisor = Supervisor(Settings(kafka=NOBODY_LISTENS), directory, loop)
        self.supervisor._add_seat("olap", 0, (0,))
        (self.seat,) = self.supervisor._seats
        self.child = spawn(0, self.supervisor._board.path, Settings(kafka=NOBODY_LISTENS))
        assert wait([self.child.reports], 60)
        assert self.child.take_report() == Standby()

    def end(self) -> int:
        self.child.kill()
        os.close(self.supervisor._lock)
        return self.child.reap()


@pytest.fixture
def seated(tmp_path: Path) -> Iterator[Seated]:
    with Loop() as loop:
        seated = Seated(tmp_path, loop)
        yield seated
    seated.end()


def test_a_contest_is_looked_for_until_somebody_owns_the_partitions(
    seated: Seated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who follows a fenced worker looks whether another supervisor is at work; it may die while it looks."""
    supervisor, seat, child = seated.supervisor, seated.seat, seated.child
    supervisor._vacate(seat, 1, 0, Verdict.REPLACE)
    assert not seat.contested
    supervisor._vacate(seat, WorkerExit.FENCED, 0, Verdict.REPLACE)
    for exit_code, verdict in ((-9, Verdict.REPLACE), (69, Verdict.WAIT), (1, Verdict.REPLACE)):
        supervisor._vacate(seat, exit_code, 0, verdict)
        assert seat.contested
    supervisor._fill(seat, child)
    assert child.serving is not None
    assert child.serving.contested

    monkeypatch.setattr(supervisor, "_fill_up", lambda: None)
    supervisor._take_report(child, Owned((0,)))
    supervisor._vacate(seat, 1, 0, Verdict.REPLACE)
    assert not seat.contested


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_worker_that_owns_partitions_is_drained_and_not_killed(
    seated: Seated, number: signal.Signals
) -> None:
    supervisor, seat, child = seated.supervisor, seated.seat, seated.child
    supervisor._children[child.slot] = seat.child = child
    seat.record.owned_ns = 1
    supervisor._on_stop_signal(number)
    assert wait([child.sentinel], 60)
    child._process.join()
    assert child._process.exitcode == WorkerExit.OK


def test_what_the_probe_finds_while_everything_stops_gives_nobody_a_seat(seated: Seated) -> None:
    supervisor = seated.supervisor
    supervisor._on_stop_signal(signal.SIGTERM)
    supervisor._take_report(seated.child, Found(4, "a-cluster", 1))
    assert supervisor._seats == [seated.seat]
