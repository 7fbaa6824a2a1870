"""Starts of ours on running brokers: how long each takes, what its processes hold, and many at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
from installation import Installation

from benchmarks.environment import clean
from supervisor.contract.board import Board, Role
from supervisor.generate.events import events

__all__ = ["command_line", "first_output", "installation", "many", "memory"]

_PARTITIONS = 4
_WAITING = 400
"""Events that are there before the start."""
_IDLE_S = 5.0
_MB = 1_000_000
_CACHE = Path(__file__).resolve().parent / ".cache"


def installation(servers: str, partitions: int = _PARTITIONS, toml: str = "") -> Installation:
    """One whose processes find byte code from the second start on, as those of an installed package do."""
    made = Installation(servers, partitions=partitions, toml=toml)
    made.environment = clean(made.environment, _CACHE)
    return made


def command_line(runs: int) -> dict[str, list[float]]:
    """Milliseconds of ``supervisor --help``, and of an interpreter that does nothing, in turn."""
    # The script that an installation has, not ``-m``: it is what people call.
    told = (str(Path(sys.executable).with_name("supervisor")), "--help")
    nothing = (sys.executable, "-c", "pass")
    variables = clean(dict(os.environ), _CACHE)
    found: dict[str, list[float]] = {"help": [], "interpreter": []}
    for _ in range(runs):
        for name, words in (("interpreter", nothing), ("help", told)):
            began = time.monotonic()
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=variables)
            found[name].append(round((time.monotonic() - began) * 1e3, 1))
    return found


def first_output(servers: str) -> dict[str, float]:
    """Milliseconds from the command to what stands on the way to the first committed transaction.

    Topics and events are there before, as they are wherever a supervisor is started again.
    """
    ours = installation(servers)
    try:
        ours.create_topics()
        ours.produce(islice(events(1), _WAITING))
        began = time.monotonic_ns()
        ours.start()
        board = ours.board()
        ours.wait(lambda: any(_moments(board)), "something is committed")
        first = min(moment for moment in _moments(board) if moment)
        ours.wait_serving(board)
        workers = [board.worker(seat.worker - 1) for seat in _seats(board, Role.OLAP)]
        moments = {
            "the supervisor is there": board.header.started_ns,
            "first OLAP worker's process is there": min(worker.started_ns for worker in workers),
            "first OLAP worker has its role": min(worker.served_ns for worker in workers),
            "first partition is taken over": min(board.olap(one).owned_ns for one in range(_PARTITIONS)),
            "first output is committed": first,
            "every seat is served": max(board.seat(place).owned_ns for place in range(board.header.seats)),
        }
        ours.stop()
        return {what: round((moment - began) / 1e6, 1) for what, moment in moments.items()}
    finally:
        ours.close()


def memory(servers: str) -> dict[str, list[float]]:
    """Memory that a process shares with no other, in MB, by what it is, with nothing to do."""
    ours = installation(servers)
    try:
        ours.create_topics()
        ours.produce(islice(events(1), _WAITING))
        ours.start()
        board = ours.board()
        ours.wait_serving(board)
        ours.wait_committed(board)
        time.sleep(_IDLE_S)
        found = _unique(ours, board)
        ours.stop()
        return found
    finally:
        ours.close()


def many(servers: str, count: int, total: int) -> dict[str, float]:
    """Seconds of each step of ``count`` OLAP workers with a partition each, over ``total`` events."""
    ours = installation(servers, count)
    try:
        ours.create_topics()
        ours.produce(islice(events(1), total))
        began = time.monotonic()
        ours.start()
        board = ours.board()
        ours.wait_serving(board)
        serving = time.monotonic()
        ours.wait_committed(board)
        done = time.monotonic()
        unique = sum(map(sum, _unique(ours, board).values()))
        stopping = time.monotonic()
        code = ours.stop()
        stopped = time.monotonic()
        if code:
            raise RuntimeError(f"{count} workers: the supervisor ended with {code}\n{ours.tail()}")
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
        ours.close()


def _moments(board: Board) -> list[int]:
    return [board.olap(partition).committed_ns for partition in range(_PARTITIONS)]


def _seats(board: Board, role: Role) -> list[Any]:
    every = map(board.seat, range(board.header.seats))
    return [seat for seat in every if seat.role == role]


def _unique(ours: Installation, board: Board) -> dict[str, list[float]]:
    assert ours.process is not None
    supervisor = ours.process.pid
    found: dict[str, list[float]] = {"supervisor": [_uss(supervisor)]}
    for slot in map(board.worker, range(board.workers)):
        if slot.pid and psutil.pid_exists(slot.pid):
            found.setdefault(Role(slot.role).name.lower(), []).append(_uss(slot.pid))
    return found


def _uss(pid: int) -> float:
    return round(psutil.Process(pid).memory_full_info().uss / _MB, 1)
