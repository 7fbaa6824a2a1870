"""The rate that the OLAP side is allowed, so that the real-time side is shown its events in time. Pure.

As TCP probes for what a path can carry, by additive increase and multiplicative decrease, with three things
taken from its descendants:

- it acts on delay, before anything is lost (LEDBAT, Vegas): below a band about the target it grows, above it
  shrinks the more, the more the target is exceeded, within it stays, so that it does not oscillate;
- it grows as CUBIC does (RFC 9438): fast towards the last rate that was too much, slowly about it, and faster
  beyond. But never so fast that the half second until the delay tells of it would carry it far into what is
  too much;
- what was given up for a moment is back within five seconds: below that last rate it may double each half
  second, and where none is known, or it has been passed by half, each second (more slowly where bursts are
  forgiven);
- a rate that is not used does not grow (RFC 7661): else it would stand at any height when a backlog comes.

The target is ``realtime.slo_p99_ms``. How late events are although the OLAP side rests, or is at its floor,
is not the OLAP side's doing, and holding it back would be in vain: what counts is what is beyond that, and
the target is never less than twice of it. It is forgotten once events are shown much sooner although the
OLAP side works. Where that is not known and events are late beside a backlog, the OLAP side goes to its floor
for a moment, to learn it, as BBR probes for the delay of an empty path. What is late at rest only now and
then is forgiven by share (:mod:`supervisor.governor.bursts`).

It is a backlog that gives way, not what arrives all the time: the floor is a quarter above that, or what is
configured, whichever is more. Else a machine that is late now and then for reasons of its own would hold the
OLAP side below its input, for good, and the backlog would grow until retention ends it.

There is no limit while the real-time side is silent, or nothing is known of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from supervisor.governor.delay import Delay, Look
from supervisor.governor.rest import HEADROOM, P90_SHARE, Rest

__all__ = ["Control", "Decision", "Reading", "State"]

_SILENT_S = 2.0
_FIRST_SILENT_S = 1.0
_STARTS_S = 10.0
_STUCK_S = 10.0
_STUCK_EVENTS = 100

_GROW_BELOW = 0.5
_LEAVE_SLOW_START = 0.4
_LEAST_CUT, _MOST_CUT = 0.92, 0.5
_AGAIN_S = 0.3
_BURST_S = 1.0
_SLOWER = 2.0

_KEEP_UP = 1.25
_FIRST_RATE = 20_000.0
_DOUBLING_S = 1.0
_REGAINING_S = 0.5
_NOBODY_GETS_THERE = 1e9
_CUBIC = 0.1
_STEEPEST = 1.3  # in a second
_PASSED = 1.5
_SAME_PLACE = 1.5
_LONGEST_STEP_S = 0.5
_USED = 0.5

_RESTING = 1.2
_REST_AFTER_S = 0.8
_PROBE_S = 4.0
_PROBE_AGAIN_S = 60.0


class State(IntEnum):
    """Why the rate is what it is. Its names are what ``status`` shows."""

    OFF = 0
    """There is no governor: ``realtime.slo_p99_ms`` is 0, or there is no real-time worker."""
    FREE = 1
    """No limit: the real-time side is silent, or nothing is known of it."""
    GROWING = 2
    """Events are shown in time: the rate grows where it is used."""
    HOLDING = 3
    """They are just in time."""
    REDUCED = 4
    """They were late a moment ago."""
    FLOOR = 5
    """They are late, and the rate does not get lower."""
    PROBING = 6
    """At the floor for a moment, to learn how late they are without the OLAP side."""


@dataclass(frozen=True)
class Reading:
    """What is known at ``now_s``, of a monotonic clock."""

    now_s: float
    source: object
    """The real-time process; ``None`` if there is none."""
    counts: Sequence[int]
    """Its histogram of ages at delivery."""
    lag: int
    """Records that it has not read."""
    used: float
    """Events a second that the OLAP side has processed lately."""
    behind: bool
    """Whether the OLAP side has a backlog, as far as is known."""
    arriving: float = 0.0
    """Events a second that arrive all the time; zero where that is not known."""


@dataclass(frozen=True)
class Decision:
    rate: int
    """Events a second for the whole OLAP side; zero for no limit."""
    state: State
    delay_ms: float
    """How late events are shown beyond what is always so: the 99th percentile of the last two seconds."""


class Control:
    """See the module. ``slo_ms`` is above zero, ``floor`` at least one event a second: what is left to the
    OLAP side however little arrives."""

    def __init__(self, slo_ms: float, floor: float) -> None:
        self._slo_ms = slo_ms
        self._configured_floor = self._floor = floor
        self._delay = Delay(slo_ms * P90_SHARE)
        self._rest = Rest(slo_ms)
        self._forgiven = 0.0
        # Until it is known that the real-time side is silent it is taken to be there: a restart amid a
        # backlog would begin with what it is to be spared.
        self._rate = max(floor, _FIRST_RATE)
        self._good = self._rate
        self._most: float | None = None
        self._fell_short: float | None = None
        self._growing_s = 0.0
        self._climb_s = 0.0
        self._stepped_s: float | None = None
        self._wait_until_s = self._began_s = 0.0
        self._met = False
        self._state = State.GROWING
        self._delay_ms = 0.0
        self._probe_until_s = 0.0
        self._probe_again_s = float("-inf")

    def step(self, reading: Reading) -> Decision:
        """Decide anew; called again and again, ten times a second where it matters."""
        now = reading.now_s
        if self._stepped_s is None:
            self._stepped_s = self._began_s = now
        elapsed, self._stepped_s = min(now - self._stepped_s, _LONGEST_STEP_S), now
        self._floor = max(self._configured_floor, _KEEP_UP * reading.arriving)
        self._rate = self._floor if self._state is State.PROBING else max(self._rate, self._floor)
        shown = None
        if reading.source is not None:
            self._meet(now)
            shown = self._delay.feed(reading.source, reading.counts, reading.lag, now)
        settled = self._delay.caught_up and self._settled(reading)
        self._rest.count(shown, now, settled=settled)
        self._forgiven = self._rest.forgiven(now)
        silent_s = now - max(self._delay.heard_s, self._began_s)
        stuck = reading.source is not None and self._delay.caught_up and reading.lag > _STUCK_EVENTS
        if silent_s > self._patience_s(stuck=stuck) or (self._met and reading.source is None):
            return self._free()
        look = self._delay.look(now, self._forgiven)
        if self._state is State.FREE and look is not None:
            self._arm(now)
        elif self._state is not State.FREE and now >= self._wait_until_s:
            late = stuck and silent_s > _SILENT_S
            self._judge(look, reading, elapsed, settled=settled, late=late)
        return self._decision()

    def _settled(self, reading: Reading) -> bool:
        """Whether the OLAP side has been at rest, or at its floor, for long enough to show nothing else."""
        resting = reading.used <= self._floor * _RESTING and self._state is not State.FREE
        return resting and reading.now_s - self._wait_until_s >= _REST_AFTER_S

    def _meet(self, now: float) -> None:
        if not self._met:
            self._met, self._began_s = True, now

    def _patience_s(self, *, stuck: bool) -> float:
        """How long a silence has to be before it is taken for one."""
        if not self._met:
            return _STARTS_S
        if stuck:
            return _STUCK_S
        return _SILENT_S if self._delay.heard_s >= self._began_s else _FIRST_SILENT_S

    def _decision(self) -> Decision:
        return Decision(0 if self._state is State.FREE else round(self._rate), self._state, self._delay_ms)

    def _free(self) -> Decision:
        self._state, self._delay_ms = State.FREE, 0.0
        return self._decision()

    def _arm(self, now: float) -> None:
        """The real-time side is there (again): begin where it was well with."""
        self._rate = max(self._floor, self._good)
        self._state = State.GROWING
        self._growing_s = 0.0
        self._fell_short = None
        self._begin_anew(now)

    def _judge(
        self, look: Look | None, reading: Reading, elapsed: float, *, settled: bool, late: bool
    ) -> None:
        if look is None:
            if late:
                self._shrink(2.0, reading)
            return
        self._delay_ms = look.unforgiven_ms
        self._rest.observe(look, reading.now_s, settled=settled)
        pressure = max(
            self._pressure(look.p90_ms, self._slo_ms * P90_SHARE, self._rest.p90_ms),
            self._pressure(look.p99_ms, self._slo_ms, self._rest.p99_ms),
        )
        if self._state is State.PROBING:
            if self._rest.well_known or reading.now_s >= self._probe_until_s:
                self._arm(reading.now_s)
        elif pressure > _GROW_BELOW and self._may_probe(reading):
            self._probe(reading.now_s)
        elif pressure > 1:
            self._shrink(pressure, reading)
        elif pressure >= _GROW_BELOW:
            self._state = State.HOLDING
            if self._most is None:
                self._leave_slow_start()
        elif reading.used >= _USED * self._rate or self._rate <= self._floor:
            self._grow(pressure, elapsed)
        else:
            self._state = State.GROWING

    def _pressure(self, late_ms: float, slo_ms: float, rest_ms: float) -> float:
        """Of what lies between rest and target, how much is used: 0 as at rest, above 1 too late."""
        return (late_ms - rest_ms) / (max(slo_ms, HEADROOM * rest_ms) - rest_ms)

    def _may_probe(self, reading: Reading) -> bool:
        # Who keeps up would have a backlog of seconds by it, for a stall that may not be its doing.
        return reading.behind and not self._rest.known and reading.now_s >= self._probe_again_s

    def _probe(self, now: float) -> None:
        """Nothing tells what is the OLAP side's doing, until it has been out of the way for a moment (as BBR
        looks for the delay of an empty path)."""
        self._rate, self._state = self._floor, State.PROBING
        self._probe_until_s, self._probe_again_s = now + _PROBE_S, now + _PROBE_AGAIN_S
        self._begin_anew(now)

    def _shrink(self, pressure: float, reading: Reading) -> None:
        if self._rate <= self._floor:
            # Nothing changes by it, so that there is nothing to wait for.
            self._state = State.FLOOR
            self._climb()
            return
        base = max(self._floor, min(self._rate, reading.used * 1.1))
        # By the root: close to what is carried, delay grows much faster than the rate.
        cut = min(_LEAST_CUT, max(_MOST_CUT, pressure**-0.5))
        if self._most is None or base >= self._most:
            self._most, self._fell_short = base, None
        elif self._growing_s > 0:
            # It got less far than last time. Twice at one place: there is less room, so aim below that
            # (RFC 9438, 4.7). Once may be anything. Another cut for the same lateness tells nothing of the
            # kind: it began from what the one before left.
            if self._fell_short is not None and 1 / _SAME_PLACE < base / self._fell_short < _SAME_PLACE:
                self._most = base * (1 + cut) / 2
            self._fell_short = base
        self._good = self._rate = max(self._floor, base * cut)
        self._climb()
        self._state = State.FLOOR if self._rate <= self._floor else State.REDUCED
        self._begin_anew(reading.now_s)

    def _climb(self) -> None:
        """From here to the last rate that was too much. So far it is off: (1 - rate / most) / C, to the third
        root, as RFC 9438 has it (4.2)."""
        self._growing_s = 0.0
        if self._most is not None:
            self._climb_s = (max(0.0, 1 - self._rate / self._most) / _CUBIC) ** (1 / 3)

    def _begin_anew(self, now: float) -> None:
        """What is delivered in the next moment was delayed by what was allowed before."""
        self._delay.settle(now + _AGAIN_S)
        # Where bursts are forgiven, a moment more: in the first one a burst is all there is.
        self._wait_until_s = now + _AGAIN_S + _BURST_S * self._forgiven

    def _grow(self, pressure: float, elapsed: float) -> None:
        self._state = State.GROWING
        # Where bursts are forgiven, what a rate does is noticed later.
        elapsed /= 1 + _SLOWER * self._forgiven
        if self._most is not None:
            self._grow_about(self._most, elapsed)
        elif pressure < _LEAVE_SLOW_START:
            self._rate *= 2 ** (elapsed / _DOUBLING_S)
        else:
            self._leave_slow_start()
        self._good = self._rate = min(self._rate, _NOBODY_GETS_THERE)

    def _leave_slow_start(self) -> None:
        self._most, self._fell_short = self._rate, None
        self._climb()

    def _grow_about(self, most: float, elapsed: float) -> None:
        self._growing_s += elapsed
        aim = most * (1 + _CUBIC * (self._growing_s - self._climb_s) ** 3)
        fast = self._rate * 2 ** (elapsed / _REGAINING_S)
        steep = max(min(fast, most), self._rate * _STEEPEST**elapsed)
        self._rate = max(self._rate, min(aim, steep))
        if self._rate > _PASSED * most:
            self._most = None
