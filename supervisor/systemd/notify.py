"""sd_notify(3): datagrams to the service manager that started us. The wire alone; what is said is in notices.

Our own, since what there is on PyPI lacks ``MONOTONIC_USEC`` or blocks, and since this must never fail: a
service manager that does not listen is no reason to stop working.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import MutableMapping

__all__ = ["Notifier"]

# systemd reads 4,096 bytes of a datagram, and drops a longer one whole: READY=1 must not go with its STATUS=.
_LONGEST_STATUS = 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Notifier:
    """Sends to ``$NOTIFY_SOCKET``, a path or an abstract name (``@…``).

    Takes its variables out of ``environ``: workers and what they start would otherwise speak for us, or be
    told by ``WATCHDOG_USEC`` to send pings of their own.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._address = _address(environ.pop("NOTIFY_SOCKET", ""))
        period = _watchdog_s(environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", ""))
        self.watchdog_s: float | None = period if self._address else None
        """How often a ping is expected at the least, in seconds; ``None`` if none is."""
        self._socket: socket.socket | None = None

    @property
    def active(self) -> bool:
        """Whether anybody wants to be notified."""
        return self._address is not None

    def send(self, **fields: str | int) -> bool:
        """Send one datagram of ``NAME=value`` lines; whether it was taken. Never blocks, never raises.

        It is not taken while the manager's queue is full (10 datagrams by the kernel's default) or its socket
        is away; what matters is to be sent again.
        """
        if self._address is None:
            return True
        lines = (f"{name}={_one_line(str(value))}" for name, value in fields.items())
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._socket.setblocking(False)
            # Not connected: a socket that is made anew at the same path is found again.
            self._socket.sendto("\n".join(lines).encode("utf-8"), self._address)
        except OSError:
            return False
        return True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _address(text: str) -> bytes | None:
    """The socket's address; ``None`` for none, and for kinds that are not ours, such as ``vsock:…``."""
    if text.startswith("/"):
        return os.fsencode(text)
    return b"\0" + os.fsencode(text[1:]) if text.startswith("@") and len(text) > 1 else None


def _watchdog_s(usec: str, pid: str) -> float | None:
    """The period, if it is meant for this process (sd_watchdog_enabled(3))."""
    if pid and pid != str(os.getpid()):
        return None
    # isascii: `isdigit` alone is also true of ², which int() refuses.
    return int(usec) / 1e6 if usec.isascii() and usec.isdigit() and int(usec) > 0 else None


def _one_line(text: str) -> str:
    """As one line: a line break in a worker's last words must not become a field of its own (``MAINPID=``).

    In UTF-8 that systemd accepts, and not too long; what is cut is marked.
    """
    data = _CONTROL.sub(" ", text).encode("utf-8", "replace")
    if len(data) <= _LONGEST_STATUS:
        return data.decode()
    return data[: _LONGEST_STATUS - 3].decode("utf-8", "ignore") + "…"
