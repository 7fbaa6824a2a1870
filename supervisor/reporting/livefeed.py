"""Reads the live feed: the other end of :mod:`workers.sinks.live`."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from supervisor.contract.faults import Fault

__all__ = ["follow"]

_RETRY_S = 0.1


def follow(path: Path, patience_s: float, on_gap: Callable[[], None]) -> Iterator[list[bytes]]:
    """Lines of the feed at ``path``, as they arrive, without their newlines.

    When the worker is replaced the feed ends and comes back: that is waited for, up to ``patience_s``, and
    ``on_gap`` is called once it is back, since events may have been missed.

    Raises :class:`Fault` if there is no feed, if it is not for us, is full, or does not come back.
    """
    connection = _connect(path)
    while True:
        with connection:
            yield from _lines(connection)
        connection = _connect_again(path, patience_s)
        on_gap()


def _lines(connection: socket.socket) -> Iterator[list[bytes]]:
    rest = b""
    seen = 0
    lines: list[bytes] = []
    while piece := _receive(connection):
        *lines, rest = (rest + piece).split(b"\n")
        if seen == 0 and len(lines) == 1:
            _refuse_refusal(connection, lines[0])
        seen += len(lines)
        if lines:
            yield lines


def _refuse_refusal(connection: socket.socket, line: bytes) -> None:
    """A feed with too many readers says why and closes; an event that looks like it is followed by more."""
    if not line.startswith(b'{"error":'):
        return
    connection.settimeout(_RETRY_S)
    try:
        ended = not connection.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        ended = False
    connection.settimeout(None)
    if ended:
        raise Fault(str(msgspec.json.decode(line)["error"]), "end one of the other readers")


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except ConnectionResetError:
        return b""


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        if isinstance(error, PermissionError):
            raise Fault(f"the live feed at {path} belongs to another user", "run as that user") from error
        raise Fault(
            f"there is no live feed at {path}: no supervisor runs there, or its real-time worker is not up",
            "supervisor start (with realtime.enabled, and live in realtime.sinks)",
        ) from error
    return connection


def _connect_again(path: Path, patience_s: float) -> socket.socket:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return _connect(path)
        except Fault:
            if time.monotonic() >= deadline:
                raise Fault(
                    f"the live feed at {path} ended and was not back within {patience_s:g} s",
                    "supervisor status",
                ) from None
        time.sleep(_RETRY_S)
