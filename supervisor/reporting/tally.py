"""The tally of deaths: one JSON document a line in a file of the run directory, bounded and rotated.

It survives the supervisor, so that a record that kills its workers is still known after a restart. To write
it down never fails and never stops anybody: on a full disk a death is kept in memory alone.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

__all__ = ["FILE", "Death", "Tally", "read"]

FILE = "deaths.jsonl"
"""Its name in the run directory."""

_STACK_CHARACTERS = 4_000
_TEXT_CHARACTERS = 1_000
# Six bytes for each character at worst, as \u00e4, and some for the rest.
_LINE_BYTES = 6 * (_STACK_CHARACTERS + _TEXT_CHARACTERS) + 2_000


class Death(Struct, frozen=True, kw_only=True):
    """How one process ended, and what it had in hand."""

    time: str
    """By the clock on the wall, ISO 8601, for people; nothing is computed from it."""
    worker: str
    """The seat, such as ``olap-2``, or ``spare``."""
    pid: int
    uptime_s: float
    exit_code: int
    """Negative for a signal."""
    cause: str
    """The name of a ``policy.Cause`` in small letters, such as ``out_of_memory``."""
    partition: int | None = None
    """The partition it was working on, and the offsets that were in hand: the first, and the one behind."""
    offset: int | None = None
    offset_end: int | None = None
    topic_id: str = ""
    """The id of the input: in another one that bears its name these offsets are other records."""
    stack_tail: str = ""
    text: str = ""
    """Its last words, or how it ended."""

    @property
    def clean(self) -> bool:
        """Whether it ended in order. Who was told to stop or was recycled may not have."""
        return self.exit_code == 0


class Tally:
    """The last ``keep`` deaths, the oldest first, with the file at ``path`` behind them."""

    def __init__(self, path: Path, keep: int) -> None:
        self._path = path
        self._keep = max(1, keep)
        self._deaths = deque(read(path, self._keep), maxlen=self._keep)
        self._lines = _count_lines(path, self._keep)
        self.unwritten = 0
        """Deaths that could not be written down."""

    def read(self) -> list[Death]:
        """Every death that is remembered, the oldest first."""
        return list(self._deaths)

    def append(self, death: Death) -> None:
        """Keep ``death``, and write it down if the disk lets us."""
        death = msgspec.structs.replace(
            death,
            stack_tail=_speakable(death.stack_tail[-_STACK_CHARACTERS:]),
            text=_speakable(death.text[:_TEXT_CHARACTERS]),
            worker=_speakable(death.worker),
        )
        self._deaths.append(death)
        try:
            if self._lines >= self._keep:
                self._path.replace(_rotated(self._path))
                self._lines = 0
            _append_line(self._path, msgspec.json.encode(death))
            self._lines += 1
        except OSError:
            self.unwritten += 1


def read(path: Path, keep: int) -> list[Death]:
    """The last ``keep`` deaths that are written down, the oldest first.

    Whatever is no death is left out: a line torn by a full disk or a lost machine, or another version's.
    """
    return [*_read_one(_rotated(path), keep), *_read_one(path, keep)][-keep:]


def _rotated(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _append_line(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        # A line that was torn must not swallow this one.
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        data = b"\n" * torn + line + b"\n"
        if os.write(descriptor, data) < len(data):
            raise OSError("no space for the whole line")
    finally:
        os.close(descriptor)


def _lines(path: Path, keep: int) -> Iterable[bytes]:
    """The lines at the end of the file, as many bytes as ``keep`` deaths may take."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - keep * _LINE_BYTES))
        return file.read().split(b"\n")
    return ()


_decode = msgspec.json.Decoder(Death).decode


def _read_one(path: Path, keep: int) -> list[Death]:
    deaths: deque[Death] = deque(maxlen=keep)
    for line in _lines(path, keep):
        # RecursionError: a line of nothing but brackets.
        with contextlib.suppress(msgspec.MsgspecError, ValueError, RecursionError):
            deaths.append(_decode(line))
    return list(deaths)


def _count_lines(path: Path, keep: int) -> int:
    return sum(1 for line in _lines(path, keep) if line)


def _speakable(text: str) -> str:
    """Without the halves of characters that UTF-8 has no bytes for: a path or a message may hold them."""
    return text.encode("utf-8", "replace").decode("utf-8")
