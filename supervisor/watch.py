"""The round that the supervisor makes over the board: who hangs, who is stalled, who is too large or too old.

It only looks, by the pure rules of ``health`` and ``recycling``, and tells whoever acts.
"""

from __future__ import annotations

import random
import time
from collections import deque
from typing import Protocol

from supervisor.contract.board import Board, Stage
from supervisor.contract.settings import Settings
from supervisor.host import memory
from supervisor.host.child import Child
from supervisor.host.loop import Loop
from supervisor.rules import health
from supervisor.rules.canary import Sample
from supervisor.rules.lifecycle import State
from supervisor.rules.policy import Intent
from supervisor.rules.recycling import Reason, Recycling
from supervisor.seat import Seat
from supervisor.seats import Seats

__all__ = ["Alarm", "Watch"]

_ROUND_S = 1.0
# A round later than this: it was not the workers who stood still, but the machine, or we.
_BLIND_S = 3.0
_BROKERS_SILENT_S = 10.0
_PROBE_CALLS_S = 10.0
_HISTORY_S = 60
_NS = 1_000_000_000
_WAITS_FOR_BROKERS = frozenset(
    {Stage.FENCING, Stage.RESTORING, Stage.SENDING_OFFSETS, Stage.COMMITTING, Stage.CONSUMING}
)
_WATCHED = frozenset({State.OPENING, State.SERVING})


class Alarm(Protocol):
    """Who acts on what is seen."""

    def hung(self, seat: Seat, text: str) -> None: ...

    def stalled(self, seat: Seat, partition: int, text: str) -> None: ...

    def too_large(self, seat: Seat, text: str) -> None: ...

    def recycle(self, seat: Seat, text: str) -> None: ...

    def brokers(self, *, answer: bool) -> None: ...

    def looked(self) -> None:
        """The round is over."""


