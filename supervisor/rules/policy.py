"""What a death means, whom it is blamed on, and when the next process may try: pure, with chance passed in.

Exponential backoff with a cap, reset by committed progress and not by uptime: a worker that lives for an hour
without committing anything has not shown that it works. How many deaths are too many says ``budget``.
"""

from __future__ import annotations

import random as _random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Literal

from supervisor.contract.exits import WorkerExit
from supervisor.contract.settings import Restart

__all__ = ["Backoff", "Cause", "Intent", "Verdict", "blamed", "classify", "delays", "describe", "judge"]


class Cause(IntEnum):
    """Why a process ended: the classes of death. The numbers stand on the board, the names in the tally."""

    NONE = 0
    """It has not ended."""
    STOPPED = 1
    """It was told to: a stop, or its place is not needed any more."""
    RECYCLED = 2
    """It was replaced although nothing was wrong with it: age, count of events, memory."""
    CRASH = 3
    """An exception nobody expected, SIGSEGV, SIGABRT and the like, or an exit code nobody knows."""
    KILLED = 4
    """Somebody else ended it: SIGKILL, SIGTERM, SIGINT or SIGHUP from outside."""
    OUT_OF_MEMORY = 5
    """The kernel killed it for its memory, or it was above the hard limit."""
    HUNG = 6
    """It gave no sign of life for longer than its stage allows."""
    STALLED = 7
    """Its loop turned, and a partition with lag stood still."""
    DOUBT = 8
    FENCED = 9
    BROKERS = 10
    """Brokers did not answer: not its fault."""
    CONFIGURATION = 11
    STATE = 12
    CONTESTED = 13
    DLQ_LIMIT = 14
    START_TIMEOUT = 15
    """It was not ready for a role in time."""
    BUDGET = 16
    """Never why a process ended; why a partition is parked: its restart budget is spent."""


class Intent(Enum):
    """Why the supervisor itself ended a process."""

    NONE = "none"
    """It did not: the process ended by itself, or by somebody else's doing."""
    STOP = "stop"
    RETIRE = "retire"
    """It makes room for a successor: a reload, a restart by a person, fewer workers."""
    RECYCLE = "recycle"
    HANG = "hang"
    STALL = "stall"
    MEMORY = "memory"
    START_TIMEOUT = "start timeout"


class Verdict(Enum):
    """What the supervisor does about a death."""

    REPLACE = "replace"
    """Another process, after the backoff."""
    WAIT = "wait"
    """The brokers were away: another process after a pause; not the worker's fault."""
    GIVE_UP = "give up"
    """Another process would end the same way: stop everything, and say why."""
    PARK = "park"
    """Another process would end the same way: nobody serves its partitions, and the others run on."""
    STOPPED = "stopped"
    """It ended because it was told to."""


_BY_INTENT = {
    Intent.STOP: Cause.STOPPED,
    Intent.RETIRE: Cause.STOPPED,
    Intent.RECYCLE: Cause.RECYCLED,
    Intent.HANG: Cause.HUNG,
    Intent.STALL: Cause.STALLED,
    Intent.MEMORY: Cause.OUT_OF_MEMORY,
    Intent.START_TIMEOUT: Cause.START_TIMEOUT,
}

_BY_EXIT = {
    # SIGTERM from somebody else: it drains and ends in order, though it was not us who asked.
    WorkerExit.OK: Cause.KILLED,
    WorkerExit.CRASH: Cause.CRASH,
    WorkerExit.ORPHANED: Cause.KILLED,
    WorkerExit.DOUBT: Cause.DOUBT,
    WorkerExit.FENCED: Cause.FENCED,
    WorkerExit.STATE: Cause.STATE,
    WorkerExit.CONTESTED: Cause.CONTESTED,
    WorkerExit.DLQ_LIMIT: Cause.DLQ_LIMIT,
    WorkerExit.BROKERS_UNREACHABLE: Cause.BROKERS,
    WorkerExit.CONFIGURATION: Cause.CONFIGURATION,
}

_FROM_OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}

_BLAMED = {
    Cause.CRASH,
    Cause.KILLED,
    Cause.OUT_OF_MEMORY,
    Cause.HUNG,
    Cause.STALLED,
    Cause.DOUBT,
    Cause.FENCED,
    Cause.START_TIMEOUT,
}


