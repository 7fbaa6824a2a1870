"""What an operation may do: the side of the supervisor that it sees."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from supervisor.contract.settings import Settings
from supervisor.control.protocol import Talk
from supervisor.crew import Crew
from supervisor.host.child import Child
from supervisor.host.loop import Loop
from supervisor.reporting.journal import Journal
from supervisor.rules.policy import Intent
from supervisor.seat import Seat
from supervisor.seats import Seats
from supervisor.watch import Watch

__all__ = ["Floor"]


class Floor(Protocol):
    """See the module."""

    loop: Loop
    seats: Seats
    crew: Crew
    watch: Watch
    journal: Journal
    settings: Settings
    generation: int
    workers: int
    """How many OLAP workers there are to be; zero is one per partition."""
    stopping: bool

    def refill(self) -> None:
        """Give vacant seats to processes in standby, and start the processes that are wanted."""

    def prepare(self, child: Child, seat: Seat) -> None:
        """Have a process in standby do what can be done for an OLAP worker's seat before it has it."""

    def retire(self, seat: Seat, intent: Intent) -> None:
        """Have its process finish, and another one follow it."""

    def close(self, seat: Seat) -> None:
        """Have its process finish, and nobody follow it."""

    def forgive(self, seat: Seat, *, but: Collection[int] = ()) -> None:
        """What it has done is forgotten, and its parked partitions are its own again, ``but`` for some."""

    def reloading(self) -> None:
        """Tell the service manager that a reload has begun; the end of the operation is its end."""

    def adopt(self, settings: Settings, generation: int, talks: list[Talk]) -> bool:
        """From now on these settings hold, and every new process has them.

        Whether another operation follows from them, which ends ``talks``.
        """
