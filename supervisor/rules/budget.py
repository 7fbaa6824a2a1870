"""How many deaths are too many: a limit over a sliding window, one per partition and one for all of them."""

from __future__ import annotations

from collections import deque

__all__ = ["Budget"]


class Budget:
    """``limit`` deaths within ``window_s`` seconds are answered by a restart; one more is not.

    A death leaves the window when it is ``window_s`` old. Deaths that are further apart than that, such as
    one each 61 s with a window of 60 s, never add up: they are separate incidents, whatever their number.
    """

    def __init__(self, limit: int, window_s: float) -> None:
        self._limit = limit
        self._window_s = window_s
        # One more than the limit is all that ever needs to be known.
        self._deaths: deque[float] = deque(maxlen=limit + 1)

    def spend(self, now_s: float) -> bool:
        """Note a death at ``now_s`` of a monotonic clock; returns whether it is still within the budget."""
        self._expire(now_s)
        self._deaths.append(now_s)
        return len(self._deaths) <= self._limit

    def left(self, now_s: float) -> int:
        """How many more deaths would be answered by a restart now."""
        self._expire(now_s)
        return max(0, self._limit - len(self._deaths))

    def forget(self) -> None:
        """A person has intervened: begin anew."""
        self._deaths.clear()

    def _expire(self, now_s: float) -> None:
        while self._deaths and now_s - self._deaths[0] >= self._window_s:
            self._deaths.popleft()
