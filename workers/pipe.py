"""A worker's end of the pipe between it and the supervisor."""

from __future__ import annotations

from multiprocessing.connection import Connection

from supervisor.contract import logs
from supervisor.contract.messages import Command, Reopen, Report, decode_command, encode

__all__ = ["Orphaned", "Pipe"]


class Orphaned(Exception):
    """The supervisor is gone."""


class Pipe:
    """To be used by one thread. Raises :class:`Orphaned` once its other end is closed, which makes it the
    second guard against orphanhood, behind the kernel's signal."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def next(self, wait_s: float) -> Command | None:
        """What the supervisor says, if it says something within ``wait_s``; the log is reopened at once."""
        pipe = self._connection
        try:
            command = decode_command(pipe.recv_bytes()) if pipe.poll(wait_s) else None
        except (EOFError, OSError) as error:
            raise Orphaned from error
        if isinstance(command, Reopen):
            logs.reopen()
        return command

    def tell(self, report: Report) -> None:
        try:
            self._connection.send_bytes(encode(report))
        except OSError as error:
            raise Orphaned from error
