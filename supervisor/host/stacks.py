"""Stack dumps of workers: where a worker writes what its threads are doing, and how the supervisor reads it.

Python's faulthandler writes into the file, from a signal handler in C: also when a C call holds the
interpreter, and as the process crashes. A worker opens it at its start, so that nothing has to be opened or
allocated when the moment comes.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["open_file", "path_of", "tail"]

_DIRECTORY = "stacks"
# faulthandler writes at most a hundred frames of a thread: this is more than a dump of a worker.
_READ_BYTES = 64 * 1024
_REASON = "Fatal Python error: "
_CURRENT, _THREAD = "Current thread 0x", "Thread 0x"


def path_of(run_dir: Path, slot: int) -> Path:
    """The file of the worker in this slot of the board."""
    return run_dir / _DIRECTORY / str(slot)


def open_file(run_dir: Path, slot: int) -> int:
    """Open that file for its worker, emptied, mode 0600; returns the descriptor. Raises ``OSError``."""
    path = path_of(run_dir, slot)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def tail(run_dir: Path, slot: int, limit: int = 2_000) -> str:
    """What the newest dump says of the thread that matters, at most ``limit`` characters; empty if there is
    none.

    That is the thread in which the process crashed or, when it was asked what it is doing, the main one. Its
    innermost frames come first, so what is cut off are the outermost. To be read before another worker gets
    the slot: it empties the file.
    """
    try:
        descriptor = os.open(path_of(run_dir, slot), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        size = os.fstat(descriptor).st_size
        text = os.pread(descriptor, _READ_BYTES, max(0, size - _READ_BYTES)).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return _essence(text.splitlines())[:limit]


def _essence(lines: list[str]) -> str:
    reasons = [number for number, line in enumerate(lines) if line.startswith(_REASON)]
    threads = [number for number, line in enumerate(lines) if line.startswith((_CURRENT, _THREAD))]
    # A crash is the last that a process writes, whatever it was asked before.
    after = reasons[-1] if reasons else 0
    threads = [number for number in threads if number >= after]
    current = [number for number in threads if lines[number].startswith(_CURRENT)]
    chosen = ([lines[after]] if reasons else []) + (
        _section(lines, (current or threads)[-1]) if threads else []
    )
    return "\n".join(chosen)


def _section(lines: list[str], start: int) -> list[str]:
    """A thread's heading and frames: faulthandler indents frames by two spaces."""
    end = start + 1
    while end < len(lines) and lines[end].startswith("  "):
        end += 1
    return lines[start:end]
