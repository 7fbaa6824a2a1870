"""One installation drains a backlog beside real-time events: how old these get, and how fast that goes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from installation import Installation

from benchmarks.backlog import delete_topics
from benchmarks.environment import Absent
from benchmarks.livelatency import Load, Reader, connects, quantiles
from supervisor.governor.control import State

__all__ = ["PARTITIONS", "Course", "Hold", "Stand", "nothing"]

PARTITIONS = 4
_WORKED_OFF = 0.95
_STEP_S = 0.05
_SETTLE_S = 1.0
_UNDER_LIMIT_S = 6.0
_PATIENCE_S = 30.0
_DRAIN_S = 300.0
_OVER_S = 1.0
_WHOLE = 0.9
_ENOUGH = 500
"""A second's worth: of fewer there is no 99th percentile."""


class Stand:
    """One installation that drains the topic, and the reader of its live feed."""

    def __init__(self, servers: str, topic: str, toml: str) -> None:
        self.installation = Installation(
            servers, partitions=PARTITIONS, toml=f'realtime.start = "latest"\n{toml}'
        )
        self.servers = servers
        self._topic = topic
        self._at_end: list[Callable[[], None]] = []

    def start(self) -> None:
        """Start it, and return when it is up: every seat is served, and the spare is connected."""
        installation = self.installation
        installation.create_topics()
        installation.start("--set", f"topics.input.name={self._topic}")
        self.board = installation.board()
        # The feed is there as soon as the real-time worker has its role; OLAP workers begin at the same time.
        path = installation.directory / "run" / "live.sock"
        installation.wait(lambda: connects(path), "the live feed is served")
        self.reader = Reader(path)
        self.reader.start()
        installation.wait_serving(self.board)
        installation.wait_spare(self.board)

    def position(self) -> int:
        """How many events are committed, of all partitions."""
        return sum(self.board.olap(partition).committed for partition in range(PARTITIONS))

    def at_end(self, act: Callable[[], None]) -> None:
        """Have ``act`` called once all of its processes have ended."""
        self._at_end.append(act)

    def close(self) -> None:
        process = self.installation.process
        if process is not None and process.poll() is None:
            self.installation.stop()
        self.installation.close()
        for act in self._at_end:
            act()
        delete_topics(self.servers, self.installation.name)


Hold = Callable[[Stand], None]
"""What is done to an installation once it serves, to hold its OLAP side back."""


def nothing(_stand: Stand) -> None:
    """Hold nothing back."""


@dataclass(frozen=True)
class Course:
    """A backlog of ``backlog`` events in ``topic``, for one installation after the other."""

    servers: str
    topic: str
    backlog: int
    idle_s: float
    most_s: float
    """A drain is looked at for this long at most."""

    def drain(self, toml: str, hold: Hold = nothing) -> dict[str, Any]:
        """Drain the backlog, then be idle behind it; the ages of both, and the OLAP side's rate.

        Raises :class:`Absent` where it was drained before anything could be seen.
        """
        stand = Stand(self.servers, self.topic, toml)
        try:
            stand.start()
            hold(stand)
            found, busy = self._drained(stand)
            header = stand.board.header
            found["limited"] = header.limited
            if header.governor == State.OFF:
                header.partition_rate = 0
            stand.installation.wait(lambda: stand.position() >= self.backlog, "all is drained", _DRAIN_S)
            time.sleep(_SETTLE_S)
            began = time.monotonic_ns()
            time.sleep(self.idle_s)
            idle = (began, time.monotonic_ns())
            time.sleep(_SETTLE_S)  # what was sent by then has been shown
            found |= {
                "busy": quantiles(stand.reader.ages(*busy)),
                "idle": quantiles(stand.reader.ages(*idle)),
            }
            if min(found[phase]["n"] for phase in ("busy", "idle")) < _ENOUGH:
                raise Absent("too few events were seen: a larger backlog or a longer idle time is needed")
            found["ratio"] = found["busy"]["p99"] / found["idle"]["p99"]
            return found
        finally:
            stand.close()

    def _drained(self, stand: Stand) -> tuple[dict[str, Any], tuple[int, int]]:
        """The rate over most of the backlog, and from when to when that was."""
        began, first = time.monotonic_ns(), stand.position()
        until = began + int(self.most_s * 1e9)
        while (position := stand.position()) < self.backlog * _WORKED_OFF and time.monotonic_ns() < until:
            time.sleep(_STEP_S)
        ended = time.monotonic_ns()
        seconds = (ended - began) / 1e9
        return {"olap_rate": (position - first) / seconds, "seconds": seconds}, (began, ended)

    def calm(self, load: Load, toml: str, whole: float) -> float | None:
        """Seconds from the last real-time event, amid the backlog, to nine tenths of the ``whole`` rate; by
        then for a second. ``None`` if it does not come."""
        stand = Stand(self.servers, self.topic, toml)
        try:
            stand.start()
            time.sleep(_UNDER_LIMIT_S)
            load.sending.clear()
            return _recovered(stand, whole)
        finally:
            load.sending.set()
            stand.close()


def _recovered(stand: Stand, whole: float) -> float | None:
    calm = time.monotonic()
    seen = [(calm, stand.position())]
    while (now := time.monotonic()) - calm < _PATIENCE_S:
        position = stand.position()
        seen.append((now, position))
        then, before = next(moment for moment in seen if moment[0] > now - _OVER_S - _STEP_S)
        if now - then > _OVER_S * 0.9 and (position - before) / (now - then) >= _WHOLE * whole:
            return then - calm
        time.sleep(_STEP_S)
    return None
