"""Where log lines go without ever holding up who logs: standard error, and a file of one's own.

**Standard error** is shared by all processes, and whoever should read it may have stopped: a slow journal, a
container's runtime, a terminal after Ctrl-S. A blocking write would then halt the worker for good.
``O_NONBLOCK`` on the descriptor itself is no way out, since it belongs to the open file, which the shell and
every other process share. So, by what standard error is:

- pipe, terminal: opened anew through ``/proc``, which gives an open file of our own, non-blocking;
- socket (the journal): ``MSG_DONTWAIT`` with each ``send``;
- file, ``/dev/null``: written as it is, that does not wait;
- what cannot be opened anew (another user's, no ``/proc``): left to a thread, the only one that may wait.

Where that can be, a line is written by the thread that logs it: nothing is left in memory when SIGKILL comes.
Only what does not fit waits in a bounded queue, for a thread that is started then; beyond that, lines are
dropped and counted.

**The file** is local and written directly. A full disk costs the lines, and nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

__all__ = ["LogFile", "Stream"]

Send = Callable[[bytes], int]
Notice = Callable[[int], bytes]
"""Makes the line that says how many were dropped."""

_QUEUE_BYTES = 256 * 1024
_RETRY_S = 0.01
_LOOK_S = 1.0


class Stream:
    """Standard error, or another descriptor that others share.

    Every method is called with ``lock`` held, which is a condition of the one lock of all that is logged.
    """

    def __init__(self, descriptor: int, lock: threading.Condition, notice: Notice) -> None:
        self._descriptor = descriptor
        self._lock = lock
        self._notice = notice
        self._send, self._watched = _never_waiting(descriptor)
        # Its first item may be the rest of a line that was begun. What the thread is writing stays in it.
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._thread: threading.Thread | None = None
        self.dropped = 0
        """Lines dropped so far."""
        self._told = 0

    def put(self, line: bytes) -> bool:
        """Write the line, or queue it; whether it was not dropped. Does not wait."""
        if self._send is not None and not self._queue:
            told = self._told
            if self.dropped > told:
                line = self._tell() + line
            try:
                done = self._send(line)
            except BlockingIOError:
                done = 0
            except OSError:  # nobody reads it any more (EPIPE, EIO), or it is a file on a full disk
                self._told = told
                self.dropped += 1
                return False
            if done == len(line):
                return True
            line = line[done:]
        elif self._queued_bytes + len(line) > _QUEUE_BYTES:
            self.dropped += 1
            return False
        elif self.dropped > self._told:
            line = self._tell() + line
        self._queue.append(line)
        self._queued_bytes += len(line)
        self._run_thread()
        self._lock.notify_all()
        return True

    def finish(self, seconds: float) -> None:
        """Wait until everything queued is written, for this long at most."""
        deadline = time.monotonic() + seconds
        while self._queue and self._thread is not None and self._thread.is_alive():
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._lock.wait(left)

    def _tell(self) -> bytes:
        count, self._told = self.dropped - self._told, self.dropped
        return self._notice(count)

    def _run_thread(self) -> None:
        # Not alive: this is a child that was forked, and threads stay behind.
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._drain, name="log", daemon=True)
            with contextlib.suppress(RuntimeError):  # no room for a thread, or the interpreter is ending
                self._thread.start()

    def _drain(self) -> None:
        while True:
            with self._lock:
                while not self._queue:
                    self._lock.wait()
                line = self._queue[0]
            try:
                done, failed = self._write(line), False
            except OSError:
                done, failed = len(line), True
            with self._lock:
                self.dropped += failed
                self._queued_bytes -= done
                if done < len(line):
                    self._queue[0] = line[done:]
                else:
                    self._queue.popleft()
                if not self._queue and self.dropped > self._told and not failed:
                    # Nobody may log for a while: the gap is to be known now.
                    self._queue.append(self._tell())
                    self._queued_bytes += len(self._queue[0])
                self._lock.notify_all()

    def _write(self, line: bytes) -> int:
        """Waits, and therefore holds no lock."""
        if self._send is None:
            return os.write(self._descriptor, line)
        poller = select.poll()
        poller.register(self._watched, select.POLLOUT)
        while True:
            poller.poll()
            try:
                return self._send(line)
            except BlockingIOError:
                time.sleep(_RETRY_S)  # somebody else was quicker, or has the terminal's lock


def _never_waiting(descriptor: int) -> tuple[Send | None, int]:
    """A way to write to it that raises ``BlockingIOError`` where it would wait, and what to poll for it."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        import socket

        shared = socket.socket(fileno=os.dup(descriptor))
        return (lambda data: shared.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)), descriptor
    if stat.S_ISFIFO(mode) or os.isatty(descriptor):
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            own = os.open(f"/proc/self/fd/{descriptor}", flags)
        except OSError:
            return None, descriptor
        return partial(os.write, own), own
    # Not opened anew: without O_APPEND, which only its opener can give it, we would write over its beginning.
    return partial(os.write, descriptor), descriptor


