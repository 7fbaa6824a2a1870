"""What happens to the workers, said once: to the log, to hooks, and to whoever follows ``supervisor events``.

The supervisor publishes; it does not know who listens, and no listener can hold it up or bring it down.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, get_args

from msgspec import Struct

__all__ = ["KINDS", "Happening", "Journal", "Kind", "Subscriber", "iso"]

_log = logging.getLogger("supervisor")

Kind = Literal[
    "standby",
    "serving",
    "died",
    "hung",
    "stalled",
    "recycled",
    "retiring",
    "parked",
    "unparked",
    "quarantined",
    "recovered",
    "brokers-away",
    "brokers-back",
    "limited",
    "unlimited",
    "reload-began",
    "reload-done",
    "reload-failed",
    "scaled",
    "scale-failed",
    "gave-up",
    "stopping",
    "stopped",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

_KEPT = 1_000
# Kinds that are not here are news, not trouble: info.
_LEVELS: dict[Kind, int] = {
    "standby": logging.DEBUG,
    "died": logging.WARNING,
    "brokers-away": logging.WARNING,
    "hung": logging.ERROR,
    "stalled": logging.ERROR,
    "parked": logging.ERROR,
    "quarantined": logging.ERROR,
    "reload-failed": logging.ERROR,
    "scale-failed": logging.ERROR,
    "gave-up": logging.ERROR,
}


class Happening(Struct, frozen=True):
    """One thing that happened. What does not apply is ``None``."""

    time: str
    """UTC, ISO 8601 with milliseconds: two of them compare as strings do."""
    event: Kind
    text: str
    """A sentence for people."""
    worker: str | None = None
    partition: int | None = None
    offset: int | None = None
    pid: int | None = None
    exit_code: int | None = None
    """Negative for a signal."""
    cause: str | None = None
    """The name of a ``policy.Cause`` in lower case."""


Subscriber = Callable[[Happening], None]


class Journal:
    """The last thousand happenings, and those who want to hear of the next."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC), keep: int = _KEPT) -> None:
        self._now = now
        self._kept: deque[Happening] = deque(maxlen=keep)
        self._subscribers: list[Subscriber] = []

    def publish(
        self,
        event: Kind,
        text: str,
        *,
        worker: str | None = None,
        partition: int | None = None,
        offset: int | None = None,
        pid: int | None = None,
        exit_code: int | None = None,
        cause: str | None = None,
    ) -> Happening:
        """Stamp it, log it, keep it, and tell everybody who has subscribed. Raises nothing."""
        # It may hold a file name or a program's output that is not UTF-8, and JSON cannot.
        text = text.encode("utf-8", "replace").decode()
        happening = Happening(iso(self._now()), event, text, worker, partition, offset, pid, exit_code, cause)
        _log.log(_LEVELS.get(event, logging.INFO), "%s", text, extra={"worker": worker})
        self._kept.append(happening)
        # A copy: whoever is told may leave, or bring somebody along.
        for subscriber in tuple(self._subscribers):
            self._tell(subscriber, happening)
        return happening

    def _tell(self, subscriber: Subscriber, happening: Happening) -> None:
        try:
            subscriber(happening)
        except Exception:
            self.unsubscribe(subscriber)
            _log.exception("a subscriber to events failed at %s and hears no more of them", happening.event)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call ``subscriber`` with everything that happens from now on; it must not block."""
        self._subscribers.append(subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Call it no more; it is no error if it was dropped before."""
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)

    def since(self, time: str = "") -> list[Happening]:
        """Those kept that are not older than ``time``, the oldest first; all of them without one."""
        return [happening for happening in self._kept if happening.time >= time]


def iso(moment: datetime) -> str:
    """``moment`` as :attr:`Happening.time` has it."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
