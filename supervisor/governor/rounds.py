"""The governor's rounds: it reads the board, asks the controller, and writes the rate that the workers obey.

Ten times a second while there is something to hold back; else once a second, which finds out whether there
is. A burst that comes in between is not without a limit: the rate on the board stays, and the workers obey it
without being told.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from supervisor.contract.board import Board
from supervisor.contract.settings import Settings
from supervisor.governor.arrivals import Arrivals
from supervisor.governor.control import Control, Decision, Reading, State
from supervisor.host.loop import Loop, Timer
from supervisor.rules.lifecycle import State as SeatState

if TYPE_CHECKING:
    from supervisor.reporting.journal import Journal
    from supervisor.seats import Seats

__all__ = ["Governor"]

_ROUND_S = 0.1
_IDLE_ROUND_S = 1.0
_RATE_OVER_S = 0.5
_BEHIND_S = 0.5
_BEHIND_EVENTS = 1_000
# Between two rounds of an episode there may be a moment without need; its end is told after this.
_QUIET_S = 20.0
_TELL_EVERY_S = 60.0
_REDUCING = frozenset({State.REDUCED, State.FLOOR, State.PROBING})


class Governor:
    """See the module. Begins with :meth:`start`."""

    def __init__(self, loop: Loop, board: Board, seats: Seats, settings: Settings, journal: Journal) -> None:
        self._loop = loop
        self._board = board
        self._seats = seats
        self._journal = journal
        self._header = board.header
        self._timer: Timer | None = None
        self._counted: dict[int, int] = {}
        self._processed = 0
        self._history: deque[tuple[float, int]] = deque()
        self._behind = 0
        self._arrivals = Arrivals()
        self._looked_s = float("-inf")
        self._holding = self._told = False
        self._held_s = self._told_s = float("-inf")
        self._floor = settings.olap.floor_events_s
        self._settings = settings
        self._control: Control | None = None
        self.adopt(settings)

    def start(self) -> None:
        self._round()

    def adopt(self, settings: Settings) -> None:
        """These settings hold from now on; what has been learned stays where they are the same."""
        realtime = settings.realtime
        before = self._settings.realtime
        self._settings = settings
        if not realtime.enabled or realtime.slo_p99_ms == 0:
            self._control = None
            self._write(Decision(0, State.OFF, 0.0))
            self._release()
        elif self._control is None or (realtime.slo_p99_ms, settings.olap.floor_events_s) != (
            before.slo_p99_ms,
            self._floor,
        ):
            self._floor = settings.olap.floor_events_s
            self._control = Control(realtime.slo_p99_ms, self._floor)
            if self._timer is not None:  # else the first round is still to come
                self._timer.cancel()
                self._round()

    def _round(self) -> None:
        if self._control is None:
            self._timer = self._loop.after(_IDLE_ROUND_S, self._round)
            return
        now = time.monotonic()
        used = self._used(now)
        if now - self._looked_s >= _IDLE_ROUND_S * 0.9:
            self._looked_s = now
            self._behind = self._count_behind(used)
            self._look_at_arrivals()
        decision = self._control.step(self._read(now, used))
        self._write(decision)
        self._tell(decision, used, now)
        busy = decision.state is not State.FREE and (self._behind or used > decision.rate / 10)
        self._timer = self._loop.after(_ROUND_S if busy else _IDLE_ROUND_S, self._round)

    def _read(self, now: float, used: float) -> Reading:
        for seat in self._seats:
            if seat.role == "realtime" and seat.child is not None and seat.state is SeatState.SERVING:
                board, partitions = self._board, range(self._seats.partitions)
                return Reading(
                    now_s=now,
                    source=seat.child.pid,
                    counts=board.worker(seat.child.slot).latency.counts(),
                    lag=sum(max(0, board.topic(p).end - board.realtime(p).position) for p in partitions),
                    used=used,
                    behind=self._behind > 0,
                    arriving=self._arrivals.steady,
                )
        return Reading(now, None, (), 0, used, self._behind > 0, self._arrivals.steady)

    def _used(self, now: float) -> float:
        """Events a second that the OLAP side has processed in the last half second or so."""
        # By process, each of which counts from zero: offsets jump when a partition is taken over.
        before, self._counted = self._counted, {}
        for seat in self._seats:
            if seat.role == "olap" and seat.child is not None:
                child = seat.child
                self._counted[child.pid] = self._board.worker(child.slot).events
                self._processed += max(0, self._counted[child.pid] - before.get(child.pid, 0))
        history = self._history
        history.append((now, self._processed))
        while len(history) > 2 and history[1][0] <= now - _RATE_OVER_S:
            history.popleft()
        then, processed = history[0]
        return (self._processed - processed) / (now - then) if now > then else 0.0

    def _count_behind(self, used: float) -> int:
        """How many partitions have a backlog, or may have: these share the rate, and the others do not use
        their part. At the start nobody has looked yet where they end. A parked one uses nothing."""
        least = max(_BEHIND_EVENTS, used / max(1, self._seats.partitions) * _BEHIND_S)
        board = self._board
        return sum(
            not topic.seen_ns or topic.end - board.olap(partition).position > least
            for partition, topic in enumerate(map(board.topic, range(self._seats.partitions)))
            if not board.assignment(partition).parked_ns
        )

    def _look_at_arrivals(self) -> None:
        topics = enumerate(map(self._board.topic, range(self._seats.partitions)))
        seen = {partition: topic for partition, topic in topics if topic.seen_ns}
        if seen:
            # The time of the look, not ours: while brokers are away nothing is known, and nothing forgotten.
            seen_ns = max(topic.seen_ns for topic in seen.values())
            self._arrivals.feed({partition: topic.end for partition, topic in seen.items()}, seen_ns / 1e9)

    def _write(self, decision: Decision) -> None:
        header = self._header
        share = decision.rate // max(1, self._behind)
        header.partition_rate = max(1, share) if decision.rate else 0
        header.olap_rate = decision.rate
        header.governor = decision.state
        header.delay_ms = round(decision.delay_ms)

    def _tell(self, decision: Decision, used: float, now: float) -> None:
        """That the OLAP side is held back, when that begins and when it has been over for a while."""
        if decision.state in _REDUCING and self._behind:  # who keeps up is held back from nothing
            self._held_s = now
            if not self._holding:
                self._holding = True
                self._header.limited += 1
                self._tell_beginning(decision, used, now)
        elif self._holding and (decision.state is State.FREE or now - self._held_s >= _QUIET_S):
            self._release()

    def _release(self) -> None:
        """Nothing is held back any more, if anything was."""
        self._holding = False
        if self._told:
            self._told = False
            self._journal.publish("unlimited", "the OLAP side is not held back any more")

    def _tell_beginning(self, decision: Decision, used: float, now: float) -> None:
        if now - self._told_s < _TELL_EVERY_S:
            return
        self._told, self._told_s = True, now
        self._journal.publish(
            "limited",
            f"events are shown {decision.delay_ms:.0f} ms late (p99): the OLAP side is held to "
            f"{decision.rate:,} events/s of {used:,.0f}",
        )
