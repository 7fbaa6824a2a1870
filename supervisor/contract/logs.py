"""Log lines of every process: text for people, JSON for machines, always on stderr.

The standard library's ``logging`` with two formatters of our own, because structlog would cost each of the
processes 124 ms of imports, which is most of what a restart may cost (measured, docs/architecture.md).
"""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime

import msgspec

from supervisor.contract.settings import Log

__all__ = ["set_up"]

_encode = msgspec.json.Encoder(enc_hook=str).encode


def set_up(settings: Log, process: str) -> None:
    """Send this process's log lines to stderr, with its name in each."""
    handler = logging.StreamHandler(sys.stderr)
    as_text = settings.format == "text" or (settings.format == "auto" and sys.stderr.isatty())
    handler.setFormatter(_Text(process) if as_text else _Json(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    kafka = logging.getLogger("kafka")
    kafka.filters[:] = [] if settings.level == "debug" else [_Throttle()]
    kafka.setLevel("DEBUG" if settings.level == "debug" else "ERROR")


class _Text(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__(f"%(asctime)s.%(msecs)03dZ %(levelname)-7s {process:<11} %(message)s", "%H:%M:%S")

    converter = staticmethod(time.gmtime)


class _Json(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line).decode()


class _Throttle(logging.Filter):
    """Lets a line through every ten seconds, with the number of those held back since.

    librdkafka tells of every connection it fails to make: in an outage that is a hundred lines a second from
    each process. One of them is worth reading, since it has the reason (refused, unknown host, certificate).
    """

    _EVERY_S = 10.0

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0
        self._held_back = 0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._next:
            self._held_back += 1
            return False
        if self._held_back:
            record.msg = f"{record.getMessage()} ({self._held_back} such lines held back)"
            record.args = ()
        self._next, self._held_back = now + self._EVERY_S, 0
        return True
