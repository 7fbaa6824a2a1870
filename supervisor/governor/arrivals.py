"""How much arrives all the time, by where the partitions of the input end. Pure.

It is what the OLAP side has to process if it is not to fall further and further behind. A backfill into the
topic is no part of it: of the last minute, seen in windows of five seconds, it is what the lower quartile
has. So a load has to be there for three quarters of a minute, and a burst shorter than that is a backlog.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

__all__ = ["Arrivals"]

_WINDOW_S = 5.0
_WINDOWS = 12
_WINDOWS_NEEDED = 3


class Arrivals:
    """Fed with end offsets again and again."""

    def __init__(self) -> None:
        self._ends: dict[int, int] = {}
        self._since_s: float | None = None
        self._rates: deque[float] = deque(maxlen=_WINDOWS)

    def feed(self, ends: Mapping[int, int], seen_s: float) -> None:
        """``ends`` has the end offset of each partition, as it was at ``seen_s`` of a monotonic clock."""
        if self._since_s is not None:
            elapsed_s = seen_s - self._since_s
            if elapsed_s < _WINDOW_S:
                return
            # A partition that is seen for the first time, or whose topic was made anew, says nothing yet.
            more = sum(max(0, end - self._ends.get(partition, end)) for partition, end in ends.items())
            self._rates.append(more / elapsed_s)
        self._ends, self._since_s = dict(ends), seen_s

    @property
    def steady(self) -> float:
        """Events a second; zero as long as not enough has been seen."""
        if len(self._rates) < _WINDOWS_NEEDED:
            return 0.0
        return sorted(self._rates)[len(self._rates) // 4]