def classify(exit_code: int, intent: Intent, *, out_of_memory: bool = False) -> Cause:
    """Why a process ended.

    ``exit_code`` is negative for a signal, as ``multiprocessing`` has it. ``out_of_memory`` says that the
    kernel's OOM killer was at work on it; it counts only beside a SIGKILL that we did not send.

    What we meant goes before how it ended: a worker told to stop that crashes in its last moment, or gets
    SIGKILL at the deadline, has stopped. That it ended uncleanly is still in the tally, by its exit code.
    """
    if intent is not Intent.NONE:
        return _BY_INTENT[intent]
    if exit_code == -signal.SIGKILL and out_of_memory:
        return Cause.OUT_OF_MEMORY
    if exit_code in _FROM_OUTSIDE:
        return Cause.KILLED
    return _BY_EXIT.get(exit_code, Cause.CRASH)  # type: ignore[call-overload, no-any-return]


def judge(cause: Cause, *, when_spent: Literal["stop", "park"] = "stop") -> Verdict:
    """What is done about it; ``when_spent`` is ``restart.when_spent`` of the settings.

    ``Cause.BUDGET`` may be asked, too: what to do now that the budget is spent.
    """
    match cause:
        case Cause.STOPPED:
            return Verdict.STOPPED
        case Cause.BROKERS:
            return Verdict.WAIT
        case Cause.CONFIGURATION | Cause.CONTESTED:
            return Verdict.GIVE_UP
        case Cause.DLQ_LIMIT:
            return Verdict.PARK
        case Cause.STATE | Cause.BUDGET:
            return Verdict.PARK if when_spent == "park" else Verdict.GIVE_UP
    return Verdict.REPLACE


def blamed(cause: Cause) -> bool:
    """Whether a death counts: for the backoff, for the budgets and as a restart in the status."""
    return cause in _BLAMED


def describe(cause: Cause, exit_code: int) -> str:
    """How a process ended, as people say it: ``SIGSEGV``, ``hang``, ``exit code 21, doubt``."""
    if cause in _IN_WORDS:
        return _IN_WORDS[cause]
    if exit_code < 0:
        try:
            return signal.Signals(-exit_code).name
        except ValueError:
            return f"signal {-exit_code}"
    try:
        return f"exit code {exit_code}, {WorkerExit(exit_code).name.lower().replace('_', ' ')}"
    except ValueError:
        return f"exit code {exit_code}"


_IN_WORDS = {
    Cause.OUT_OF_MEMORY: "out of memory",
    Cause.HUNG: "hang",
    Cause.STALLED: "stall",
    Cause.START_TIMEOUT: "not ready in time",
}


def delays(settings: Restart) -> list[float]:
    """The waits in seconds after the first death, the second and so on up to the cap, without jitter."""
    waits = [0.0]
    while waits[-1] < settings.backoff_cap_s:
        waits.append(_delay(settings, len(waits) + 1))
    return waits


def _delay(settings: Restart, deaths: int) -> float:
    if deaths <= 1:
        return 0.0
    # The exponent is bounded: 2.0 ** 1024 overflows.
    return min(settings.backoff_cap_s, settings.backoff_first_s * 2.0 ** min(deaths - 2, 1000))


@dataclass
class Backoff:
    """How long a seat waits before it is filled again: at once after the first death, then
    ``backoff_first_s``, doubled with each death up to ``backoff_cap_s``, until there is progress.

    Each wait is varied by up to ``backoff_jitter`` of it in both directions, at the cap too: cut off there,
    half of all workers would wait for exactly the cap and return in step.
    """

    settings: Restart = field(default_factory=Restart)
    random: Callable[[], float] = _random.random
    _deaths: int = 0
    _progress: int = 0

    def died(self, progress: int) -> float:
        """Seconds to wait after a death; ``progress`` is a number that grows with what was committed."""
        if progress > self._progress:
            self._deaths = 0
        self._progress = progress
        self._deaths += 1
        wait = _delay(self.settings, self._deaths)
        return wait * (1.0 + self.settings.backoff_jitter * (2.0 * self.random() - 1.0))

    def adopt(self, settings: Restart) -> None:
        """Wait by other numbers from the next death on; how many there were stays."""
        self.settings = settings

    def forget(self) -> None:
        """A person has intervened: the next death is the first again."""
        self._deaths = 0
