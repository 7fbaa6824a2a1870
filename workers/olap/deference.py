"""An OLAP worker gives way to whatever else runs on the machine while it works off a backlog, and then only.

Its threads are nice all the time, which counts among themselves. What counts beside brokers and the real-time
worker is the niceness of its session (``supervisor/host/priority.py``). Without a backlog it hardly uses the
CPU, and is to have it at once: its outputs are waited for, and a worker that was killed is not gone before
each of its threads has been given the CPU once more.
"""

from __future__ import annotations

from supervisor.host import priority

__all__ = ["Deference"]

_LEAST_S = 0.5


class Deference:
    """Of one worker; times are monotonic seconds."""

    def __init__(self, nice: int) -> None:
        self._usual = priority.session_nice()
        self._nice = max(nice, self._usual)
        self._given = self._usual
        self._again_s = 0.0

    def look(self, *, behind: bool, now: float) -> None:
        """To be called again and again; a change that is refused is tried again."""
        wanted = self._nice if behind else self._usual
        if wanted != self._given and now >= self._again_s:
            self._again_s = now + _LEAST_S
            if priority.give_way(wanted):
                self._given = wanted
