"""A supervisor as a user starts it, over puppets in the place of workers: real processes, and no Kafka."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

import msgspec
import psutil

from supervisor.contract.board import Board
from supervisor.contract.board import Seat as SeatRecord
from supervisor.rules.lifecycle import State
from supervisor.rules.policy import Cause
from tests.installation import PATIENCE_S, Installation

__all__ = ["Troupe"]


class Troupe(Installation):
    """See ``tests/pipelines/puppets.py`` for the script."""

    def __init__(self, script: dict[str, Any] | None = None, *, toml: str = "", partitions: int = 4) -> None:
        pipeline = "" if "app.pipeline" in toml else 'app.pipeline = "puppets"\n'
        super().__init__("127.0.0.1:1", partitions=partitions, toml=pipeline + toml)
        self.run_dir = self.directory / "run"
        self.run_dir.mkdir(mode=0o700)
        self.script(script or {})

    def script(self, script: dict[str, Any]) -> None:
        script.setdefault("probe", {}).setdefault("partitions", self.partitions)
        fresh = self.run_dir / "script.new"
        fresh.write_text(json.dumps(script))
        fresh.replace(self.run_dir / "script.json")

    def configure(self, toml: str) -> None:
        """Change a line of the configuration file, or add one, as a user does before a reload."""
        key = toml.partition(" = ")[0]
        lines = [line for line in self._config.read_text().splitlines() if not line.startswith(f"{key} = ")]
        self._config.write_text("\n".join([*lines, toml, ""]))

    def serving(self, *arguments: str) -> Board:
        """Start it, and wait until everybody serves."""
        self.start(*arguments)
        board = self.board()
        self.wait_serving(board)
        return board

    # -- looking --------------------------------------------------------------------------------------

    def seat(self, board: Board, name: str) -> SeatRecord:
        """The record of a seat, once there is one."""
        found: list[SeatRecord] = []

        def look() -> bool:
            for place in range(board.header.seats):
                seat = board.seat(place)
                role = {2: "olap", 3: "realtime", 4: "probe"}[seat.role]
                if name == (role if role == "probe" else f"{role}-{seat.index}"):
                    found.append(seat)
            return bool(found)

        self.wait(look, f"there is a seat {name}")
        return found[0]

    def wait_state(self, seat: SeatRecord, state: State, patience_s: float = PATIENCE_S) -> None:
        self.wait(lambda: seat.state == state, f"a seat is {state.name}", patience_s)

    def wait_replaced(self, seat: SeatRecord, pid: int) -> int:
        """Until another process than ``pid`` serves the seat; returns its pid."""
        self.wait(lambda: seat.pid not in (0, pid) and seat.owned_ns != 0, f"process {pid} is replaced")
        return seat.pid

    def deaths(self, worker: str = "") -> list[dict[str, Any]]:
        """The tally, or that of one worker."""
        path = self.run_dir / "deaths.jsonl"
        lines = path.read_bytes().splitlines() if path.exists() else []
        found = [msgspec.json.decode(line) for line in lines]
        return [death for death in found if worker in ("", death["worker"])]

    def taken(self, name: str) -> list[int]:
        """The pids of all that ever took a seat."""
        path = self.run_dir / f"{name}.taken"
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    def logged(self, text: str) -> bool:
        return text in self.log.read_text(errors="replace") if self.log.exists() else False

    def wait_logged(self, text: str, patience_s: float = PATIENCE_S) -> None:
        self.wait(lambda: self.logged(text), f"the log says {text!r}", patience_s)

    def elapse(self, seconds: float) -> None:
        """Let time pass, where time is what the test is about."""
        time.sleep(seconds)

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """Another command, under way."""
        return subprocess.Popen(
            [sys.executable, "-m", "supervisor", arguments[0], "--config", str(self._config), *arguments[1:]],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def cause(seat: SeatRecord) -> Cause:
    return Cause(seat.cause)


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(pids: Iterable[int], patience_s: float = PATIENCE_S) -> bool:
    """Whether all of them end. The guardian does, and the tracker of multiprocessing, when they notice that
    the supervisor has ended: a moment after it."""
    deadline = time.monotonic() + patience_s
    left = set(pids)
    while left and time.monotonic() < deadline:
        left = {pid for pid in left if alive(pid)}
        time.sleep(0.005)
    return not left
