"""Another layout of partitions over workers: more workers or fewer, or partitions that were added.

Only workers whose partitions change are touched. They all finish and close first, and then the new owners
begin: an owner that began while the former one was at work would fence it.
"""

from __future__ import annotations

from supervisor.contract.faults import Fault
from supervisor.control.protocol import Talk
from supervisor.host.child import Child
from supervisor.operations.floor import Floor
from supervisor.operations.queue import Operation
from supervisor.rules.lifecycle import State
from supervisor.rules.policy import Intent
from supervisor.seat import Seat

__all__ = ["Rescale"]


# More than that are not started before others end: each takes memory.
_PREPARED = 8


class Rescale(Operation):
    """See the module. ``workers`` is what a person asks for, 0 being one per partition; with ``None`` there
    are to be as many as before, or as many as the configuration says since it was reloaded."""

    NAME = "change of the number of workers"

    def __init__(self, floor: Floor, talks: list[Talk], workers: int | None = None) -> None:
        super().__init__(self.NAME, talks)
        self.workers = workers
        self._floor = floor
        self._partitions = 0
        self._layout: dict[str, tuple[int, ...]] = {}
        self._leaving: list[Seat] = []
        self._coming: list[Seat] = []
        self._needed = 0
        """Processes in standby without which nobody is taken away."""
        self._begun = False

    def begin(self) -> None:
        floor = self._floor
        workers = floor.workers if self.workers is None else self.workers
        # Of this moment: while it waited, partitions may have been added.
        self._partitions = floor.seats.partitions
        try:
            self._layout = floor.seats.layout(floor.settings, self._partitions, workers)
        except Fault as fault:
            self._refuse(fault)
            return
        self._leaving = floor.seats.differing(self._layout)
        kept = {seat.name for seat in floor.seats if seat.state is not State.CLOSED} - {
            seat.name for seat in self._leaving
        }
        self._needed = min(len(self._layout.keys() - kept), _PREPARED)
        floor.refill()
        self._take_away_if_ready()

    def wants(self) -> dict[int, int]:
        return {self._floor.generation: self._needed} if self._needed else {}

    def ready(self, child: Child) -> None:
        self._take_away_if_ready()

    def _take_away_if_ready(self) -> None:
        """When there is somebody to follow them, have those that leave finish, all together."""
        floor = self._floor
        ready = sum(child.ready for child in floor.crew.free(floor.generation))
        if self._begun or ready < self._needed:
            return
        self._begun, self._needed = True, 0
        if self.workers is not None:
            floor.workers = self.workers
        for seat in self._leaving:
            seat.held = True
            if seat.name not in self._layout:
                floor.close(seat)
            elif seat.child is not None:
                floor.retire(seat, Intent.RETIRE)
        self._begin_anew_if_closed()

    def died(self, child: Child, seat: Seat | None, text: str, *, blamed: bool) -> None:
        if self._begun and not self._coming:
            self._begin_anew_if_closed()
        elif not self._begun and seat is None and child.intent is not Intent.STOP:
            self._needed = 0
            remedy = "it is tried again" if self.workers is None else ""
            self._refuse(Fault(f"a process ended before it was ready: {text}: nothing is changed", remedy))

    def owned(self, seat: Seat) -> None:
        self._arrived(seat)

    def parked(self, seat: Seat) -> None:
        self._arrived(seat)

    def abandon(self) -> None:
        for seat in self._leaving:
            seat.held = False

    def _refuse(self, fault: Fault) -> None:
        text = f"the change of workers or partitions failed: {fault.cause}"
        self._floor.journal.publish("scale-failed", f"{text} ({fault.remedy})" if fault.remedy else text)
        self.fail(fault)

    def _begin_anew_if_closed(self) -> None:
        """When the last of those that leave has closed its partitions, give them to their new owners."""
        if any(seat.child is not None for seat in self._leaving):
            return
        floor = self._floor
        self._coming = [seat for seat in self._leaving if seat.name in self._layout]
        for seat in self._leaving:
            seat.held = False
        self._coming += floor.seats.lay_out(self._layout, floor.generation)
        self._coming = [seat for seat in dict.fromkeys(self._coming) if seat.state is not State.PARKED]
        floor.refill()
        self._end_if_all_arrived()

    def _arrived(self, seat: Seat) -> None:
        if seat in self._coming:
            self._coming.remove(seat)
            self._end_if_all_arrived()

    def _end_if_all_arrived(self) -> None:
        if not self._coming:
            count = len(self._floor.seats.olap)
            text = f"{count} OLAP workers serve {self._partitions} partitions"
            self._floor.journal.publish("scaled", text)
            self.succeed(text)
