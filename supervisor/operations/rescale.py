"""Another layout of partitions over workers: more workers or fewer, or partitions that were added.

Only workers whose partitions change are touched. They all finish and close first, and then the new owners
begin: an owner that began while the former one was at work would fence it.
"""

from __future__ import annotations

from supervisor.child import Child
from supervisor.contract.faults import Fault
from supervisor.control.protocol import Talk
from supervisor.lifecycle import State
from supervisor.operations.floor import Floor
from supervisor.operations.queue import Operation
from supervisor.policy import Intent
from supervisor.seat import Seat

__all__ = ["Rescale"]


class Rescale(Operation):
    """See the module. ``workers`` of 0 is one per partition."""

    def __init__(self, floor: Floor, talks: list[Talk], workers: int, partitions: int) -> None:
        super().__init__("change of the number of workers", talks)
        self._floor = floor
        self._workers = workers
        self._partitions = partitions
        self._layout: dict[str, tuple[int, ...]] = {}
        self._leaving: list[Seat] = []
        self._coming: list[Seat] = []

    def begin(self) -> None:
        floor = self._floor
        try:
            self._layout = floor.seats.layout(floor.settings, self._partitions, self._workers)
        except Fault as fault:
            self.fail(fault)
            return
        self._leaving = floor.seats.differing(self._layout)
        for seat in self._leaving:
            seat.held = True
            if seat.name not in self._layout:
                floor.close(seat)
            elif seat.child is not None:
                floor.retire(seat, Intent.RETIRE)
        self._begin_anew_if_closed()

    def died(self, child: Child, seat: Seat | None, text: str, *, blamed: bool) -> None:
        if not self._coming:
            self._begin_anew_if_closed()

    def owned(self, seat: Seat) -> None:
        self._arrived(seat)

    def parked(self, seat: Seat) -> None:
        self._arrived(seat)

    def abandon(self) -> None:
        for seat in self._leaving:
            seat.held = False

    def _begin_anew_if_closed(self) -> None:
        """When the last of those that leave has closed its partitions, give them to their new owners."""
        if any(seat.child is not None for seat in self._leaving):
            return
        floor = self._floor
        self._coming = [seat for seat in self._leaving if seat.name in self._layout]
        for seat in self._leaving:
            seat.held = False
        self._coming += floor.seats.lay_out(self._layout, floor.generation)
        floor.workers = self._workers
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
