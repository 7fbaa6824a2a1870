"""How many events are late now and then, although the OLAP side rests. Pure.

A machine that others use as well, a broker that collects garbage, a disk that writes back: for a fraction of
a second all is late, whatever the OLAP side does, and soon again. To hold it back for each of these is in
vain, and since it regains less between two than it loses in one, it ends at its floor.

They cannot be told one by one from what the OLAP side does, but by how many there are. So late events are
counted while it rests, and three times their share, but for the one in a hundred that does not matter, is
forgiven while it works, since bursts come in bursts: then a smaller percentile than the 99th has to be in
time, of up to two seconds rather than of the last moment, in which a burst is all there is. What the OLAP
side does is noticed all the same, only later: a queue makes every event late, and no more than :data:`_MOST`
are forgiven. When a rest has been over for a while it is no longer known how it would be; then nothing is
forgiven, and the next one tells it anew.
"""

from __future__ import annotations

__all__ = ["Bursts"]

_ANYWAY = 0.01
"""The 99th percentile leaves so many out of account."""
_HEADROOM = 3.0
_MOST = 0.4
_KEPT_S = 20.0
_KNOWN_S = 120.0
_DOUBT_S = 0.2
_MOSTLY = 0.5
_LONGEST_S = 1.5
_PAUSE_S = 2.0


class Bursts:
    """Fed at rest, and told when a rest is broken off. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._late = self._events = self._seen_s = 0.0
        self._added_s = float("-inf")
        self._on_time_s: float | None = None
        self._piece = (0, 0)

    def feed(self, late: int, events: int, now_s: float) -> None:
        """So many of these events, shown since the last call, were late."""
        if late >= _MOSTLY * events:
            self._piece = (self._piece[0] + late, self._piece[1] + events)
            return
        # What is late for longer in one piece, silence included, is no burst but how it is; and nobody knows
        # how long it has been where it was not on time before.
        if self._on_time_s is not None and now_s - self._on_time_s <= _LONGEST_S:
            late, events = late + self._piece[0], events + self._piece[1]
        self._piece = (0, 0)
        self._on_time_s = now_s
        self._add(late, events, now_s)

    def break_off(self) -> None:
        """The OLAP side works, or nothing is known: what is late from here on does not count."""
        self._on_time_s = None
        self._piece = (0, 0)

    def _add(self, late: int, events: int, now_s: float) -> None:
        passed_s = now_s - self._added_s
        kept = max(0.0, 1 - passed_s / _KEPT_S)
        self._late = kept * self._late + late
        self._events = kept * self._events + events
        self._seen_s = kept * self._seen_s + (passed_s if passed_s < _PAUSE_S else 0.0)
        self._added_s = now_s

    def forgiven(self, now_s: float) -> float:
        """The share of events that may be late."""
        if not self._events or now_s - self._added_s > _KNOWN_S:
            return 0.0
        # Who has seen little takes it for less.
        share = self._late / self._events * self._seen_s / (self._seen_s + _DOUBT_S)
        return min(_MOST, _HEADROOM * max(0.0, share - _ANYWAY))
