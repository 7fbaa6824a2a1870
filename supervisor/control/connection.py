"""One client on the control socket: its request comes in, replies go out, and neither holds up the loop."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from enum import Enum

from supervisor.contract.exits import Exit
from supervisor.control.protocol import MAX_REQUEST_BYTES, Ended, Reply, encode
from supervisor.host.loop import Loop

__all__ = ["OUT_BYTES", "Connection"]

OUT_BYTES = 1 << 20
"""A client that leaves more than this unread is dropped."""
_REQUEST_S = 5.0
_LAST_REPLY_S = 5.0
_LOOK_S = 1.0
_PIECE = 64 * 1024


class _Watched(Enum):
    NOTHING = 0
    READING = 1
    WRITING = 2


class Connection:
    """Hands over one request line, and then takes replies until :meth:`finish` or the client's end."""

    def __init__(
        self,
        loop: Loop,
        client: socket.socket,
        on_request: Callable[[Connection, bytes], None],
        on_closed: Callable[[Connection], None],
    ) -> None:
        client.setblocking(False)
        self._loop = loop
        self._socket = client
        self._on_request = on_request
        self._on_closed = on_closed
        self._in = bytearray()
        self._out = bytearray()
        self._asked = False
        self._finishing = False
        self._deaf = False
        """The client has closed its writing end: there is nothing to be read any more."""
        self._watched = _Watched.NOTHING
        self.closed = False
        self._timer = loop.after(
            _REQUEST_S, lambda: self.refuse(f"no request has arrived within {_REQUEST_S:g} s")
        )
        self._watch(_Watched.READING)

    # -- in ---------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            piece = self._socket.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not piece:
            self._client_ended()
        elif self._asked:
            self.refuse("one connection takes one request")
        else:
            self._in += piece
            self._look_for_request()

    def _look_for_request(self) -> None:
        end = self._in.find(b"\n")
        if len(self._in) > MAX_REQUEST_BYTES:
            self.refuse(f"a request has at most {MAX_REQUEST_BYTES} bytes")
        elif end >= 0 and end + 1 < len(self._in):
            self.refuse("one connection takes one request")
        elif end >= 0:
            line = bytes(self._in)
            self._in.clear()
            self._asked = True
            self._timer.cancel()
            self._on_request(self, line)

    def _client_ended(self) -> None:
        if not self._asked and self._in:
            self.refuse("the request ended without a newline")
        elif not self._asked:
            self.close()
        else:
            # It has said all it wanted, and may still listen, as `socat` does at the end of its input.
            self._deaf = True
            self._watch(_Watched.WRITING if self._out else _Watched.NOTHING)
            self._look_for_it()

    def _look_for_it(self) -> None:
        """Close once it no longer listens either. Nothing is readable by that any more, and a follower may
        have nothing written to it for days: 32 of those that are gone would keep everybody else out."""
        if self._has_hung_up():
            self.close()
        elif not self._finishing:
            self._timer = self._loop.after(_LOOK_S, self._look_for_it)

    def _has_hung_up(self) -> bool:
        """Whether the client is gone altogether: at the end of its writing alone there is no POLLHUP."""
        poll = select.poll()
        poll.register(self._socket, 0)
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))

    # -- out --------------------------------------------------------------------------------------------

    def send(self, *replies: Reply) -> None:
        """Send, now or when the client takes it; nothing happens once it is gone.

        A client that does not read, and has :data:`OUT_BYTES` waiting for it, is dropped.
        """
        if self.closed or self._finishing:
            return
        waited = bool(self._out)
        self._out += b"".join(map(encode, replies))
        # While something waits the loop says when there is room.
        if not waited:
            self._flush()
        if len(self._out) > OUT_BYTES:
            self.close()

    def _flush(self) -> None:
        try:
            del self._out[: self._socket.send(self._out)]
        except BlockingIOError:
            pass
        except OSError:  # EPIPE, ECONNRESET: nobody is there any more
            self.close()
            return
        if self._out:
            self._watch(_Watched.WRITING)
        elif self._finishing:
            self.close()
        else:
            self._watch(_Watched.NOTHING if self._deaf else _Watched.READING)

    def refuse(self, cause: str) -> None:
        """Say what was wrong, and end."""
        self.finish(Ended(False, f"refused: {cause}", "docs/control.md has what can be asked", Exit.FAILED))

    def finish(self, outcome: Ended) -> None:
        """Send the last reply, and end once it has gone out, or could not for some seconds."""
        self._timer.cancel()
        if self.closed or self._finishing:
            return
        self.send(outcome)
        self._finishing = True
        if not self.closed and not self._out:
            self.close()
        elif not self.closed:
            self._timer = self._loop.after(_LAST_REPLY_S, self.close)

    def close(self) -> None:
        """End it, with whatever has not gone out."""
        if self.closed:
            return
        self.closed = True
        self._timer.cancel()
        self._watch(_Watched.NOTHING)
        self._socket.close()
        self._out.clear()
        self._on_closed(self)

    def _watch(self, wanted: _Watched) -> None:
        if wanted is self._watched:
            return
        if self._watched is not _Watched.NOTHING:
            self._loop.unwatch(self._socket.fileno())
        if wanted is _Watched.READING:
            self._loop.watch(self._socket.fileno(), self._readable)
        elif wanted is _Watched.WRITING:
            self._loop.watch_writable(self._socket.fileno(), self._flush)
        self._watched = wanted
