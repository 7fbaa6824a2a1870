"""How late events are although the OLAP side rests, or is at its floor: what to hold it back cannot mend.

Pure. Either all the time, by a level, or now and then, by :class:`~supervisor.governor.bursts.Bursts`.
"""

from __future__ import annotations

from collections import deque

from supervisor.governor.bursts import Bursts
from supervisor.governor.delay import Look

__all__ = ["HEADROOM", "P90_SHARE", "Rest"]

HEADROOM = 2.0
"""How many times as late as at rest events may be."""
P90_SHARE = 0.5
"""Of the target of the 99th percentile, that of the 90th."""

_EACH_S = 0.3
_RESTS = 20
_NEEDED = 2
_ENOUGH = 5
_AFTER_S = 0.8
_KEPT_S = 600.0
_REFUTED = 2.0
_REFUTING_EVENTS = 100


class Rest:
    """What was seen at rest in the last ten minutes. Levels are milliseconds beyond the least age."""

    def __init__(self, slo_ms: float) -> None:
        self._slo_ms = slo_ms
        self._rests: deque[tuple[float, float, float]] = deque(maxlen=_RESTS)
        self._bursts = Bursts()

    @property
    def known(self) -> bool:
        """Whether the levels are."""
        return len(self._rests) >= _NEEDED

    @property
    def well_known(self) -> bool:
        """Whether there is no need to look for longer."""
        return len(self._rests) >= _ENOUGH

    @property
    def p90_ms(self) -> float:
        """The 90th percentile at rest; 0 where it is not known."""
        return self._level(1)

    @property
    def p99_ms(self) -> float:
        """The 99th percentile at rest; 0 where it is not known."""
        return self._level(2)

    @property
    def forgiven(self) -> float:
        """The share of events that may be late, because it is so at rest."""
        return self._bursts.forgiven

    def count(self, late: float, elapsed_s: float, *, resting: bool, settled_s: float) -> None:
        """The share of ``late`` events, in each moment. ``settled_s`` are the seconds for which the rate has
        been what it is: the first moment at rest still shows what was before."""
        if not resting or settled_s >= _AFTER_S:
            self._bursts.feed(late, elapsed_s, resting=resting)

    def observe(self, look: Look, now_s: float, *, resting: bool, settled_s: float) -> None:
        """What is judged, in the moments in which it is."""
        if not look.events:
            return
        self._forget_refuted(look)
        if resting and settled_s >= _AFTER_S:
            self._remember(look, now_s)

    def _remember(self, look: Look, now_s: float) -> None:
        if self._rests and now_s - self._rests[-1][0] < _EACH_S:
            return
        while self._rests and now_s - self._rests[0][0] > _KEPT_S:
            self._rests.popleft()
        self._rests.append((now_s, look.p90_ms, look.p99_ms))

    def _forget_refuted(self, look: Look) -> None:
        """Events need no longer without the OLAP side than with it: what was noted in a stall, or while
        others used the machine, is not so any more. What is within the target anyway may stay."""
        if look.events >= _REFUTING_EVENTS:
            most = max(self._slo_ms / HEADROOM, _REFUTED * look.p99_ms)
            self._rests = deque((rest for rest in self._rests if rest[2] <= most), maxlen=_RESTS)

    def _level(self, which: int) -> float:
        if not self.known:
            return 0.0
        # The first ones may still have been made late by what was before, so that the least of them counts.
        # Then it is the worse ones: a machine that others use as well is not always at its best.
        place = len(self._rests) * 3 // 4 if self.well_known else 0
        return sorted(rest[which] for rest in self._rests)[place]
