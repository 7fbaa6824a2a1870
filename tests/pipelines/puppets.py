"""A pipeline that puts puppets in the place of the roles: real processes that do as a script says.

They need no Kafka.
Its import replaces ``workers.roles.build``, so everything else of a worker is the real thing: how it starts,
dies with its parent, hears commands, drains and reports. The script is ``script.json`` in the run directory:

    {"olap-2": {"open": ACTION, "steps": 20, "then": ACTION, "drain": ACTION, "times": 1, "rest": 0.01},
     "probe": {"partitions": 4, "brokers": true, "lag": 5},
     "spare": {"preparing_s": 0.5, "times": 1}}

``then`` is done after so many steps, by the first ``times`` processes in that seat (all, if not said);
``rest`` is the time between two steps, in seconds. An
ACTION is ``exit N`` (a status), ``signal N``, ``hang`` (no sign of life), ``hold S`` (a C call of S seconds
that holds the interpreter), ``stall`` (signs of life, no progress), ``refuse`` (SIGTERM and commands),
``grandchild``, ``grow MB``, ``fail CODE CAUSE`` (ends by its own decision), ``pause S``.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor.contract.board import Board, Stage, WorkerSlot
from supervisor.contract.exits import WorkerExit
from supervisor.contract.messages import Found, Prepare, Report, Serve
from supervisor.contract.rundir import run_dir
from supervisor.contract.settings import Settings
from workers import roles
from workers.errors import WorkerError
from workers.logins import DIMENSIONS, Event, enrich
from workers.olap.partition import changelog
from workers.olap.preparation import Preparation
from workers.olap.transaction import Transaction

__all__ = ["DIMENSIONS", "Event", "enrich"]

_STEP_S = 0.01


class _Puppet:
    def __init__(self, serve: Serve, board: Board, slot: WorkerSlot, script: dict[str, Any]) -> None:
        self.rest_s = script.get("rest", _STEP_S)
        self._serve = serve
        self._board = board
        self._slot = slot
        self._script = script
        self._steps = 0
        self._stalled = False
        self._hoard: list[bytearray] = []

    def open(self) -> None:
        self._slot.enter(Stage.FENCING)
        self._do(self._script.get("open"))
        self._slot.enter(Stage.CONSUMING)
        for partition in self._serve.partitions if self._serve.role == "olap" else ():
            self._board.olap(partition).owned_ns = time.monotonic_ns()

    def step(self) -> None:
        self._steps += 1
        self._slot.enter(Stage.CONSUMING)
        if not self._stalled:
            self._progress()
        if self._steps == self._script.get("steps", 20):
            self._slot.enter(Stage.PROCESSING)
            self._in_hand()
            self._do(self._script.get("then"))
            self._slot.partition = 0

    def _progress(self) -> None:
        for partition in self._serve.partitions:
            if self._serve.role == "olap":
                record = self._board.olap(partition)
                record.position = record.committed = record.committed + 1
                record.in_hand = record.in_hand_end = record.position
                record.events += 1
                record.committed_ns = time.monotonic_ns()
            else:
                self._board.realtime(partition).committed += 1
        self._slot.events += 1

    def _in_hand(self) -> None:
        if self._serve.role == "olap" and self._serve.partitions:
            partition = self._serve.partitions[0]
            self._slot.partition = partition + 1
            record = self._board.olap(partition)
            record.in_hand, record.in_hand_end = record.position, record.position + 3

    def reopen(self) -> None:
        """It has no file."""

    def drain(self) -> None:
        self._do(self._script.get("drain"))

    def _do(self, action: str | None) -> None:
        verb, _, rest = (action or "nothing").partition(" ")
        getattr(self, f"_do_{verb}")(rest)

    def _do_nothing(self, _rest: str) -> None:
        pass

    def _do_exit(self, status: str) -> None:
        os._exit(int(status))

    def _do_signal(self, number: str) -> None:
        os.kill(os.getpid(), int(number))

    def _do_hang(self, _rest: str) -> None:
        time.sleep(10_000)

    def _do_hold(self, seconds: str) -> None:
        ctypes.PyDLL(None).usleep(int(float(seconds) * 1e6))

    def _do_stall(self, _rest: str) -> None:
        self._stalled = True

    def _do_refuse(self, _rest: str) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            self._slot.enter(Stage.DRAINING)
            time.sleep(_STEP_S)

    def _do_pause(self, seconds: str) -> None:
        time.sleep(float(seconds))

    def _do_grow(self, megabytes: str) -> None:
        self._hoard.append(bytearray(b"x" * (int(megabytes) << 20)))

    def _do_fail(self, rest: str) -> None:
        code, _, cause = rest.partition(" ")
        error = WorkerError(cause, "look at it", WorkerExit(int(code)))
        error.locate(self._serve.partitions[0], 7)
        raise error

    def _do_grandchild(self, _rest: str) -> None:
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        name = f"{self._serve.role}-{self._serve.index}.grandchild"
        (self._board.path.parent / name).write_text(str(sleeper.pid))


class _Probe(_Puppet):
    """Finds the partitions of the script, and says how far they reach and whether brokers answer."""

    def __init__(
        self,
        serve: Serve,
        board: Board,
        slot: WorkerSlot,
        script: dict[str, Any],
        tell: Callable[[Report], None],
    ) -> None:
        super().__init__(serve, board, slot, script)
        self._tell = tell
        self._found = 0

    def open(self) -> None:
        super().open()
        self.step()

    def step(self) -> None:
        self._steps += 1
        self._slot.enter(Stage.CONSUMING)
        script = _script(self._board.path.parent).get("probe", {})
        partitions = script.get("partitions", 4)
        if partitions != self._found:
            self._found = partitions
            self._tell(Found(partitions, "puppets", 3, "stage"))
        header = self._board.header
        header.brokers_asked_ns = time.monotonic_ns()
        if script.get("brokers", True):
            header.brokers_answered_ns = time.monotonic_ns()
            header.brokers_alive = 3
        for partition in range(partitions):
            record = self._board.topic(partition)
            record.end = self._board.olap(partition).committed + script.get("lag", 5)
            record.seen_ns = time.monotonic_ns()


def _script(run_dir: Path) -> dict[str, Any]:
    try:
        script: dict[str, Any] = json.loads((run_dir / "script.json").read_text())
    except FileNotFoundError:
        return {}
    return script


def _part_of(name: str, run_dir: Path) -> dict[str, Any]:
    """The part of the script for the process that takes seat ``name`` now."""
    part: dict[str, Any] = _script(run_dir).get(name, {})
    taken = run_dir / f"{name}.taken"
    with taken.open("a") as file:
        file.write(f"{os.getpid()}\n")
    if len(taken.read_text().split()) > part.get("times", 1_000_000):
        return {}
    return part


def _build(
    serve: Serve,
    _settings: Settings,
    _pipeline: object,
    board: Board,
    slot: WorkerSlot,
    tell: Callable[[Report], None],
    *_others: object,
    **_more: object,
) -> _Puppet:
    name = serve.role if serve.role == "probe" else f"{serve.role}-{serve.index}"
    part = _part_of(name, board.path.parent)
    return (
        _Probe(serve, board, slot, part, tell) if serve.role == "probe" else _Puppet(serve, board, slot, part)
    )


def _prepare(settings: Settings, _pipeline: object, asked: Prepare) -> Preparation:
    """Notes the partitions, and takes as long as the script says, by "preparing_s" of "spare"."""
    directory = run_dir(settings, os.environ)
    part = _part_of("spare", directory)
    whole = directory / f"{os.getpid()}.preparing"  # who looks, and kills on seeing it, finds all of it
    whole.write_text(json.dumps(asked.partitions))
    whole.replace(whole.with_suffix(".prepared"))

    def transaction(_partition: int) -> Transaction:
        time.sleep(part.get("preparing_s", 0))
        raise WorkerError("puppets have no brokers")

    return Preparation(asked, transaction, lambda partition: changelog(settings, partition))


roles.build = _build  # type: ignore[assignment]
roles.prepare = _prepare
