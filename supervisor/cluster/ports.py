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


def _can_listen(port: int) -> bool:
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

    Without it another cluster chose the port of a broker that was down, and the broker's restart failed. A
    port is held by a name that only one process at a time can have, an abstract socket, which the kernel
    takes back when the process ends; so this tells other clusters of ours, and nobody else.
    """

    def __init__(self, ports: Iterable[int]) -> None:
        """Raises Fault naming the port that another cluster has taken since it was chosen."""
        self._names: list[socket.socket] = []
        try:
            for port in ports:
                self._names.append(_named(port))
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give them back. Twice is as once."""
        for name in self._names:
            name.close()


def _named(port: int) -> socket.socket:
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        name.bind(_name(port))
    except OSError:
        name.close()
        raise _taken(port) from None
    return name


def _name(port: int) -> str:
    return f"\0kafka-supervisor-port-{port}"


def _is_held(port: int) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(_name(port))
        except OSError:
            return False
    return True


def is_free(port: int) -> bool:
    """Whether a server of ours can listen on 127.0.0.1:``port`` now, and no other cluster has it."""
    return not _is_held(port) and _can_listen(port)


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
        port = next(wanted, None) or random.randrange(_LOWEST, ceiling)
        if port not in chosen and port not in taken and is_free(port):
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
    by = holder(port) or ("a cluster whose broker is down" if _is_held(port) else "")
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
