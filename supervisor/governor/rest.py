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
_LEVELS = 20
_NEEDED = 2
_ENOUGH = 5
_KEPT_S = 600.0
_REFUTED = 2.0
_REFUTING_EVENTS = 100


class Rest:
    """What was seen at rest in the last ten minutes. Levels are milliseconds beyond the least age."""

    def __init__(self, slo_ms: float) -> None:
        self._slo_ms = slo_ms
        self._levels: deque[tuple[float, float, float]] = deque(maxlen=_LEVELS)
        self._bursts = Bursts()

    @property
    def known(self) -> bool:
        """Whether the levels are."""
        return len(self._levels) >= _NEEDED

    @property
    def well_known(self) -> bool:
        """Whether there is no need to look for longer."""
        return len(self._levels) >= _ENOUGH

    @property
    def p90_ms(self) -> float:
        """The 90th percentile at rest; 0 where it is not known."""
        return self._level(1)

    @property
    def p99_ms(self) -> float:
        """The 99th percentile at rest; 0 where it is not known."""
        return self._level(2)

    def forgiven(self, now_s: float) -> float:
        """The share of events that may be late, because so many are now and then at rest."""
        return self._bursts.forgiven(now_s)

    def count(self, shown: tuple[int, int] | None, now_s: float, *, settled: bool) -> None:
        """How many events were late of how many; in each moment, ``settled`` once the OLAP side has been at
        rest for long enough that nothing shows what was before."""
        if not settled:
            self._bursts.break_off()
        elif shown is not None:
            self._bursts.feed(*shown, now_s)

    def observe(self, look: Look, now_s: float, *, settled: bool) -> None:
        """Learn the levels, and forget them where they are refuted."""
        while self._levels and now_s - self._levels[0][0] > _KEPT_S:
            self._levels.popleft()
        self._forget_refuted(look)
        if settled and look.events and (not self._levels or now_s - self._levels[-1][0] >= _EACH_S):
            self._levels.append((now_s, look.p90_ms, look.p99_ms))

    def _forget_refuted(self, look: Look) -> None:
        """Events need no longer without the OLAP side than with it: what was noted in a stall, or while
        others used the machine, is not so any more. What is within the target anyway may stay."""
        if look.events >= _REFUTING_EVENTS:
            most = max(self._slo_ms / HEADROOM, _REFUTED * look.p99_ms)
            self._levels = deque((level for level in self._levels if level[2] <= most), maxlen=_LEVELS)

    def _level(self, which: int) -> float:
        if not self.known:
            return 0.0
        # The first ones may still have been made late by what was before, so that the least of them counts.
        # Then it is the worse ones: a machine that others use as well is not always at its best.
        place = len(self._levels) * 3 // 4 if self.well_known else 0
        return sorted(level[which] for level in self._levels)[place]
