"""The life of a worker process: made safe, imported, given a role, run, drained.

Every process starts the same way and without a role. What takes long (the interpreter, the imports, the
configuration) is done before a role is there to be filled; the one in standby that is left over is the spare.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import logging
import os
import signal
import time
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, Protocol

from supervisor.contract import logs
from supervisor.contract.board import Board, Role, Stage, WorkerSlot
from supervisor.contract.exits import Exit, WorkerExit
from supervisor.contract.faults import Fault
from supervisor.contract.messages import Failed, Owned, Reopen, Serve, Standby, Stop
from supervisor.contract.settings import Settings
from supervisor.host import priority, stacks
from workers import fingerprint, threads
from workers.errors import WorkerError
from workers.kafka import lean
from workers.pipe import Orphaned, Pipe
from workers.standby import StandbyProcess

if TYPE_CHECKING:
    from workers.pipeline import Pipeline

__all__ = ["WorkerRole", "run"]

_log = logging.getLogger("worker")
_PR_SET_PDEATHSIG = 1
_STDERR = 2
_GC_THRESHOLD = 50_000


class WorkerRole(Protocol):
    """What a role does. ``rest_s`` is how long the loop may wait for a command between two steps."""

    rest_s: float

    def open(self) -> None:
        """Own what the role needs; when it returns, the role is filled."""

    def step(self) -> None:
        """Do a bounded piece of work."""

    def reopen(self) -> None:
        """Open anew the files that it writes for others, whose names somebody has moved."""

    def drain(self) -> None:
        """Finish, flush, commit, close."""


class _Stopping:
    """Whether to stop, set by SIGTERM or by a command."""

    def __init__(self) -> None:
        self.asked = False

    def on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        self.asked = True


def run(number: int, board_path: str, connection: Connection, settings: Settings, parent: int) -> NoReturn:
    """Entry point of the spawned process; ``number`` is its slot on the board."""
    _lead_session()
    _die_with(parent)
    _dump_stacks(Path(board_path).parent, number)
    stopping = _Stopping()
    signal.signal(signal.SIGTERM, stopping.on_signal)
    # For whoever signals every process by name: what follows from these is for the supervisor to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Blocked since before this process was made: until now it would have been a traceback.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    code = WorkerExit.CRASH
    try:
        code = _live(number, board_path, Pipe(connection), settings, stopping)
    except BaseException:  # SystemExit, too: a pipeline may call exit()
        _log.exception("ended by an exception")
    # Not sys.exit: destructors of Kafka clients may wait for brokers, and there is nothing left to wait for.
    logging.shutdown()
    os._exit(code)


def _lead_session() -> None:
    """Make this process and all that it starts a session, and so a process group, which the supervisor kills
    as a whole.

    A group would do for that. But the kernel shares the CPUs among sessions first (sched(7), autogroup), and
    heeds niceness only within one: OLAP workers in one session with the real-time worker get most of what
    both are given, and none of them gives way to a broker that was started elsewhere, however nice they are.
    """
    os.setsid()
    if (nice := os.getpriority(os.PRIO_PROCESS, 0)) > 0:  # as the supervisor was started
        priority.give_way(nice)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, however that happens."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the call: then nobody is left to be notified of.
    if os.getppid() != parent:
        os._exit(WorkerExit.ORPHANED)


def _dump_stacks(run_dir: Path, number: int) -> None:
    """Have a crash, and SIGUSR2, write what every thread is doing into the slot's file.

    Early, since SIGUSR2 ends a process that has not said otherwise. In C, so that it works while a call
    holds the interpreter. Where there is no room for the file it goes to standard error.
    """
    try:
        descriptor = stacks.open_file(run_dir, number)
    except OSError:
        descriptor = _STDERR
    faulthandler.enable(descriptor)
    faulthandler.register(signal.SIGUSR2, descriptor)


def _live(number: int, board_path: str, pipe: Pipe, settings: Settings, stopping: _Stopping) -> WorkerExit:
    logs.set_up(settings.log, f"worker-{number}", Path(board_path).parent, file=logs.SPARES)
    logs.capture_prints()
    slot = Board.open(Path(board_path)).worker(number)
    slot.pid = os.getpid()
    slot.started_ns = time.monotonic_ns()
    slot.role = Role.SPARE
    slot.enter(Stage.STARTING)
    try:
        lean.import_client()
        from workers import roles

        pipeline = roles.load_pipeline(settings)
        slot.enter(Stage.STANDBY)
        pipe.tell(Standby(fingerprint.of_code()))
        # From here on everything is done while nobody waits, or would have to be done later.
        _settle()
        standby = StandbyProcess(
            pipe, slot, roles.warm_up(settings), partial(roles.prepare, settings, pipeline)
        )
        serve = standby.await_role(lambda: stopping.asked)
        if serve is None:
            return WorkerExit.OK
        slot.served_ns = time.monotonic_ns()
        _take_place(serve, settings, slot)
        role = _role(serve, settings, pipeline, Path(board_path), slot, pipe, standby)
        _fill(role, serve, pipe, slot, stopping)
    except Orphaned:
        return WorkerExit.ORPHANED
    except (Fault, WorkerError) as fault:
        code = _exit_code(fault)
        _report(pipe, _failed(fault, code))
        return code
    slot.enter(Stage.STOPPED)
    return WorkerExit.OK


def _role(
    serve: Serve,
    settings: Settings,
    pipeline: Pipeline,
    board_path: Path,
    slot: WorkerSlot,
    pipe: Pipe,
    standby: StandbyProcess,
) -> WorkerRole:
    """The role, with what was done ahead for it. Nothing of that is kept here, where it would never end."""
    from workers import roles

    warm, prepared = standby.take(serve)
    slot.warm = warm is not None
    return roles.build(serve, settings, pipeline, Board.open(board_path), slot, pipe.tell, warm, prepared)


def _take_place(serve: Serve, settings: Settings, slot: WorkerSlot) -> None:
    """Name and CPUs of the role; its priority comes when it serves."""
    name = f"{serve.role}-{serve.index}" if serve.role != "probe" else "probe"
    logs.rename(name)
    from setproctitle import setproctitle

    setproctitle(f"supervisor: {settings.app.name} {name}")
    slot.role = Role[serve.role.upper()]
    slot.index = serve.index
    slot.partitions = len(serve.partitions)
    # Every thread: those of the clients that are connected already are there.
    threads.confine(serve.cpus, nice=0)


def _settle() -> None:
    """What a role needs and any role can have."""
    import setproctitle  # noqa: F401

    # What is imported by now stays for good: the collector need never look at it again.
    gc.collect()
    gc.freeze()
    # A batch is thousands of short-lived tuples, none of them in a cycle: by default each 700 cost a look.
    gc.set_threshold(_GC_THRESHOLD, 50, 100)


def _fill(role: WorkerRole, serve: Serve, pipe: Pipe, slot: WorkerSlot, stopping: _Stopping) -> None:
    role.open()
    slot.ready_ns = slot.heartbeat_ns = time.monotonic_ns()
    if serve.partitions:
        _log.info("serving partitions %s", ", ".join(map(str, serve.partitions)))
    # What has piled up is committed before anybody is told. As soon as all seats are owned the supervisor
    # starts the next spare, and on few CPUs its imports would compete with that first commit. Until then the
    # process does not step back for others either: while it opens, its partitions stand still, and on busy
    # CPUs each of some twenty answers of the brokers would wait for everybody else's work.
    told = serve.role != "olap"
    if told:
        _announce(serve, pipe)
    while not stopping.asked:
        role.step()
        if not told:
            told = True
            _announce(serve, pipe)
        slot.log_dropped = logs.dropped()
        command = pipe.next(role.rest_s)
        if isinstance(command, Stop):
            break
        if isinstance(command, Reopen):
            role.reopen()
    slot.enter(Stage.DRAINING)
    role.drain()


def _announce(serve: Serve, pipe: Pipe) -> None:
    """Everything is owned and goes on: keep to the priority of the role, and tell the supervisor."""
    threads.confine(serve.cpus, serve.nice)
    pipe.tell(Owned(serve.partitions))


def _exit_code(fault: Fault | WorkerError) -> WorkerExit:
    if isinstance(fault, WorkerError):
        return fault.exit_code
    codes = {
        Exit.CONFIGURATION: WorkerExit.CONFIGURATION,
        Exit.BROKERS_UNREACHABLE: WorkerExit.BROKERS_UNREACHABLE,
    }
    return codes.get(fault.exit_code, WorkerExit.CRASH)


def _failed(fault: Fault | WorkerError, code: WorkerExit) -> Failed:
    if isinstance(fault, WorkerError):
        return Failed(fault.cause, fault.remedy, code, fault.partition, fault.offset)
    return Failed(fault.cause, fault.remedy, code)


def _report(pipe: Pipe, failed: Failed) -> None:
    _log.error("%s", failed.cause)
    with contextlib.suppress(Orphaned):
        pipe.tell(failed)
