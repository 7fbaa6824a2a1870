"""The service manager's end of sd_notify(3)."""

from __future__ import annotations

import contextlib
import socket

__all__ = ["Manager"]


class Manager:
    """Listens at an address, a path or an abstract name (``@…``)."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def environ(self, **more: str) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address, **more}

    def take(self) -> list[dict[str, str]]:
        """Every datagram that has arrived, as fields."""
        taken = []
        while True:
            try:
                lines = self.socket.recv(65536).decode().split("\n")
            except BlockingIOError:
                return taken
            taken.append(dict(line.split("=", 1) for line in lines))

    def fill(self) -> None:
        """Leave no room for another datagram."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            name = self.socket.getsockname()
            with contextlib.suppress(BlockingIOError):
                for _ in range(100_000):
                    other.sendto(b"X=1", name)
                raise AssertionError("the queue takes everything")
