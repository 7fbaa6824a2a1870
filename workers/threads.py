"""CPUs and priority of every thread of this process: on Linux both belong to a thread, not to a process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

__all__ = ["confine"]

_TASKS = Path("/proc/self/task")


def confine(cpus: Collection[int], nice: int) -> None:
    """Give all threads these CPUs (none: leave them) and this niceness, and so all that will be started.

    Only ever nicer: a supervisor that was itself started with nice(1) may not take that back. Raises
    ``OSError`` where the system refuses.

    A thread inherits both from the one that starts it, at that moment. While we go through the threads, one
    that we have not come to may start another, which then has the old values; so we go on until a round finds
    nothing new. In the end each thread has been changed or was started by one that had been.
    """
    seen: set[int] = set()
    while new := _threads() - seen:
        for thread in new:
            with contextlib.suppress(ProcessLookupError):  # it has ended
                _confine(thread, cpus, nice)
        seen |= new


def _threads() -> set[int]:
    return {int(entry.name) for entry in _TASKS.iterdir()}


def _confine(thread: int, cpus: Collection[int], nice: int) -> None:
    if cpus:
        os.sched_setaffinity(thread, cpus)
    if nice > os.getpriority(os.PRIO_PROCESS, thread):
        os.setpriority(os.PRIO_PROCESS, thread, nice)
