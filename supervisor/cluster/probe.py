"""Asks one broker what it sees, over a plain socket.

A raw Metadata request rather than an admin client: it holds no threads and no handle in a process that
is about to fork brokers, it costs a millisecond, and it says exactly which broker did not answer.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

__all__ = ["View", "ask", "parse_metadata"]

_METADATA = 3
_VERSION = 2
"""The first version with the cluster id, and the last layout before throttle times: the shortest that serves.
Kafka 4 still answers it (KIP-896 keeps what non-Java clients of 2018 send)."""
_CORRELATION = 1
_LIMIT = 1 << 20


@dataclass(frozen=True)
class View:
    """A cluster as one broker sees it: its id, the brokers that are alive, and the controller (-1: none)."""

    cluster_id: str
    brokers: frozenset[int]
    controller: int


def ask(port: int, timeout: float) -> View | None:
    """Ask the broker at 127.0.0.1:``port``; None if it does not answer in ``timeout`` s or is no broker."""
    client = b"kafka-supervisor"
    # Header v1: api key, version, correlation id, client id; body: an empty list, "no topics".
    body = (
        struct.pack(">hhih", _METADATA, _VERSION, _CORRELATION, len(client)) + client + struct.pack(">i", 0)
    )
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(struct.pack(">i", len(body)) + body)
            (size,) = struct.unpack(">i", _read(connection, 4))
            if not 4 <= size <= _LIMIT:
                return None
            return parse_metadata(_read(connection, size))
    except (OSError, ValueError, struct.error):
        return None


def _read(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise ConnectionResetError("the broker closed the connection")
        parts += part
    return bytes(parts)


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def int32(self) -> int:
        (value,) = struct.unpack_from(">i", self._data, self._at)
        self._at += 4
        return int(value)

    def string(self) -> str:
        (size,) = struct.unpack_from(">h", self._data, self._at)
        self._at += 2
        if size < 0:
            return ""
        if self._at + size > len(self._data):
            raise ValueError("a string runs past the end of the answer")
        self._at += size
        return self._data[self._at - size : self._at].decode()


def parse_metadata(answer: bytes) -> View:
    """Decode a Metadata v2 response. Raises ValueError or struct.error when it is not one."""
    cursor = _Cursor(answer)
    if cursor.int32() != _CORRELATION:
        raise ValueError("the answer belongs to another request")
    brokers = set()
    for _ in range(cursor.int32()):
        brokers.add(cursor.int32())
        cursor.string()  # host
        cursor.int32()  # port
        cursor.string()  # rack
    return View(cluster_id=cursor.string(), brokers=frozenset(brokers), controller=cursor.int32())
