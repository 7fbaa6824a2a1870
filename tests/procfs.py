"""What the kernel tells of a process in ``/proc/<pid>``: ``status`` (proc_pid_status(5)) and ``fd``."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

__all__ = ["descriptors", "in_masks", "left_open", "open_below", "pids_inside"]


def descriptors(pid: int | None = None) -> frozenset[tuple[int, str]]:
    """What a process has open, this one if no other is named: numbers, and what they lead to."""
    found = []
    for link in list(Path(f"/proc/{pid or 'self'}/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # that by which they were listed
            found.append((int(link.name), str(link.readlink())))
    return frozenset(found)


def left_open(before: frozenset[tuple[int, str]]) -> int:
    """How many descriptors this process has that it did not have before.

    To be asked after many repetitions, and compared with their number: threads of clients that earlier tests
    left, or the garbage collector, may open and close a few of their own meanwhile.
    """
    return len(descriptors() - before)


def open_below(directory: Path) -> list[str]:
    """The files below a directory that this process has open, those too that are deleted by now."""
    return sorted(target for _, target in descriptors() if target.startswith(str(directory.resolve())))


def in_masks(pid: int, number: signal.Signals, *names: str) -> list[bool]:
    """Whether a signal is in these masks of a process: ``SigBlk``, ``SigIgn``, ``SigCgt``."""
    fields = _fields(pid)
    return [bool(int(fields[name], 16) >> (number - 1) & 1) for name in names]


def pids_inside(pid: int) -> list[int]:
    """A process's number in each of its PID namespaces, from ours to the innermost one."""
    return [int(number) for number in _fields(pid)["NSpid"].split()]


def _fields(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)
