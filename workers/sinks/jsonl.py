"""Events in a file, one JSON line each, rotated by size."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from workers.sinks.base import SinkFault, SinkLost, SinkUnavailable
from workers.sinks.lock import PathLock

__all__ = ["JsonlSink"]


class JsonlSink:
    """Appends to ``path``; ``path.1`` is the newest of ``keep`` rotated files of up to ``max_bytes``.

    A single line longer than ``max_bytes`` gets a file of its own. Lines are written through to the operating
    system with each batch, so they outlive this process, though not a power cut: nothing is fsynced.

    Raises :class:`SinkInUse` if another process writes there, :class:`SinkUnavailable` if that cannot be
    opened.
    """

    name = "jsonl"

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        # Resolved, so that rotation renames the file and not a link to it, and two links are one lock.
        self._path = path.resolve()
        self._max_bytes = max_bytes
        self._keep = keep
        # Begins at the start of a line; its first `_done` bytes are already in the file.
        self._pending = bytearray()
        self._done = 0
        self._size = 0
        self._descriptor = -1
        self._torn = False
        self._unflushed = False
        self._lost = False
        self._lock = PathLock(self._path)
        try:
            self._open()
        except SinkFault:
            self._lock.release()
            raise

    def write(self, lines: Sequence[bytes]) -> None:
        if lines:
            self._pending += b"\n".join(lines)
            self._pending += b"\n"
            self._put_out()

    def flush(self) -> None:
        self._put_out()
        # The file may have been removed since the look before the last write: then those lines went nowhere.
        self._examine()
        self._unflushed = False

    def poll(self) -> None:
        return

    def reopen(self) -> None:
        with contextlib.suppress(SinkUnavailable):  # what is left goes to the new file, by whole lines
            self._put_out()
        self._shut()
        self._open()

    def close(self) -> None:
        with contextlib.suppress(SinkFault):
            if self._pending:
                self._put_out()
        self._shut()
        self._lock.release()

    def _put_out(self) -> None:
        self._examine()
        try:
            if self._torn:
                self._size += os.write(self._descriptor, b"\n")
                self._torn = False
            while self._pending:
                if end := self._fitting():
                    self._append(end)
                else:
                    self._rotate()
        except OSError as error:
            raise self._unavailable(error) from error

    def _append(self, end: int) -> None:
        self._unflushed = True
        with memoryview(self._pending) as pending:
            written = os.write(self._descriptor, pending[self._done : end])
        self._size += written
        self._done += written
        whole = self._pending.rfind(b"\n", 0, self._done) + 1
        del self._pending[:whole]
        self._done -= whole

    def _fitting(self) -> int:
        """How far ``_pending`` may be written to this file, always to the end of a line; 0 is not at all."""
        room = self._max_bytes - self._size + self._done
        if len(self._pending) <= room:
            return len(self._pending)
        if (end := self._pending.rfind(b"\n", 0, max(room, 0)) + 1) > 0:
            return end
        if self._done or self._size == 0:
            return self._pending.index(b"\n") + 1
        return 0

    def _rotate(self) -> None:
        """Shift ``path`` to ``path.1`` and so on, from the oldest on.

        Killed between two renames, it leaves a gap in the numbers. The next rotation shifts only up to
        that gap, so that no rotated file is dropped for nothing.
        """
        numbered = [self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._keep + 1)]
        until = next((n for n, file in enumerate(numbered) if not file.exists()), self._keep - 1)
        for older, newer in zip(numbered[until:0:-1], numbered[until - 1 :: -1], strict=False):
            newer.replace(older)
        with contextlib.suppress(FileNotFoundError):
            if numbered:
                self._path.replace(numbered[0])
            else:
                self._path.unlink()
        self._shut()
        self._open()

    def _examine(self) -> None:
        """Open the file if it is not, and look at what others did to it."""
        if self._descriptor >= 0:
            status = os.fstat(self._descriptor)
            if status.st_nlink == 0:
                self._lost = self._unflushed
                self._shut()
            elif status.st_size != self._size:
                self._adopt(status.st_size)  # truncated: the line in hand starts anew
        if self._descriptor < 0:
            self._open()
        if self._lost:
            self._lost = self._unflushed = False
            self._pending.clear()
            self._done = 0
            raise SinkLost(f"{self._path} was removed while it was being written; it exists anew")

    def _open(self) -> None:
        try:
            # Without O_NONBLOCK, a FIFO in this place would hold us until somebody reads it.
            descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o640)
        except OSError as error:
            raise self._unavailable(error) from error
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise SinkUnavailable(
                f"{self._path} is not a regular file",
                "set realtime.jsonl.path to a file, or remove what is there",
            )
        self._descriptor = descriptor
        self._adopt(status.st_size)

    def _adopt(self, size: int) -> None:
        """Go on at the end of the file as it is; a line that a crash tore is to be ended first."""
        self._size = size
        self._done = 0
        self._torn = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"

    def _shut(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._done = 0

    def _unavailable(self, error: OSError) -> SinkUnavailable:
        return SinkUnavailable(
            f"{self._path} cannot be written: {error.strerror}",
            f"free space or mend permissions at {self._path.parent}; writing goes on by itself",
        )
