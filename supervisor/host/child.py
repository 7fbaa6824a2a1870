"""The only place that starts, signals and reaps worker processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
import types
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

from supervisor.contract.messages import Command, Prepare, Reopen, Report, Serve, Stop, decode_report, encode
from supervisor.contract.settings import Settings
from supervisor.host.groups import Leader
from supervisor.host.guardian import Guardian
from supervisor.rules.policy import Intent

__all__ = ["Child", "spawn"]

_spawn = multiprocessing.get_context("spawn")


def _nobody(_pid: int) -> None:
    """Nobody has to be told that a process has ended."""


class Child:
    """One worker process, its slot on the board and the pipe to it."""

    def __init__(
        self, process: multiprocessing.process.BaseProcess, slot: int, pipe: Connection, generation: int
    ) -> None:
        assert process.pid is not None
        self._process = process
        self._pipe = pipe
        self.pid: int = process.pid
        """Its pid, also after it was collected."""
        # Not the sentinel of multiprocessing: that is a pipe whose other end the worker holds, and so does
        # whatever a pipeline starts without closing it; such a grandchild would hide the worker's death.
        self.sentinel = os.pidfd_open(self.pid)
        """A descriptor that is readable once the process has ended."""
        self.slot = slot
        self.started = time.monotonic()
        self.ended = False
        """Its sentinel says so; what it has said last is still to be read."""
        self.ready = False
        """Imported and configured: it has said that it is in standby."""
        self.code = ""
        """The fingerprint of its code, once it is ready."""
        self.generation = generation
        """Which configuration it was started with."""
        self.prepares: tuple[int, ...] = ()
        """The partitions that it was told to prepare for last."""
        self.serving: Serve | None = None
        self.intent = Intent.NONE
        """Why we ended it, if it was us."""

    @property
    def reports(self) -> int:
        """A descriptor that is readable when there are reports, or when the pipe has ended."""
        return self._pipe.fileno()

    def prepare(self, asked: Prepare) -> None:
        """Have it do what can be done for an OLAP worker's partitions; others may become its own instead."""
        self.prepares = asked.partitions
        self._tell(asked)

    def serve(self, role: Serve) -> bool:
        """Give the process its role; whether it could be told."""
        self.serving = role
        return self._tell(role)

    def drain(self, seconds: float, intent: Intent) -> None:
        """Ask it to finish, by pipe and by SIGTERM: one of the two reaches it whatever it is doing."""
        self.intent = intent
        self._tell(Stop(seconds))
        self._process.terminate()

    def reopen_logs(self) -> None:
        self._tell(Reopen())

    def dump_stack(self) -> None:
        """Have it write what each of its threads is doing, if it still can."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.sentinel, signal.SIGUSR2)

    def kill(self, intent: Intent) -> None:
        """Send SIGKILL, because of ``intent``; a reason given before stays.

        By ``multiprocessing`` and not by ``os.kill``: whenever it starts a process it collects every child
        that has ended. When two die in one round, the successor of the first is started before the second
        one's sentinel is looked at; the second's pid may be somebody else's from then on, and only
        ``multiprocessing`` knows.
        """
        if self.intent is Intent.NONE:
            self.intent = intent
        self._process.kill()

    def take_report(self) -> Report | None:
        """The next report, or ``None`` if there is none (any more)."""
        try:
            return decode_report(self._pipe.recv_bytes()) if self._pipe.poll() else None
        except (EOFError, OSError):
            return None

    def reap(self) -> int:
        """Collect the ended process, after its group was killed, and close what belongs to it.

        Returns its exit code, negative for a signal.
        """
        self._process.join()
        code = self._process.exitcode
        self._process.close()
        self._pipe.close()
        os.close(self.sentinel)
        assert code is not None
        return code

    def _tell(self, command: Command) -> bool:
        try:
            self._pipe.send_bytes(encode(command))
        except OSError:
            return False  # it has died; its sentinel says so
        return True


def spawn(
    slot: int, board: Path, settings: Settings, generation: int = 1, guardian: Guardian | None = None
) -> Child:
    """Start a worker process without a role.

    To be called from the main thread: the kernel's notice of a parent's death follows the *thread* that made
    the child. ``spawn`` and not ``fork``, which no Kafka client survives, nor ``forkserver``, which would be
    the parent whose death is watched. ``guardian`` kills the process's group should we end before we can.
    Raises ``OSError`` where the system has no room for another process.
    """
    from workers.main import run

    ours, theirs = _spawn.Pipe()
    process = Leader(
        guardian.release if guardian is not None else _nobody,
        target=run,
        args=(slot, str(board), theirs, settings, os.getpid()),
        name=f"worker-{slot}",
        daemon=True,
    )
    try:
        with _no_main_module(), _no_interrupt():
            process.start()
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    try:
        child = Child(process, slot, ours, generation)
    except OSError:  # no descriptor is left for it: nobody would notice its death
        process.kill()
        process.join()
        ours.close()
        raise
    if guardian is not None:
        guardian.guard(child.pid)
    return child


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """Hide ``__main__`` while a process is spawned.

    multiprocessing has the child import the parent's main module, which here is the command line: 60 ms of
    work for nothing that a worker needs.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Block SIGINT while a process is spawned; it inherits that, and lifts it once it ignores the signal.

    Ctrl-C reaches our whole process group. A worker leaves it with its first own instruction; until then,
    some 50 ms, Python's own handler would answer with a traceback. It cannot be taken out of the group from
    here: after exec the kernel refuses (setpgid(2), EACCES), and multiprocessing's fork returns after exec.
    The tracker of multiprocessing is started first: it unblocks SIGINT as it starts.
    """
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
