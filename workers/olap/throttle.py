"""How many events of a partition may be processed now, under the rate that the governor allows. Pure.

A token bucket, filled at the allowed rate. It is shallow, so that what could not be taken in time is not
made up for in a burst: bursts are what the real-time side suffers from. And it gives nothing until a slice of
a fiftieth of a second is in it, so that a low rate costs few turns of the loop.
"""

from __future__ import annotations

import math

__all__ = ["Throttle"]

_SLICE_S = 0.02
_DEPTH_S = 0.1
# Sums of floating-point times are a little less than they should be.
_ROUNDING = 1e-6


class Throttle:
    """Of one partition. Times are monotonic seconds; a rate of zero is no limit."""

    def __init__(self, now: float) -> None:
        self._tokens = 0.0
        self._filled_at = now

    def allowed(self, rate: int, now: float) -> int | None:
        """How many events may be taken at ``now``; ``None`` for as many as there are."""
        if rate <= 0:
            # A limit that follows begins with an empty bucket: it is a reason to wait, not a credit.
            self._tokens, self._filled_at = 0.0, now
            return None
        depth = max(1.0, rate * _DEPTH_S)
        self._tokens = min(depth, self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now
        return int(self._tokens + _ROUNDING) if self._tokens + _ROUNDING >= _slice(rate) else 0

    def take(self, count: int) -> None:
        """``count`` events have been taken. A few more than were allowed are a debt."""
        self._tokens -= count

    def wait_s(self, rate: int) -> float:
        """How long after the last :meth:`allowed` there will be something to take."""
        return max(0.0, (_slice(rate) - self._tokens) / rate) if rate > 0 else 0.0


def _slice(rate: int) -> float:
    return float(max(1, math.floor(rate * _SLICE_S)))
