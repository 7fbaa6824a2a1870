"""How a client of the control socket hears of what it has asked for."""

from __future__ import annotations

import logging

from supervisor.control.connection import Connection
from supervisor.control.protocol import Ended, Said

__all__ = ["ConnectionTalk"]

_log = logging.getLogger("supervisor")


class ConnectionTalk:
    """To a client of the control socket. It may be gone: then the outcome is in the log instead."""

    def __init__(self, command: str, connection: Connection) -> None:
        self._command = command
        self._connection = connection
        self._ended = False

    def say(self, text: str) -> None:
        if not self._ended:
            self._connection.send(Said(text))

    def end(self, outcome: Ended) -> None:
        if self._ended:
            return
        self._ended = True
        if self._connection.closed:
            remedy = f" ({outcome.remedy})" if outcome.remedy else ""
            _log.log(
                logging.INFO if outcome.ok else logging.ERROR,
                "%s, whose client has left: %s%s",
                self._command,
                outcome.text,
                remedy,
            )
        self._connection.finish(outcome)
