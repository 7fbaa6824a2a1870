"""What a death means and when the next process may try: pure, with the clock passed in.

Exponential backoff with a cap, reset by committed progress and not by uptime: a worker that lives for an hour
without committing anything has not shown that it works.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from supervisor.contract.exits import WorkerExit

__all__ = ["Backoff", "Verdict", "judge"]


class Verdict(Enum):
    REPLACE = "replace"
    """A crash, a kill, a doubt: another process, after the backoff."""
    WAIT = "wait"
    """The brokers were away: another process after a pause; not the worker's fault."""
    GIVE_UP = "give up"
    """Another process would end the same way: stop, and say why."""
    STOPPED = "stopped"
    """It ended because it was told to."""


def judge(exit_code: int, *, told_to_stop: bool) -> Verdict:
    """What an end means. ``exit_code`` is negative for a signal, as ``multiprocessing`` has it."""
    if told_to_stop:
        return Verdict.STOPPED
    if exit_code in (WorkerExit.CONFIGURATION, WorkerExit.CONTESTED, WorkerExit.STATE):
        return Verdict.GIVE_UP
    if exit_code == WorkerExit.BROKERS_UNREACHABLE:
        return Verdict.WAIT
    return Verdict.REPLACE


@dataclass
class Backoff:
    """How long a seat waits before it is filled again: at once after the first death, then ``first_s``,
    doubled with each death up to ``cap_s``, until there is progress."""

    first_s: float = 0.1
    cap_s: float = 10.0
    _deaths: int = 0
    _progress: int = 0

    def died(self, progress: int) -> float:
        """Seconds to wait after a death; ``progress`` is a number that grows with what was committed."""
        if progress > self._progress:
            self._deaths = 0
        self._progress = progress
        self._deaths += 1
        if self._deaths == 1:
            return 0.0
        return min(self.cap_s, self.first_s * 2.0 ** min(self._deaths - 2, 30))
