"""What is done about what the watch sees: a stack dump and a kill, a replacement, a word to a person."""

from __future__ import annotations

import logging

from supervisor.contract.board import Board, Phase
from supervisor.deaths import Deaths
from supervisor.host import stacks
from supervisor.host.child import Child
from supervisor.host.memory import OomKills
from supervisor.operations.floor import Floor
from supervisor.operations.queue import Operations
from supervisor.operations.rollout import Recycle
from supervisor.reporting.journal import Kind
from supervisor.rules.lifecycle import State
from supervisor.rules.policy import Intent
from supervisor.seat import Seat
from supervisor.systemd import notices

__all__ = ["Alarms"]

_log = logging.getLogger("supervisor")


class Alarms:
    """Told by the watch."""

    def __init__(
        self,
        floor: Floor,
        board: Board,
        deaths: Deaths,
        operations: Operations,
        systemd: notices.Systemd,
        oom_kills: OomKills,
    ) -> None:
        self._floor = floor
        self._board = board
        self._deaths = deaths
        self._operations = operations
        self._systemd = systemd
        self._oom_kills = oom_kills

    def hung(self, seat: Seat, text: str) -> None:
        self._put_down(seat, Intent.HANG)
        self._tell(seat, "hung", text)

    def stalled(self, seat: Seat, partition: int, text: str) -> None:
        self._put_down(seat, Intent.STALL)
        self._tell(seat, "stalled", text, partition)

    def too_large(self, seat: Seat, text: str) -> None:
        assert seat.child is not None
        _log.error("%s: killed", text)
        seat.child.kill(Intent.MEMORY)

    def recycle(self, seat: Seat, text: str) -> None:
        recycling = Recycle(self._floor, seat, text)
        if not self._operations.has(recycling.name):
            self._operations.submit(recycling)

    def brokers(self, *, answer: bool) -> None:
        if answer:
            self._floor.journal.publish("brokers-back", "the brokers answer again")
        else:
            self._floor.journal.publish(
                "brokers-away", "the brokers do not answer: nobody is restarted for that", cause="brokers"
            )

    def looked(self) -> None:
        self._oom_kills.look()
        for seat in self._floor.seats:
            self.tell_passed(seat)
            if seat.alarmed and self._is_well(seat):
                seat.alarmed = False
                self._floor.journal.publish("recovered", f"{seat.name} is well again", worker=seat.name)
        partitions = range(self._floor.seats.partitions)
        self._systemd.moving(sum(self._board.olap(p).position for p in partitions))
        if self._systemd.active and self._board.header.phase in (Phase.RUNNING, Phase.RELOADING):
            self._systemd.status(self.summary())

    def _is_well(self, seat: Seat) -> bool:
        # Who is about to be killed for what it is blamed for serves to the end.
        doomed = seat.child is not None and seat.child.intent is not Intent.NONE
        return seat.state is State.SERVING and not doomed and not self._floor.seats.parked(seat)

    def tell_passed(self, seat: Seat) -> None:
        """Say which records that killed workers went to the dead letters, and suspect them no more."""
        for suspect in self._deaths.passed(seat) if seat.role == "olap" else ():
            self._quarantined(seat, suspect.partition, suspect.offset, suspect.cause)

    def summary(self) -> str:
        """How it is going, in one line."""
        seats = self._floor.seats
        partitions = range(seats.partitions)
        parked = [str(p) for p in partitions if self._board.assignment(p).parked_ns]
        return notices.summary(
            serving=sum(len(seat.partitions) for seat in seats.olap if seat.state is State.SERVING),
            partitions=len(partitions),
            lag=sum(self._floor.watch.lag(seat) for seat in seats.olap),
            restarts=self._board.header.deaths,
            trouble=f"parked: partition {', '.join(parked)}" if parked else "",
        )

    def _quarantined(self, seat: Seat, partition: int, offset: int, cause: str) -> None:
        self._floor.journal.publish(
            "quarantined",
            f"partition {partition}: the record at offset {offset} killed its workers ({cause}) "
            "and went to the dead letters",
            worker=seat.name,
            partition=partition,
            offset=offset,
            cause=cause,
        )

    def _put_down(self, seat: Seat, intent: Intent) -> None:
        """Kill a process that neither lives nor dies, after it could say what it is doing."""
        child = seat.child
        assert child is not None
        child.intent = intent
        child.dump_stack()
        # Guaranteed: however late this round is, the grace begins now.
        grace_s = self._floor.settings.health.dump_grace_s
        self._floor.loop.after(grace_s, lambda: self._kill_dumped(seat.name, child, intent))

    def _kill_dumped(self, name: str, child: Child, intent: Intent) -> None:
        if self._floor.crew.children.get(child.slot) is not child:
            return
        stack = stacks.tail(self._board.path.parent, child.slot)
        _log.error("%s (pid %d) killed; its stack:\n%s", name, child.pid, stack or "it did not answer")
        child.kill(intent)

    def _tell(self, seat: Seat, event: Kind, text: str, partition: int | None = None) -> None:
        seat.alarmed = True
        assert seat.child is not None
        self._floor.journal.publish(
            event, text, worker=seat.name, partition=partition, pid=seat.child.pid, cause=event
        )
