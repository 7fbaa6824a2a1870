"""What the kernel tells of a process in ``/proc/<pid>``: ``status`` (proc_pid_status(5)) and ``fd``."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

__all__ = ["descriptors", "in_masks", "pids_inside"]


def descriptors() -> frozenset[tuple[int, str]]:
    """What this process has open: numbers, and what they lead to.

    Nothing was left open if this is a subset of what it was before. An equal number of them says less: what
    earlier tests left, to threads of clients or to the garbage collector, may be closed meanwhile.
    """
    found = []
    for link in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # that by which they were listed
            found.append((int(link.name), str(link.readlink())))
    return frozenset(found)


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
