"""When dead letters are too many: a run of them, or their share of the last events.

A few bad records go to the dead letters and work goes on. A pipeline that rejects everything would drain the
whole input into the dead-letter topic: that is a bad deployment, and nobody wants to replay it from there.
Pure; after ``DlqLimit`` of arroyo.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from supervisor.contract.settings import Dlq

__all__ = ["DlqLimit"]

# Events are remembered in this many groups, however large the window.
_GRAIN = 100


class DlqLimit:
    """Both limits of one partition.

    The window of the ratio holds at least the last ``ratio_events`` events, and at most a hundredth of that
    and one call's events more: it moves on by groups and not by events.
    """

    def __init__(self, settings: Dlq, *, run: int = 0, seen: int = 0, bad: int = 0) -> None:
        """``run``, ``seen`` and ``bad`` go on where a predecessor stopped: see the properties."""
        self._max_run = settings.max_run
        self._max_ratio = settings.max_ratio
        self._ratio_events = settings.ratio_events
        self._grain = max(1, settings.ratio_events // _GRAIN)
        self._groups: deque[tuple[int, int]] = deque()
        self._run, self._seen, self._bad = run, seen, bad
        if seen:
            self._groups.append((seen, bad))

    @property
    def run(self) -> int:
        """Bad records in a row up to now."""
        return self._run

    @property
    def seen(self) -> int:
        """Events in the window."""
        return self._seen

    @property
    def bad(self) -> int:
        """Bad ones among them."""
        return self._bad

    def add(self, events: int, bad: Collection[int]) -> str | None:
        """Take note of ``events`` records that follow each other, of which those at the places ``bad`` could
        not be processed; returns what is exceeded, in words, or ``None``."""
        longest = self._follow_run(events, bad)
        self._move_window(events, len(bad))
        # As the window moves on, good records can raise the share, too; nobody is to stop because of those.
        if not bad:
            return None
        if self._max_run and longest >= self._max_run:
            return f"{longest:,} records in a row cannot be processed"
        full = self._seen >= self._ratio_events
        if self._max_ratio and full and self._bad >= self._max_ratio * self._seen:
            return f"{self._bad:,} of the last {self._seen:,} records cannot be processed"
        return None

    def _follow_run(self, events: int, bad: Collection[int]) -> int:
        """The longest run that ends among these records."""
        if len(bad) in (0, events):
            self._run = self._run + events if bad else 0
            return self._run
        longest, next_place = self._run, 0
        for place in sorted(bad):
            self._run = self._run + 1 if place == next_place else 1
            next_place = place + 1
            longest = max(longest, self._run)
        if next_place < events:
            self._run = 0
        return longest

    def _move_window(self, events: int, bad: int) -> None:
        groups = self._groups
        if groups and groups[-1][0] + events <= self._grain:
            seen_before, bad_before = groups[-1]
            groups[-1] = (seen_before + events, bad_before + bad)
        else:
            groups.append((events, bad))
        self._seen += events
        self._bad += bad
        while self._seen - groups[0][0] >= self._ratio_events:
            old_seen, old_bad = groups.popleft()
            self._seen -= old_seen
            self._bad -= old_bad
