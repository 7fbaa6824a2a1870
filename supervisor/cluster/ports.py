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

__all__ = ["choose", "consecutive", "holder", "is_free"]

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
            by = holder(port)
            raise Fault(
                f"port {port} is taken" + (f" by {by}" if by else ""),
                "stop that process, or give another --port",
            )
    return list(range(first, first + count))


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