class Watch:
    """See the module. Begins with :meth:`start`."""

    def __init__(self, loop: Loop, board: Board, seats: Seats, settings: Settings, alarm: Alarm) -> None:
        self._loop = loop
        self._board = board
        self._seats = seats
        self._settings = settings
        self._alarm = alarm
        self._stalls = health.Stalls(settings.health.stall_timeout_s)
        self._recycling: dict[int, Recycling] = {}
        self._history: dict[str, deque[Sample]] = {}
        self._answering = True
        self._looked_s = self._awake_s = time.monotonic()
        self._memory_due_s = 0.0

    def start(self) -> None:
        self._looked_s = time.monotonic()
        self._loop.after(_ROUND_S, self._round)

    def adopt(self, settings: Settings) -> None:
        self._settings = settings
        self._stalls = health.Stalls(settings.health.stall_timeout_s)
        self._memory_due_s = 0.0  # by the former interval it may be due in an hour
        for rule in self._recycling.values():
            rule.adopt(settings.limits)

    @property
    def brokers_answer(self) -> bool:
        return _recent(self._board.header.brokers_answered_ns)

    def _round(self) -> None:
        now = time.monotonic()
        if now - self._looked_s > _BLIND_S:
            # Whoever stopped us may have stopped everybody (a paused container): what heartbeats missed
            # meanwhile says nothing. Otherwise all workers would be killed the moment the machine resumes.
            self._awake_s = now
        self._looked_s = now
        self._look_at_brokers()
        measure = now >= self._memory_due_s
        if measure:
            self._memory_due_s = now + self._settings.limits.memory_interval_s
        for seat in self._seats:
            if seat.child is not None and seat.state in _WATCHED:
                self._look_at(seat, seat.child, now, measure=measure)
        alive = {seat.child.pid for seat in self._seats if seat.child is not None}
        self._recycling = {pid: rule for pid, rule in self._recycling.items() if pid in alive}
        self._alarm.looked()
        self._loop.after(_ROUND_S, self._round)

    def _look_at_brokers(self) -> None:
        if not self._board.header.brokers_asked_ns or self._answering == self.brokers_answer:
            return
        self._answering = not self._answering
        self._alarm.brokers(answer=self._answering)

    def _look_at(self, seat: Seat, child: Child, now: float, *, measure: bool) -> None:
        if child.intent is not Intent.NONE:
            return
        if self._hangs(seat, child):
            return
        if seat.role == "olap" and seat.served:
            self._remember_rate(seat, child)
            if self._stands_still(seat, child, now):
                return
        if measure and seat.role != "probe":
            self._weigh(seat, child, now)

    # -- health -----------------------------------------------------------------------------------------

    def _hangs(self, seat: Seat, child: Child) -> bool:
        slot = self._board.worker(child.slot)
        stage = Stage(slot.stage)
        start_timeout_s = self._settings.runtime.start_timeout_s
        granted_s = 0.0
        if stage in _WAITS_FOR_BROKERS and not self.brokers_answer:
            if seat.role != "probe":
                return False  # nobody is to blame but the brokers
            # But that they are silent is what the probe says, by saying nothing. Its calls end by themselves.
            granted_s = max(start_timeout_s, _PROBE_CALLS_S)
        # A process in standby that was just given its seat has its last heartbeat from long before.
        heard_s = max(slot.heartbeat_ns, seat.record.refilled_ns) / _NS
        silent_s = time.monotonic() - max(heard_s, self._awake_s)
        judged_s = silent_s - granted_s
        if not health.hung(stage, judged_s, self._settings.health, start_timeout_s, given_role=True):
            return False
        self._alarm.hung(
            seat,
            f"{seat.name} (pid {child.pid}) shows no sign of life for {silent_s:.0f} s while {_doing(stage)}",
        )
        return True

    def _stands_still(self, seat: Seat, child: Child, now: float) -> bool:
        slot = self._board.worker(child.slot)
        for partition in seat.partitions:
            record = self._board.olap(partition)
            topic = self._board.topic(partition)
            end = topic.end
            if self._stalls.look(
                partition,
                record.position,
                record.committed,
                end,
                now,
                # A partition without a leader has nobody who answers for it, whatever the other brokers do.
                brokers_answer=self.brokers_answer and _recent(topic.seen_ns),
                owned=seat.served,
                attentive=slot.stage != Stage.PROCESSING and slot.partition in (0, partition + 1),
            ):
                self._stalls.forget(partition)
                self._alarm.stalled(
                    seat,
                    partition,
                    f"{seat.name}: partition {partition} stands at offset {record.committed} with a lag of "
                    f"{end - record.committed} for {self._settings.health.stall_timeout_s:g} s",
                )
                return True
        return False

    # -- size and age -----------------------------------------------------------------------------------

    def _weigh(self, seat: Seat, child: Child, now: float) -> None:
        rss = memory.rss_bytes(child.pid)
        if rss is None:
            return  # it has just ended; its sentinel says the rest
        seat.record.rss_bytes = rss
        if child.pid not in self._recycling:
            self._recycling[child.pid] = Recycling(self._settings.limits, child.started, random.random)
        reason = self._recycling[child.pid].due(now, self._board.worker(child.slot).events, rss)
        if reason is None:
            return
        text = f"{seat.name} (pid {child.pid}): {_because(reason, rss)}"
        if reason is Reason.MEMORY_HARD:
            self._alarm.too_large(seat, text)
        else:
            self._alarm.recycle(seat, text)

    # -- rates, for the canary --------------------------------------------------------------------------

    def _remember_rate(self, seat: Seat, child: Child) -> None:
        history = self._history.setdefault(seat.name, deque(maxlen=_HISTORY_S))
        history.append(self.counts(seat))

    def counts(self, seat: Seat) -> Sample:
        """What a seat has committed by now, ever, and when that is."""
        records = [self._board.olap(partition) for partition in seat.partitions]
        return Sample(
            events=sum(record.events for record in records),
            dead_letters=sum(record.dead_letters for record in records),
            seconds=time.monotonic(),
        )

    def lately(self, seat: Seat) -> Sample:
        """What it has committed within the last minute that it served."""
        history = self._history.get(seat.name)
        return between(history[0], self.counts(seat)) if history else Sample(0, 0, 0.0)

    def lag(self, seat: Seat) -> int:
        return sum(
            max(0, self._board.topic(partition).end - self._board.olap(partition).committed)
            for partition in seat.partitions
        )


def _recent(moment_ns: int) -> bool:
    return time.monotonic_ns() - moment_ns < _BROKERS_SILENT_S * _NS


def between(earlier: Sample, later: Sample) -> Sample:
    """What happened from one moment to another."""
    return Sample(
        events=later.events - earlier.events,
        dead_letters=later.dead_letters - earlier.dead_letters,
        seconds=later.seconds - earlier.seconds,
    )


def _doing(stage: Stage) -> str:
    return stage.name.lower().replace("_", " ")


def _because(reason: Reason, rss: int) -> str:
    return {
        Reason.AGE: "has reached its age",
        Reason.COUNT: "has processed its count of events",
        Reason.MEMORY_SOFT: f"is too large ({rss / 1e6:.0f} MB)",
        Reason.MEMORY_HARD: f"is much too large ({rss / 1e6:.0f} MB)",
    }[reason]
