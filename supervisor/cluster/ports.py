"""Which ports the brokers listen on."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Collection, Iterable
from pathlib import Path

import psutil

from supervisor.cluster.properties import LOOPBACK
from supervisor.contract.faults import Fault

__all__ = ["Held", "choose", "consecutive", "holder", "is_free"]

_LOWEST = 10_000
_TRIES = 2_000


def is_free(port: int) -> bool:
    """Whether a server can listen on 127.0.0.1:``port`` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        # As Java does: connections of a former server that linger in TIME_WAIT are no hindrance.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
            listener.listen(1)
        except OSError:
            return False
    return True


class Held:
    """Ports that stay a cluster's own while none of its brokers listens on them.

    Without it another cluster chose the port of a broker that was down, and the broker's restart failed.
    """

    def __init__(self, ports: Iterable[int]) -> None:
        """Raises Fault naming the port that was taken since it was chosen."""
        self._sockets: list[socket.socket] = []
        try:
            for port in ports:
                self._sockets.append(_bound(port))
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give them back. Twice is as once."""
        for held in self._sockets:
            held.close()


def _bound(port: int) -> socket.socket:
    """A socket that has the port and does not listen.

    Java binds with SO_REUSEADDR, which the kernel lets it do beside us as long as both sides have that option
    and none listens; :func:`_is_unclaimed` asks without it, and is refused.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((LOOPBACK, port))
    except OSError:
        held.close()
        raise _taken(port) from None
    return held


def _is_unclaimed(port: int) -> bool:
    """Whether nobody listens on the port, holds it for a broker that is down, or has just left it."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as asking:
        try:
            asking.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose(count: int, preferred: Iterable[int] = (), taken: Collection[int] = ()) -> list[int]:
    """``count`` free ports, the ``preferred`` ones where they are free, none of ``taken``.

    They lie below the range from which the kernel takes ports for outgoing connections. From within it, a
    killed broker's port could be some client's by the time the broker is restarted, and the restart fail.
    """
    chosen: list[int] = []
    wanted = iter(preferred)
    ceiling = _ephemeral_floor()
    for _ in range(_TRIES):
        if len(chosen) == count:
            return chosen
        wish = next(wanted, None)
        port = wish or random.randrange(_LOWEST, ceiling)
        if port in chosen or port in taken:
            continue
        # What was wished for was ours before, and may linger from then.
        if is_free(port) if wish else _is_unclaimed(port):
            chosen.append(port)
    if len(chosen) == count:
        return chosen
    raise Fault(f"no {count} free ports were found between {_LOWEST} and {ceiling}", "give one with --port")


def consecutive(first: int, count: int) -> list[int]:
    """The ports ``first``, ``first + 1`` and so on, all free. Raises Fault naming the one that is taken."""
    if not 1024 <= first <= 65_536 - count:
        raise Fault(f"{count} ports from {first} on do not fit between 1024 and 65535", "give another --port")
    for port in range(first, first + count):
        if not is_free(port):
            raise _taken(port)
    return list(range(first, first + count))


def _taken(port: int) -> Fault:
    by = holder(port)
    return Fault(
        f"port {port} is taken" + (f" by {by}" if by else ""), "stop that process, or give another --port"
    )


def holder(port: int) -> str:
    """Who listens on ``port``, as "java (pid 123)"; empty where the system does not tell."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr or not connection.pid:
                continue
            if connection.laddr.port == port:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""


def _ephemeral_floor() -> int:
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
        return max(int(text.split()[0]), _LOWEST + 1_000)
    except (OSError, ValueError, IndexError):
        return 32_768
