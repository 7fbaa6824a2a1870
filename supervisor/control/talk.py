"""How whoever gave a command hears of it: over their connection, or, for signals, in the log."""

from __future__ import annotations

import logging

from supervisor.control.connection import Connection
from supervisor.control.protocol import Ended, Said

__all__ = ["ConnectionTalk", "LogTalk"]

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
            _log_outcome(f"{self._command}, whose client has left", outcome)
        self._connection.finish(outcome)


class LogTalk:
    """For a command that came as a signal: everything goes to the log."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._ended = False

    def say(self, text: str) -> None:
        _log.info("%s: %s", self._command, text)

    def end(self, outcome: Ended) -> None:
        if not self._ended:
            self._ended = True
            _log_outcome(self._command, outcome)


def _log_outcome(command: str, outcome: Ended) -> None:
    remedy = f" ({outcome.remedy})" if outcome.remedy else ""
    _log.log(logging.INFO if outcome.ok else logging.ERROR, "%s: %s%s", command, outcome.text, remedy)
