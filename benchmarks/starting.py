"""Starts of ours on running brokers: how long each takes, what its processes hold, and many at once."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
from installation import Installation

from supervisor.contract.board import Board, Role
from supervisor.generate.events import events

__all__ = ["command_line", "first_output", "many", "memory"]

_PARTITIONS = 4
_WAITING = 400
"""Events that are there before the start."""
_IDLE_S = 5.0
_MB = 1_000_000


def command_line(runs: int) -> dict[str, list[float]]:
    """Milliseconds of ``supervisor --help``, and of an interpreter that does nothing, in turn."""
    # The script that an installation has, not ``-m``: it is what people call.
    told = (str(Path(sys.executable).with_name("supervisor")), "--help")
    nothing = (sys.executable, "-c", "pass")
    found: dict[str, list[float]] = {"help": [], "interpreter": []}
    for _ in range(runs):
        for name, words in (("interpreter", nothing), ("help", told)):
            began = time.monotonic()
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            found[name].append(round((time.monotonic() - began) * 1e3, 1))
    return found


def first_output(servers: str) -> dict[str, float]:
    """Milliseconds from the command to what stands on the way to the first committed transaction.

    Topics and events are there before, as they are wherever a supervisor is started again.
    """
    installation = Installation(servers, partitions=_PARTITIONS)
    try:
        installation.create_topics()
        installation.produce(islice(events(1), _WAITING))
        began = time.monotonic_ns()
        installation.start()
        board = installation.board()
        installation.wait(lambda: any(_moments(board)), "something is committed")
        first = min(moment for moment in _moments(board) if moment)
        installation.wait_serving(board)
        workers = [board.worker(seat.worker - 1) for seat in _seats(board, Role.OLAP)]
        moments = {
            "the supervisor is there": board.header.started_ns,
            "first OLAP worker's process is there": min(worker.started_ns for worker in workers),
            "first OLAP worker has its role": min(worker.served_ns for worker in workers),
            "first partition is taken over": min(board.olap(one).owned_ns for one in range(_PARTITIONS)),
            "first output is committed": first,
            "every seat is served": max(board.seat(place).owned_ns for place in range(board.header.seats)),
        }
        installation.stop()
        return {what: round((moment - began) / 1e6, 1) for what, moment in moments.items()}
    finally:
        installation.close()


def memory(servers: str) -> dict[str, list[float]]:
    """Memory that a process shares with no other, in MB, by what it is, with nothing to do."""
    installation = Installation(servers, partitions=_PARTITIONS)
    try:
        installation.create_topics()
        installation.produce(islice(events(1), _WAITING))
        installation.start()
        board = installation.board()
        installation.wait_serving(board)
        installation.wait_committed(board)
        time.sleep(_IDLE_S)
        found = _unique(installation, board)
        installation.stop()
        return found
    finally:
        installation.close()


def many(servers: str, count: int, total: int) -> dict[str, float]:
    """Seconds of each step of ``count`` OLAP workers with a partition each, over ``total`` events."""
    installation = Installation(servers, partitions=count)
    try:
        installation.create_topics()
        installation.produce(islice(events(1), total))
        began = time.monotonic()
        installation.start()
        board = installation.board()
        installation.wait_serving(board)
        serving = time.monotonic()
        installation.wait_committed(board)
        done = time.monotonic()
        unique = sum(map(sum, _unique(installation, board).values()))
        stopping = time.monotonic()
        code = installation.stop()
        stopped = time.monotonic()
        if code:
            raise RuntimeError(f"{count} workers: the supervisor ended with {code}\n{installation.tail()}")
        return {
            "workers": count,
            "events": total,
            "restarts": sum(seat.restarts for seat in _seats(board, Role.OLAP)),
            "start_s": round(serving - began, 2),
            "done_s": round(done - began, 2),
            "stop_s": round(stopped - stopping, 2),
            "unique_mb": round(unique, 1),
        }
    finally:
        installation.close()


def _moments(board: Board) -> list[int]:
    return [board.olap(partition).committed_ns for partition in range(_PARTITIONS)]


def _seats(board: Board, role: Role) -> list[Any]:
    every = map(board.seat, range(board.header.seats))
    return [seat for seat in every if seat.role == role]


def _unique(installation: Installation, board: Board) -> dict[str, list[float]]:
    assert installation.process is not None
    supervisor = installation.process.pid
    found: dict[str, list[float]] = {"supervisor": [_uss(supervisor)]}
    for slot in map(board.worker, range(board.workers)):
        if slot.pid and psutil.pid_exists(slot.pid):
            found.setdefault(Role(slot.role).name.lower(), []).append(_uss(slot.pid))
    return found


def _uss(pid: int) -> float:
    return round(psutil.Process(pid).memory_full_info().uss / _MB, 1)
