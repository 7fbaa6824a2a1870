"""The control socket: takes requests off the loop and gives them to the supervisor.

Whoever may connect can stop the workers. Three things stand in the way of others: the run directory is 0700,
the socket 0600 from its first moment, and the kernel says whose process is at the other end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
from pathlib import Path

from supervisor.contract.exits import Exit
from supervisor.contract.faults import Fault
from supervisor.contract.rundir import socket_path
from supervisor.control.connection import OUT_BYTES, Connection
from supervisor.control.protocol import (
    CONTROL_SOCKET,
    Accepted,
    Commands,
    Ended,
    Events,
    Happened,
    Ping,
    Reload,
    Request,
    Restart,
    Scale,
    Stop,
    Talk,
    decode_request,
    encode,
    failed,
)
from supervisor.control.talk import ConnectionTalk
from supervisor.host.loop import Loop
from supervisor.reporting.journal import Happening, Journal, Subscriber

__all__ = ["MAX_CONNECTIONS", "Server"]

_log = logging.getLogger("supervisor")

MAX_CONNECTIONS = 32
_ACCEPT_PAUSE_S = 1.0
_UCRED = "3i"  # struct ucred: pid, uid, gid
# What is kept for `events --since` goes out in one piece, and must not get its reader dropped.
_HISTORY_BYTES = OUT_BYTES // 2


class Server:
    """Listens in ``run_dir`` from its construction to :meth:`close`.

    The caller holds the instance lock: that a socket lies there already then means that its owner is dead.
    Raises :class:`Fault` where no socket can be made.
    """

    def __init__(self, loop: Loop, run_dir: Path, commands: Commands, journal: Journal) -> None:
        self._loop = loop
        self._commands = commands
        self._journal = journal
        self._path = socket_path(run_dir, CONTROL_SOCKET)
        self._connections: set[Connection] = set()
        self._followers: dict[Connection, Subscriber] = {}
        self._listener = _listen(self._path)
        self._listening = False
        self._closed = False
        self._listen_again()

    def close(self) -> None:
        """Listen no more; whoever still waits for an outcome is told that the supervisor has stopped."""
        if self._closed:
            return
        self._closed = True
        if self._listening:
            self._loop.unwatch(self._listener.fileno())
        # While its name stands and the lock is held, nobody else can have put a socket there.
        self._path.unlink(missing_ok=True)
        self._listener.close()
        for connection in tuple(self._connections):
            # To a follower that is the end; to whoever waits for an outcome it is a failure.
            ok = connection in self._followers
            connection.finish(
                Ended(ok, "the supervisor has stopped", exit_code=Exit.OK if ok else Exit.FAILED)
            )
            connection.close()

    # -- clients ----------------------------------------------------------------------------------------

    def _listen_again(self) -> None:
        if not self._closed and not self._listening:
            self._listening = True
            self._loop.watch(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            # EMFILE, ENFILE, ENOMEM: the client stays in the queue, and the listener readable, so that to go
            # on at once would be a loop that does nothing else.
            _log.warning("the control socket cannot accept a client: %s", error.strerror)
            self._loop.unwatch(self._listener.fileno())
            self._listening = False
            self._loop.after(_ACCEPT_PAUSE_S, self._listen_again)
            return
        connection = Connection(self._loop, client, self._take, self._forget)
        self._connections.add(connection)
        uid = _peer_uid(client)
        if uid not in {0, os.geteuid()}:
            _log.warning("the control socket refuses a process of user %d", uid)
            connection.refuse(f"this is the supervisor of user {os.geteuid()}, and you are {uid}")
        elif len(self._connections) > MAX_CONNECTIONS:
            connection.refuse(f"{MAX_CONNECTIONS} clients are connected already")

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if (subscriber := self._followers.pop(connection, None)) is not None:
            self._journal.unsubscribe(subscriber)

    def _take(self, connection: Connection, line: bytes) -> None:
        try:
            request = decode_request(line)
        except ValueError as error:
            connection.refuse(f"that is no request: {error}")
            return
        if isinstance(request, Ping):
            connection.finish(Ended(True, f"the supervisor is here, pid {os.getpid()}"))
        elif isinstance(request, Events):
            self._tell_events(connection, request)
        else:
            self._carry_out(connection, request)

    # -- commands ---------------------------------------------------------------------------------------

    def _carry_out(self, connection: Connection, request: Restart | Reload | Scale | Stop) -> None:
        name = type(request).__name__.lower()
        talk = ConnectionTalk(name, connection)
        connection.send(Accepted(os.getpid()))
        _log.info("asked to %s", _describe(request))
        try:
            self._dispatch(request, talk)
        except Fault as fault:
            talk.end(failed(fault))
        except Exception:
            # The workers must not pay for a mistake in a command.
            _log.exception("%s failed", name)
            talk.end(
                Ended(
                    False, f"{name} failed because of a mistake in the supervisor", "see its log", Exit.FAILED
                )
            )

    def _dispatch(self, request: Restart | Reload | Scale | Stop, talk: Talk) -> None:
        if isinstance(request, Restart):
            self._commands.restart(request.worker, talk)
        elif isinstance(request, Reload):
            self._commands.reload(request.everything, talk)
        elif isinstance(request, Scale):
            self._commands.scale(request.workers, request.by, talk)
        else:
            self._commands.stop(request.quick, talk)

    # -- events -----------------------------------------------------------------------------------------

    def _tell_events(self, connection: Connection, request: Events) -> None:
        connection.send(Accepted(os.getpid()), *self._history(request.since))
        if not request.follow:
            connection.finish(Ended(True, "these are all"))
            return

        def tell(happening: Happening) -> None:
            connection.send(Happened(happening))

        if not connection.closed:
            self._followers[connection] = tell
            self._journal.subscribe(tell)

    def _history(self, since: str) -> list[Happened]:
        """What is kept, but for the oldest where it is too much to be sent at once."""
        found: list[Happened] = []
        size = 0
        for happening in reversed(self._journal.since(since)):
            reply = Happened(happening)
            size += len(encode(reply))
            if size > _HISTORY_BYTES:
                break
            found.append(reply)
        return found[::-1]


def _listen(path: Path) -> socket.socket:
    fresh = path.with_suffix(".new")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        fresh.unlink(missing_ok=True)
        # Not chmod after bind: between the two anybody could connect, and stay connected.
        before = os.umask(0o177)
        try:
            listener.bind(str(fresh))
        finally:
            os.umask(before)
        listener.listen(2 * MAX_CONNECTIONS)
        # Only now under its name, in place of what a killed supervisor left: a client finds an old socket, at
        # which it is refused, or one that listens.
        fresh.rename(path)
    except OSError as error:
        listener.close()
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise Fault(
            f"cannot create the control socket {path}: {error.strerror}",
            "make room there, or set runtime.run_dir to another directory",
        ) from error
    return listener


def _peer_uid(client: socket.socket) -> int:
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_UCRED))
    return int(struct.unpack(_UCRED, credentials)[1])


def _describe(request: Request) -> str:
    if isinstance(request, Restart):
        return f"restart {request.worker!r}" if request.worker else "restart all workers"
    if isinstance(request, Scale):
        return f"scale to {request.workers}" if request.workers is not None else f"scale by {request.by:+d}"
    if isinstance(request, Reload):
        return "reload, and replace all workers" if request.everything else "reload"
    return "stop quickly" if request == Stop(quick=True) else "stop"