class LogFile:
    """A file of JSON lines, rotated by size; ``path.1`` is the newest of ``keep`` rotated ones.

    Several processes may have it open at the same time: one that ends and its successor, or all that have no
    role yet. Each line is one ``write`` with ``O_APPEND``, so lines stay whole.

    Two of them may find it full together. Whoever rotates holds ``flock`` on the *file*, not the path, and
    looks whether the path still leads to that file. If not, somebody has rotated it, and there is only
    something to open. So no file is renamed over the one that was just put away. Who cannot have the lock
    at once does not wait: it writes on, and finds the new file within a second. The kernel frees the lock of
    a process that is killed.

    The same look, once a second, finds a file or directory that was removed or moved.
    """

    def __init__(self, path: Path, max_bytes: int, keep: int, notice: Notice) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._notice = notice
        self._descriptor = -1
        self._torn = False
        self._look_again = 0.0
        self.dropped = 0
        """Lines dropped so far."""
        self._told = 0
        self.problem: str = ""
        """Why the last line was dropped; empty if it was not."""

    def put(self, line: bytes) -> bool:
        """Append the line; whether that could be done."""
        try:
            self._prepare(len(line))
            if self.dropped > self._told:
                self._append(self._notice(self.dropped - self._told))
                self._told = self.dropped
            self._append(line)
        except OSError as error:
            self.problem = error.strerror or str(error)
            self.dropped += 1
            return False
        self.problem = ""
        return True

    def reopen(self) -> None:
        """Open what is at the path now with the next line; somebody has moved the file."""
        self.close()
        self._look_again = 0.0

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _append(self, line: bytes) -> None:
        data = b"\n" + line if self._torn else line
        done = os.write(self._descriptor, data)
        self._torn = self._torn if done == 0 else done < len(data)
        if done < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _prepare(self, needed: int) -> None:
        now = time.monotonic()
        if now >= self._look_again:
            self._look_again = now + _LOOK_S
            if self._descriptor >= 0 and not self._in_place():
                self.close()
            if self._descriptor < 0:
                self._open()
        elif self._descriptor < 0:
            raise OSError(0, self.problem)  # it could not be opened, less than a second ago
        size = os.fstat(self._descriptor).st_size
        if size and size + needed > self._max_bytes:
            self._rotate()

    def _in_place(self) -> bool:
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._descriptor))
        except OSError:
            return False

    def _open(self) -> None:
        # The directory alone, mode 0700: whatever is above it is not ours to make up again.
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(mode=0o700)
        # With O_NONBLOCK a FIFO in this place does not hold us until somebody reads it.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        descriptor = os.open(self.path, flags, 0o640)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is not a regular file")
        self._descriptor = descriptor
        size = status.st_size
        self._torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"

    def _rotate(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        try:
            if self._in_place():
                self._shift()
        except OSError:
            # The directory may not be written: a file that grows is better than none. The lock must go,
            # since this descriptor stays.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            return
        self.close()
        self._open()

    def _shift(self) -> None:
        """``path`` becomes ``path.1`` and so on, from the oldest on, as far as there is no gap."""
        numbered = [self.path.with_name(f"{self.path.name}.{n}") for n in range(1, self._keep + 1)]
        if not numbered:
            self.path.unlink()
            return
        until = next((n for n, file in enumerate(numbered) if not file.exists()), self._keep - 1)
        for older, newer in zip(numbered[until:0:-1], numbered[until - 1 :: -1], strict=False):
            newer.replace(older)
        self.path.replace(numbered[0])
