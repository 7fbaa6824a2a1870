"""Counts per window and dimensions, in memory: pure bookkeeping without Kafka.

There are two kinds of window: the total, and the minute of event time (tumbling, one minute). An event counts
in the total always, and in its minute unless

- it has no time;
- it is *late*: more than the retention behind the newest event, so that its minute is closed and forgotten;
- it is *ahead*: more than a day newer than the record that carried it, or than now, which is a broken clock.
  Were it believed, one such event would close every window that is open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from workers.pipeline import Key

__all__ = ["LONGEST", "TOTAL", "Counts", "Dimensions", "Window", "WindowedCounts", "too_long"]

LONGEST = 10_000
"""Characters that the dimensions of an event may have together."""

Dimensions = tuple[Any, ...]
Window = int | None
"""Epoch minute, or :data:`TOTAL`."""
TOTAL: Window = None
Counts = dict[Dimensions, int]

_AHEAD_MINUTES = 24 * 60
# The years 1 to 9999: what a window's name can say.
_FIRST_MINUTE, _LAST_MINUTE = -62_135_596_800 // 60, 253_402_300_799 // 60
_PLAIN = (str, int, type(None))


class WindowedCounts:
    """The aggregates of one partition.

    ``changed`` collects what differs from what was last written; :meth:`written` empties it. There is no
    going back: a worker whose transaction fails ends, and its successor restores from the changelog.
    """

    def __init__(self, retention_s: int) -> None:
        self._retention = max(1, retention_s // 60)
        self._windows: dict[Window, Counts] = {}
        self._changed: dict[Window, set[Dimensions]] = {}
        self._newest: int | None = None
        self.late = 0
        """Events that counted in the total alone because their minute was closed or not believed."""

    def restore(self, window: Window, dimensions: Dimensions, count: int) -> None:
        """Take over a count that was written earlier."""
        self._windows.setdefault(window, {})[dimensions] = count
        if window is not None and (self._newest is None or window > self._newest):
            self._newest = window

    def add(
        self,
        keys: Sequence[Key | None],
        record_minute: int,
        record_minutes: Callable[[], Sequence[int]],
        counted: Mapping[Key | None, int] | None = None,
    ) -> None:
        """Count ``keys``, one for each record; ``counted``, how often each is among them, if that is known.

        ``record_minute`` is the oldest minute among the records, ``record_minutes`` gives each one's own; it
        is called only where some event seems to be ahead of its record. No record is to be of the future: a
        producer whose clock is ahead stamps its records with it, too.
        """
        counted = Counter(keys) if counted is None else counted
        believed = record_minute + _AHEAD_MINUTES
        if any(key is not None and key[0] is not None and key[0] > believed for key in counted):
            for key, minute in zip(keys, record_minutes(), strict=True):
                self._count(key, 1, minute + _AHEAD_MINUTES)
        else:
            for key, count in counted.items():
                self._count(key, count, believed)

    def _count(self, key: Key | None, count: int, believed: int) -> None:
        if key is None:
            return
        minute, dimensions = key[0], key[1:]
        if minute is not None and not (type(minute) is int and _FIRST_MINUTE <= minute <= _LAST_MINUTE):
            raise TypeError(f"{minute!r} is no epoch minute")
        self._add(TOTAL, dimensions, count)
        if minute is None:
            return
        if minute <= believed and self._is_open(minute):
            self._add(minute, dimensions, count)
        else:
            self.late += count

    def _is_open(self, minute: int) -> bool:
        if self._newest is None or minute > self._newest:
            self._newest = minute
        return minute > self._newest - self._retention

    def _add(self, window: Window, dimensions: Dimensions, count: int) -> None:
        counts = self._windows.setdefault(window, {})
        if dimensions not in counts:
            _require_plain(dimensions)
        counts[dimensions] = counts.get(dimensions, 0) + count
        self._changed.setdefault(window, set()).add(dimensions)

    def changed(self) -> Iterator[tuple[Window, Dimensions, int]]:
        """Each count that differs from what was written."""
        for window, changed in self._changed.items():
            counts = self._windows[window]
            for dimensions in changed:
                yield window, dimensions, counts[dimensions]

    def written(self) -> None:
        """What has changed so far is in a transaction now."""
        self._changed.clear()

    def close_old(self) -> list[tuple[Window, Dimensions]]:
        """Forget the minutes that are behind the retention; returns what was counted in them."""
        if self._newest is None:
            return []
        limit = self._newest - self._retention
        closed = [
            window
            for window in self._windows
            if window is not None and window <= limit and window not in self._changed
        ]
        return [(window, dimensions) for window in closed for dimensions in self._windows.pop(window)]

    def counts(self) -> Mapping[Window, Mapping[Dimensions, int]]:
        """Everything, by window."""
        return self._windows


def too_long(key: Key | None) -> bool:
    """Whether the text in a key is longer than a name may be. It would be in memory for good, and twice in a
    record of the aggregates, which is smaller than the one that it comes from may be."""
    if not isinstance(key, tuple):
        return False
    length = 0
    for value in key:  # a sum over a generator takes three times as long
        if type(value) is str:
            length += len(value)
    return length > LONGEST


def _require_plain(dimensions: Dimensions) -> None:
    """Raise ``TypeError`` for a value that the changelog would give back as another one: a date comes back as
    text, and would then be counted beside itself."""
    for value in dimensions:
        if type(value) not in _PLAIN:
            raise TypeError(f"{value!r} is a {type(value).__name__}, not a string, an integer or None")
