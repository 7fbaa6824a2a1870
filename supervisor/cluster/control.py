"""How another terminal commands the keeper: one JSON line each way over a unix socket.

The socket is 0600 in a directory that is 0700. A keeper only does what takes no time (signal, start a
process, tell its state); what must be waited for is waited for by the one who asked, so it is never busy.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from supervisor.cluster.layout import Layout, Lock
from supervisor.contract.exits import Exit
from supervisor.contract.faults import AlreadyRunning, BrokersUnreachable, ConfigurationFault, Fault

__all__ = ["BrokerStatus", "ControlSocket", "Reply", "Request", "Status", "command", "reply_of"]

_LIMIT = 64 << 10
_SERVE_S = 1.0
_ASK_S = 5.0

Operation = Literal["status", "launch", "terminate", "kill", "stop"]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    operation: Operation
    broker: int = 0
    keep: bool | None = None
    """For ``stop``: keep the data or not, None as was said at the start."""


class BrokerStatus(msgspec.Struct, frozen=True):
    number: int
    port: int
    state: str
    """``running``, ``paused`` or ``stopped``."""
    pid: int | None
    exit_code: int | None
    """How it ended, negative by a signal; None while it runs."""
    log: str


class Status(msgspec.Struct, frozen=True):
    phase: Literal["starting", "running", "stopping"]
    pid: int
    """Of the keeper."""
    directory: str
    cluster_id: str
    bootstrap_servers: str
    keep: bool
    brokers: tuple[BrokerStatus, ...]


class Reply(msgspec.Struct, frozen=True):
    """Either ``status``, or the three parts of a Fault."""

    status: Status | None = None
    cause: str = ""
    remedy: str = ""
    exit_code: int = 0

    def unwrap(self) -> Status:
        """The status. Raises the Fault that the other side met."""
        if self.status is not None:
            return self.status
        kinds = (AlreadyRunning, BrokersUnreachable, ConfigurationFault)
        kind = next((one for one in kinds if one.exit_code == self.exit_code), Fault)
        raise kind(self.cause, self.remedy)


def reply_of(fault: Fault) -> Reply:
    return Reply(cause=fault.cause, remedy=fault.remedy, exit_code=int(fault.exit_code))


class ControlSocket:
    """The keeper's end. Call :meth:`serve` whenever :meth:`fileno` is readable, or every so often."""

    def __init__(self, layout: Layout, handle: Callable[[Request], Status]) -> None:
        self._path = layout.control
        self._handle = handle
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # What a killed keeper left; we hold the lock, so nobody listens on it.
        self._path.unlink(missing_ok=True)
        try:
            with _short(self._path) as address:
                former = os.umask(0o177)
                try:
                    self._listener.bind(address)
                finally:
                    os.umask(former)
        except OSError as error:
            self._listener.close()
            raise Fault(
                f"the control socket {self._path} cannot be made: {error.strerror}", "name another --dir"
            ) from error
        self._listener.listen(8)
        self._listener.setblocking(False)

    def fileno(self) -> int:
        return self._listener.fileno()

    def serve(self) -> None:
        """Answer everyone who waits. Who sends nonsense, or nothing, is dropped after a second at most."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                if _peer(connection) in (0, os.geteuid()):
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        try:
            request = msgspec.json.decode(_line(connection, _SERVE_S), type=Request)
            reply = Reply(status=self._handle(request))
        except Fault as fault:
            reply = reply_of(fault)
        except msgspec.DecodeError as error:
            reply = Reply(cause=f"not a request: {error}", exit_code=Exit.USAGE)
        connection.settimeout(_SERVE_S)
        connection.sendall(msgspec.json.encode(reply) + b"\n")

    def close(self) -> None:
        """The file stays for the next keeper to replace: by now it may be the next keeper's."""
        self._listener.close()


def command(layout: Layout, request: Request) -> Status:
    """Ask the keeper of ``layout``. Raises Fault where none runs, or it does not answer, or it refuses."""
    holder = Lock.holder(layout)
    if holder is None:
        raise Fault(f"no cluster is running in {layout.root}", "supervisor cluster start")
    try:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection,
            _short(layout.control) as address,
        ):
            connection.settimeout(_ASK_S)
            connection.connect(address)
            connection.sendall(msgspec.json.encode(request) + b"\n")
            return msgspec.json.decode(_line(connection, _ASK_S), type=Reply).unwrap()
    except FileNotFoundError as error:
        raise Fault(
            f"the cluster in {layout.root} takes no commands: it is just starting, or a program "
            f"(pid {holder}) runs it itself",
            "ask again in a moment, or use that program",
        ) from error
    except (OSError, msgspec.DecodeError) as error:
        raise Fault(
            f"the keeper of the cluster in {layout.root} does not answer ({error})",
            f"kill -9 {holder} ends it and every broker",
        ) from error


def _line(connection: socket.socket, seconds: float) -> bytes:
    """One line, in ``seconds`` altogether: a peer that sends a byte now and then gets no more than that."""
    deadline = time.monotonic() + seconds
    received = bytearray()
    while b"\n" not in received:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        part = connection.recv(4096)
        if not part:
            raise ConnectionResetError("the connection was closed")
        received += part
        if len(received) > _LIMIT or time.monotonic() > deadline:
            raise TimeoutError("too much or too slow")
    return bytes(received[: received.index(b"\n")])


def _peer(connection: socket.socket) -> int:
    """The user at the other end, as the kernel knows it."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """An address for ``path`` that fits: the kernel takes 107 bytes, a directory's name can be longer."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
