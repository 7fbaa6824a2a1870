"""The live feed: events on a unix socket, to whoever is looking."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from workers.sinks.base import SinkInUse, SinkUnavailable
from workers.sinks.lock import PathLock

__all__ = ["LiveSink"]

_CHUNK_LINES = 256
_BACKLOG = 16
_FULL = b'{"error":"the live feed has as many readers as it takes"}\n'


class LiveSink:
    """Serves a unix socket, mode 0600; each client gets JSON lines from when it connects.

    The feed never waits for a client: one that is slow loses its oldest lines and is told how many by a line
    ``{"dropped": n}``. Lines are joined once and shared by all clients, so that an event costs nearly the
    same however many are looking, and next to nothing when nobody is.

    Raises :class:`SinkInUse` if a living process serves ``path``, :class:`SinkUnavailable` if that cannot be
    served.
    """

    name = "live"

    def __init__(self, path: Path, max_clients: int = 32, buffer_bytes: int = 4 * 1024 * 1024) -> None:
        self._path = path
        self._max_clients = max_clients
        self._buffer_bytes = buffer_bytes
        self._clients: dict[int, _Client] = {}
        self._lock = PathLock(path)
        try:
            _remove_stale(path)
            self._listener = _listen(path)
        except (SinkInUse, SinkUnavailable):
            self._lock.release()
            raise
        self._inode = path.lstat().st_ino
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)

    def write(self, lines: Sequence[bytes]) -> None:
        if not self._clients or not lines:
            return
        for chunk, count in _chunks(lines):
            for client in self._clients.values():
                client.append(chunk, count)
        self._send()

    def flush(self) -> None:
        return  # nobody can rely on having seen an event here, so no offset waits for it

    def poll(self) -> None:
        for descriptor, events in self._epoll.poll(0):
            if descriptor == self._listener.fileno():
                self._accept()
            elif events & (select.EPOLLHUP | select.EPOLLERR):
                self._clients[descriptor].gone = True
            elif self._clients[descriptor].said_all():
                # Half-closed, as `nc -N` does at the end of its input: it still reads, until EPOLLHUP.
                self._epoll.modify(descriptor, 0)
        self._send()

    def reopen(self) -> None:
        return

    def close(self) -> None:
        if self._epoll.closed:
            return
        self._send()
        for client in self._clients.values():
            client.connection.close()
        self._clients.clear()
        with contextlib.suppress(OSError):
            # Only if the name is still ours, and only while the lock keeps a successor out.
            if self._path.lstat().st_ino == self._inode:
                self._path.unlink()
        self._epoll.close()
        self._listener.close()
        self._lock.release()

    def _accept(self) -> None:
        for _ in range(_BACKLOG):
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # nobody more, gone again, or no descriptors left: the next poll tries anew
            connection.setblocking(False)
            if len(self._clients) >= self._max_clients:
                with connection, contextlib.suppress(OSError):
                    connection.send(_FULL)
                continue
            client = _Client(connection, self._buffer_bytes)
            self._clients[connection.fileno()] = client
            self._epoll.register(connection, select.EPOLLIN)

    def _send(self) -> None:
        for descriptor, client in list(self._clients.items()):
            client.send()
            if client.gone:
                self._epoll.unregister(descriptor)
                client.connection.close()
                del self._clients[descriptor]


class _Client:
    """One reader: what waits for it and what it missed."""

    def __init__(self, connection: socket.socket, buffer_bytes: int) -> None:
        self.connection = connection
        self.gone = False
        self._buffer_bytes = buffer_bytes
        self._current: memoryview = memoryview(b"")  # begun, so it is sent to its end: lines are never torn
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._waiting_bytes = 0
        self._dropped = 0

    def append(self, chunk: bytes, lines: int) -> None:
        self._waiting.append((chunk, lines))
        self._waiting_bytes += len(chunk)
        while self._waiting_bytes > self._buffer_bytes:
            oldest, lost = self._waiting.popleft()
            self._waiting_bytes -= len(oldest)
            self._dropped += lost

    def send(self) -> None:
        try:
            while self._current or self._begin_next():
                sent = self.connection.send(self._current)
                self._current = self._current[sent:]
        except BlockingIOError:
            return
        except OSError:
            self.gone = True

    def said_all(self) -> bool:
        """Throw away what the reader says, which nobody asked for; true at the end of it."""
        try:
            return not self.connection.recv(4096)
        except OSError:
            return False

    def _begin_next(self) -> bool:
        if self._dropped:
            # What was dropped is older than all that waits, so it is told first.
            self._current = memoryview(b'{"dropped":%d}\n' % self._dropped)
            self._dropped = 0
        elif self._waiting:
            chunk, _ = self._waiting.popleft()
            self._waiting_bytes -= len(chunk)
            self._current = memoryview(chunk)
        return bool(self._current)


def _chunks(lines: Sequence[bytes]) -> Iterator[tuple[bytes, int]]:
    """Pieces small enough that dropping one is no great loss, with their number of lines."""
    for start in range(0, len(lines), _CHUNK_LINES):
        piece = lines[start : start + _CHUNK_LINES]
        yield b"\n".join(piece) + b"\n", len(piece)


def _remove_stale(path: Path) -> None:
    """Clear away the socket of a predecessor that was killed.

    We hold the lock, so whoever bound it has gone, unless somebody removed the lock's file meanwhile
    (cleaners of temporary directories do); a living one answers, and is left alone.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise SinkUnavailable(f"{path} is there and is no socket", f"look at what it is, then remove {path}")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError:
            pass  # its backlog is full, or it is not for us to reach: somebody's in any case
    raise SinkInUse(f"another process serves the live feed at {path}", "stop it, or set another app.name")


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.setblocking(False)
    # The mode has to be right from the start: between bind and a chmod anybody could connect.
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SinkUnavailable(
            f"the live feed cannot be served at {path}: {error.strerror or error}",
            f"see that {path.parent} exists, is writable and has a short path",
        ) from error
    finally:
        os.umask(mask)
    return listener
