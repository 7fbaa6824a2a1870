"""Login events that say in their device id which one they are, and when they were due to be sent."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from supervisor.generate.events import events
from workers.logins import Event, enrich

__all__ = ["Mark", "Numbered", "mark_of"]

_SEED = 1
_DISTINCT = 50_000
_EVENT = re.compile(rb'(.*"device_id":")[^"]+(".*"timestamp":)"?\d+"?}')
_MARK = re.compile(rb'"device_id": ?"(\d{3})-(\d{12})-(\d{19})"')


class Mark(NamedTuple):
    """What an event, and the output that was made of it, says of itself."""

    partition: int
    number: int
    """From zero on, of its partition."""
    due_ns: int
    """When it was due to be sent, by the monotonic clock."""


class Numbered:
    """As the generator makes them, but for those that have no device id to be told apart by.

    ``epoch_ns`` is what the monotonic clock lacks of the time since 1970: an event's timestamp follows from
    its due time, so that whoever knows its mark knows all of it.
    """

    def __init__(self, epoch_ns: int) -> None:
        self._epoch_ns = epoch_ns
        found = (_EVENT.fullmatch(value or b"") for _, value in islice(events(_SEED), _DISTINCT))
        self._parts = [match.groups() for match in found if match]

    def value(self, mark: Mark) -> bytes:
        partition, number, due_ns = mark
        head, middle = self._parts[number % len(self._parts)]
        second = (due_ns + self._epoch_ns) // 1_000_000_000
        return b"%b%03d-%012d-%019d%b%d}" % (head, partition, number, due_ns, middle, second)

    def output(self, mark: Mark) -> dict[str, Any]:
        """What the login pipeline has to make of it."""
        output, _ = enrich(msgspec.json.decode(self.value(mark), type=Event))
        return dict(msgspec.json.decode(msgspec.json.encode(output)))


def mark_of(value: bytes) -> Mark | None:
    """The mark of an event or an output, if it has one."""
    found = _MARK.search(value)
    return Mark(int(found[1]), int(found[2]), int(found[3])) if found else None
