"""How many events are late now and then, although the OLAP side rests. Pure.

A machine that others use as well, a broker that collects garbage, a disk that writes back: for a fraction of
a second all is late, whatever the OLAP side does, and soon again. To hold it back for each of these is in
vain, and since it regains less between two than it loses in one, it ends at its floor.

They cannot be told one by one from what the OLAP side does, but by how many there are. So the share of late
events is counted twice, while the OLAP side rests and while it works. Twice the share at rest is forgiven:
then a smaller percentile than the 99th has to be in time, of two seconds and not of less, in which a burst is
all there is. What the OLAP side does is noticed all the same, only later: a queue makes every event late, and
no more than :data:`_MOST` are forgiven. What lasts longer than :data:`_LONGEST_S` is no burst, but how it is.
"""

from __future__ import annotations

__all__ = ["Bursts"]

_KEPT_S = 20.0
_DOUBT_S = 1.0
_ENOUGH_S = 5.0
_HEADROOM = 2.0
_MOST = 0.4
_REFUTED = 4.0
_IN_ONE = 0.5
_LONGEST_S = 1.5


class _Share:
    """A share of events over the last :data:`_KEPT_S`, by the time in which it was seen."""

    def __init__(self) -> None:
        self._late_s = self.seen_s = 0.0

    def feed(self, share: float, elapsed_s: float) -> None:
        kept = max(0.0, 1 - elapsed_s / _KEPT_S)
        self._late_s = self._late_s * kept + share * elapsed_s
        self.seen_s = self.seen_s * kept + elapsed_s

    @property
    def value(self) -> float:
        # Who has seen little takes it for none.
        return self._late_s / (self.seen_s + _DOUBT_S)


class Bursts:
    """See the module."""

    def __init__(self) -> None:
        self._at_rest = _Share()
        self._at_work = _Share()
        self._piece: list[tuple[float, float]] = []
        self._piece_at_rest = False

    def feed(self, late: float, elapsed_s: float, *, resting: bool) -> None:
        """``late`` is the share of late events among those shown in ``elapsed_s``."""
        if late >= _IN_ONE:
            if not self._piece:
                self._piece_at_rest = resting
            self._piece.append((late, elapsed_s))
            return
        # What began at work and ended at rest was ended by that, perhaps, and counts on neither side.
        if self._lasted_s <= _LONGEST_S and (self._piece_at_rest or not resting):
            share = self._at_rest if self._piece_at_rest else self._at_work
            for before in self._piece:
                share.feed(*before)
        self._piece.clear()
        (self._at_rest if resting else self._at_work).feed(late, elapsed_s)

    @property
    def _lasted_s(self) -> float:
        return sum(elapsed_s for _, elapsed_s in self._piece)

    @property
    def forgiven(self) -> float:
        """The share of events that may be late."""
        share = self._at_rest.value
        if self._at_work.seen_s >= _ENOUGH_S and self._at_work.value < share / _REFUTED:
            # With the OLAP side at work there are no fewer: what was noted at rest is over.
            share = self._at_work.value
        return min(_MOST, _HEADROOM * share)
