"""Events on standard output, one JSON line each."""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Sequence

from workers.sinks.base import SinkClosed, SinkUnavailable

__all__ = ["StdoutSink"]

# A pipe that polls as writable has room for PIPE_BUF bytes, so a write of no more never blocks.
_STEP_BYTES = select.PIPE_BUF
_FLUSH_WAIT_S = 0.05
_PENDING_LIMIT_BYTES = 1024 * 1024
_READER_GONE = {errno.EPIPE, errno.EIO, errno.ECONNRESET, errno.EBADF}


class StdoutSink:
    """Writes to a descriptor that it shares with others and so leaves in blocking mode.

    A reader that is slow, or a terminal stopped by Ctrl-S, loses nothing: lines wait here, and beyond 1 MiB
    the worker is asked to wait too. It never sits in a blocked write, so its heartbeat goes on.

    ``O_NONBLOCK`` is a property of the open file, which the shell and other processes share with us: setting
    it would make *their* writes fail. Therefore: poll, then write no more than certainly fits.
    """

    name = "stdout"

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._pending = bytearray()
        self._poller = select.poll()
        self._poller.register(descriptor, select.POLLOUT)

    def write(self, lines: Sequence[bytes]) -> None:
        if lines:
            self._pending += b"\n".join(lines)
            self._pending += b"\n"
        self._put_out(0)
        if len(self._pending) > _PENDING_LIMIT_BYTES:
            raise self._slow()

    def flush(self) -> None:
        self._put_out(_FLUSH_WAIT_S)
        if self._pending:
            raise self._slow()

    def poll(self) -> None:
        if self._pending:
            try:
                self._put_out(0)
            except (SinkClosed, SinkUnavailable):
                return  # the next write or flush says so again

    def reopen(self) -> None:
        return

    def close(self) -> None:
        self.poll()
        self._pending.clear()

    def _put_out(self, wait_s: float) -> None:
        done = 0
        deadline = time.monotonic() + wait_s
        try:
            with memoryview(self._pending) as pending:
                while done < len(pending) and self._writable(deadline):
                    done += os.write(self._descriptor, pending[done : done + _STEP_BYTES])
        except BlockingIOError:
            return  # somebody else made it non-blocking
        except OSError as error:
            if error.errno in _READER_GONE:
                raise SinkClosed("nobody reads standard output any more") from error
            raise SinkUnavailable(
                f"standard output cannot be written: {error.strerror}", "events go on when it can"
            ) from error
        finally:
            del self._pending[:done]

    def _writable(self, deadline: float) -> bool:
        return bool(self._poller.poll(max(0.0, deadline - time.monotonic()) * 1000))

    def _slow(self) -> SinkUnavailable:
        return SinkUnavailable(
            f"the reader of standard output is slow: {len(self._pending)} bytes wait for it",
            "nothing is lost; use the live feed (supervisor tail) where events may be skipped",
        )
