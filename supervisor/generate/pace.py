"""How many events are due: a schedule from the start on, caught up with at no more than twice the rate."""

from __future__ import annotations

__all__ = ["Pace"]

_CATCH_UP = 2.0
_SLICE_S = 0.05


class Pace:
    """Event ``k`` (from 0) is due ``k / rate`` seconds after the start. Times are monotonic seconds.

    After a stall everything owed is still sent, but not in one burst: a bucket, which fills at twice the rate
    and holds a twentieth of a second of that (one event at least), bounds what is taken.
    """

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._start = now
        self._taken = 0
        self._bucket_size = max(1.0, _CATCH_UP * rate * _SLICE_S)
        self._bucket = self._bucket_size
        self._filled_at = now

    def take(self, now: float) -> int:
        """The number of events to send now."""
        self._bucket = min(self._bucket_size, self._bucket + (now - self._filled_at) * self._rate * _CATCH_UP)
        self._filled_at = now
        number = min(self._owed(now), int(self._bucket))
        self._bucket -= number
        self._taken += number
        return number

    def wait_s(self, now: float) -> float:
        """How long until :meth:`take` has something to give; 0 if it has."""
        due = self._start + self._taken / self._rate
        filled = self._filled_at + (1.0 - self._bucket) / (self._rate * _CATCH_UP)
        return max(0.0, due - now, filled - now)

    def _owed(self, now: float) -> int:
        return int((now - self._start) * self._rate + 1.0) - self._taken
