"""The log files of all processes as one story: merged by time, from their end backwards, and followed.

Only files are read, so it works whether a supervisor runs or not. They are read while others write, rotate
and remove them. What is no line of ours (a torn one, say) is shown as it is, after the line it stands behind.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from supervisor.contract.faults import Fault
from supervisor.contract.loglines import LEVELS, Line, decode
from supervisor.contract.logs import SPARES

__all__ = ["SUPERVISOR", "Follower", "Mark", "Wanted", "last", "processes", "resolve"]

SUPERVISOR = "supervisor"

_BLOCK = 64 * 1024
# A second process of the seat finds the new file after a second at most.
_LINGER_LOOKS = 20


def processes(directory: Path) -> list[str]:
    """Whose files there are."""
    return sorted(path.stem for path in directory.glob("*.log"))


def resolve(directory: Path, names: Iterable[str], seats: Iterable[str] = ()) -> tuple[str, ...]:
    """``names`` if each is one of the ``seats``, or has a file.

    Raises :class:`Fault` where it is neither, with the nearest that is, and where there are no files at all.
    """
    files = processes(directory)
    known = sorted({*files, *seats})
    if not files:
        raise Fault(
            f"there are no log files in {directory}",
            "is log.files = true, and this the configuration and the user of the supervisor?",
        )
    wanted = tuple(dict.fromkeys(names))
    for name in wanted:
        if name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, 1, 0.0)[0]
            raise Fault(
                f"there is no log of {name!r} in {directory}",
                f"the nearest is {near}; there are {', '.join(known)}",
            )
    return wanted


class Mark(NamedTuple):
    """A place in a file, whatever the file is called by now."""

    identity: tuple[int, int]
    place: int


class Wanted:
    """Which lines are to be shown. To be asked in the order of time, either way."""

    def __init__(self, names: tuple[str, ...] = (), level: str = "debug", since: str = "") -> None:
        self._names = names
        self._below = frozenset(LEVELS[: LEVELS.index(level)])
        self.since = since
        self._about = (
            re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, names))})(?![\w-])") if names else None
        )
        # Processes of the seats, seen so far: their lines from before they had a role belong to the story.
        self._pids: set[int] = set()

    def files(self, directory: Path) -> list[str]:
        """Whose files may hold such lines."""
        known = processes(directory)
        if not self._names:
            return known
        return [name for name in known if name in {*self._names, SUPERVISOR, SPARES}]

    def __call__(self, line: Line) -> bool:
        return self._of_them(line) and line.time >= self.since and line.level not in self._below

    def _of_them(self, line: Line) -> bool:
        if self._about is None:
            return True
        if line.process in self._names or (SPARES in self._names and line.process.startswith("worker-")):
            self._pids.add(line.pid)
            return True
        if line.process == SUPERVISOR:
            return line.worker in self._names or self._about.search(line.message) is not None
        return line.pid in self._pids


def last(
    directory: Path, wanted: Wanted, count: int | None, before: Mapping[str, Mark] | None = None
) -> list[Line]:
    """The last ``count`` lines that are wanted, or all of them, in the order of time.

    Files are read from their end and no further than needed; with ``before``, from there.
    """
    names = wanted.files(directory) if before is None else before
    sources = [
        _backwards(directory / f"{name}.log", wanted.since, before[name] if before is not None else None)
        for name in names
    ]
    merged = heapq.merge(*sources, key=lambda line: line.time, reverse=True)
    found = list(islice(filter(wanted, merged), count))
    found.reverse()
    return found


def _backwards(path: Path, since: str, mark: Mark | None) -> Iterator[Line]:
    """The lines of a file and of those it was rotated to, the newest first."""
    raw: list[bytes] = []
    latest = ""
    for data in _rows_backwards(path, mark):
        line = decode(data)
        if line is None:
            raw.append(data)
            continue
        latest = line.time
        if raw:
            yield _foreign(path, raw[::-1], line)
            raw.clear()
        if line.time < since:
            return
        yield line
    if raw:
        yield _foreign(path, raw[::-1], None, latest)


def _foreign(path: Path, rows: list[bytes], before: Line | None, time: str = "") -> Line:
    message = b"\n".join(rows).decode("utf-8", "backslashreplace")
    if before is None:
        return Line(time, "error", path.name.split(".log")[0], 0, message)
    return Line(before.time, "error", before.process, before.pid, message)


def _rows_backwards(path: Path, mark: Mark | None) -> Iterator[bytes]:
    """Of ``path``, ``path.1`` and so on; from ``mark`` on, wherever that file is by now.

    A rotation may come between two of them: then the next number is the file that has just been read.
    """
    seen: set[tuple[int, int]] = set()
    reached = mark is None
    number = 0
    while True:
        file = path if number == 0 else path.with_name(f"{path.name}.{number}")
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            if number:
                return
        except OSError as error:
            raise _unreadable(file, error) from error
        else:
            try:
                status = os.fstat(descriptor)
                identity = status.st_dev, status.st_ino
                end = status.st_size
                if mark is not None and identity == mark.identity:
                    reached, end = True, mark.place
                if reached and identity not in seen:
                    seen.add(identity)
                    yield from _rows_of(descriptor, end)
            finally:
                os.close(descriptor)
        number += 1


def _rows_of(descriptor: int, end: int) -> Iterator[bytes]:
    """The last first. What stands behind the last newline is still being written, and left out."""
    rest = b""
    whole = False
    while end > 0:
        begin = max(0, end - _BLOCK)
        rest = os.pread(descriptor, end - begin, begin) + rest
        end = begin
        first, *rows = rest.split(b"\n")
        if rows and not whole:
            rows.pop()
            whole = True
        yield from filter(None, reversed(rows))
        rest = first
    if rest and whole:
        yield rest


def _unreadable(path: Path, error: OSError) -> Fault:
    return Fault(f"the log file {path} cannot be read: {error.strerror}", "run it as the supervisor's user")


class Follower:
    """What is written from now on, over rotation and removal. To be asked several times a second.

    ``began`` is where it begins: what was written up to there is for :func:`last`, so that no line is shown
    twice or not at all.
    """

    def __init__(self, directory: Path, wanted: Wanted) -> None:
        self._directory = directory
        self._wanted = wanted
        self._open: dict[str, _Tail] = {}
        self._old: list[_Tail] = []
        self._look(at_end=True)
        self.began = {name: tail.mark() for name, tail in self._open.items()}

    def look(self) -> list[Line]:
        """The lines that have been written since, in the order of time."""
        self._look(at_end=False)
        found = [line for tail in (*self._old, *self._open.values()) for line in tail.read()]
        for tail in [old for old in self._old if old.is_over()]:
            self._old.remove(tail)
            tail.close()
        # Stable: lines of one file and one moment stay in their order.
        return sorted(filter(self._wanted, found), key=lambda line: line.time)

    def close(self) -> None:
        """May be called again. No number is closed twice: by then it may be that of another file."""
        for tail in (*self._old, *self._open.values()):
            tail.close()
        self._old.clear()
        self._open.clear()

    def _look(self, *, at_end: bool) -> None:
        for name in self._wanted.files(self._directory):
            path = self._directory / f"{name}.log"
            known = self._open.get(name)
            try:
                if known is not None and known.is_at(path):
                    continue
                tail = _Tail(path, at_end=at_end)
            except FileNotFoundError:
                continue  # rotated this very moment
            except OSError as error:
                raise _unreadable(path, error) from error
            if known is not None:
                self._old.append(known)  # whoever had it open may still write to it
            if not at_end:
                self._old += _since(path, known)
            self._open[name] = tail


def _since(path: Path, known: _Tail | None) -> Iterator[_Tail]:
    """What was begun after ``known`` and put away since the last look, which may be long ago: whoever reads
    from us may have paused.
    """
    passed: list[Path] = []
    while (file := path.with_name(f"{path.name}.{len(passed) + 1}")).exists():
        if known is not None and known.is_at(file):
            break
        passed.append(file)
    else:
        if known is not None:
            return  # it was removed: of the others nobody can tell which are newer
    for file in passed:
        with contextlib.suppress(OSError):
            yield _Tail(file, at_end=False)


class _Tail:
    """A file that grows, from some place on."""

    def __init__(self, path: Path, *, at_end: bool) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._begun = b""
        self._before: Line | None = None
        self._looks = 0
        self._place = self._end() if at_end else 0

    def _end(self) -> int:
        """Behind the last whole line: of one that is being written this moment, a part may be there."""
        size = os.fstat(self._descriptor).st_size
        begin = max(0, size - _BLOCK)
        return begin + os.pread(self._descriptor, size - begin, begin).rfind(b"\n") + 1

    def mark(self) -> Mark:
        status = os.fstat(self._descriptor)
        return Mark((status.st_dev, status.st_ino), self._place)

    def is_at(self, path: Path) -> bool:
        try:
            return os.path.samestat(path.stat(), os.fstat(self._descriptor))
        except OSError:
            return False

    def is_over(self) -> bool:
        """Whether the file has been out of its place for so long that nobody writes to it any more."""
        self._looks += 1
        return self._looks > _LINGER_LOOKS

    def read(self) -> Iterator[Line]:
        if os.fstat(self._descriptor).st_size < self._place:  # truncated, as by logrotate's copytruncate
            self._place, self._begun = 0, b""
        while data := os.pread(self._descriptor, _BLOCK, self._place):
            self._place += len(data)
            *rows, self._begun = (self._begun + data).split(b"\n")
            for row in filter(None, rows):
                line = decode(row)
                if line is None:
                    line = _foreign(self._path, [row], self._before)
                self._before = line
                yield line

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
