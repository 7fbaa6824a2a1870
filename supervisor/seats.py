"""All seats: which there are, who owns which partition, and which partitions are parked.

Decisions of the supervisor about partitions stand on the board (``Assignment``), so that whoever reads it
knows them without knowing the placement.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence

from supervisor.contract.board import Board, Role
from supervisor.contract.faults import ConfigurationFault
from supervisor.contract.messages import WorkerRole
from supervisor.contract.settings import Settings
from supervisor.host.child import Child
from supervisor.rules.lifecycle import State
from supervisor.rules.placement import place
from supervisor.rules.policy import Backoff, Cause
from supervisor.seat import Seat

__all__ = ["MAX_PARTITIONS", "Seats", "slots_needed"]

MAX_PARTITIONS = 1024
# The probe, the real-time worker and two spares: what there is beside OLAP workers.
_OTHERS = 4
Layout = dict[str, tuple[int, ...]]


def slots_needed(settings: Settings) -> int:
    """Board slots: every seat, the spares, and as many again for the dead that are not collected yet."""
    declared = settings.topics.declared()["input"].partitions or 0
    return 2 * max(MAX_PARTITIONS // 8, declared) + 8 + settings.runtime.spares


class Seats:
    """Iterating goes over all of them, in the order of the board."""

    def __init__(self, board: Board, settings: Settings) -> None:
        self._board = board
        self._settings = settings
        self._seats: list[Seat] = []
        self.add("probe", 0, ())

    def __iter__(self) -> Iterator[Seat]:
        return iter(tuple(self._seats))

    def __len__(self) -> int:
        return len(self._seats)

    @property
    def partitions(self) -> int:
        """Partitions of the input; zero before they are known."""
        return self._board.header.topic_partitions

    @property
    def olap(self) -> list[Seat]:
        """The OLAP seats that are not closed."""
        return [seat for seat in self if seat.role == "olap" and seat.state is not State.CLOSED]

    def adopt(self, settings: Settings) -> None:
        """Those that are there, and those that are added, wait after a death as these settings say."""
        self._settings = settings
        for seat in self:
            seat.backoff.adopt(settings.restart)

    def of(self, child: Child) -> Seat | None:
        return next((seat for seat in self._seats if seat.child is child), None)

    def named(self, name: str) -> Seat | None:
        return next((seat for seat in self._seats if seat.name == name), None)

    def add(self, role: WorkerRole, index: int, partitions: tuple[int, ...], generation: int = 1) -> Seat:
        record = self._board.seat(len(self._seats))
        record.role, record.index = Role[role.upper()], index
        seat = Seat(role, index, (), record, Backoff(self._settings.restart), generation)
        self._seats.append(seat)
        self.assign(seat, partitions)
        self._board.header.seats = len(self._seats)
        return seat

    def assign(self, seat: Seat, partitions: Sequence[int]) -> None:
        """From its next process on ``seat`` serves these, but for those of them that are parked."""
        if seat.role == "olap":
            for partition in partitions:
                self._board.assignment(partition).seat = self._seats.index(seat) + 1
            partitions = [p for p in partitions if not self._board.assignment(p).parked_ns]
        seat.partitions = tuple(partitions)

    # -- the layout -------------------------------------------------------------------------------------

    def layout(self, settings: Settings, partitions: int, workers: int) -> Layout:
        """Which partitions each worker's seat is to have, by its name.

        Raises :class:`ConfigurationFault` for more workers than partitions, or more than the board holds.
        """
        owned = place(partitions, workers)
        room = self._board.workers - _OTHERS - settings.runtime.spares
        if len(owned) > room or partitions > MAX_PARTITIONS:
            raise ConfigurationFault(
                f"{partitions} partitions with {len(owned)} OLAP workers are more than one supervisor runs "
                f"({room} workers, {MAX_PARTITIONS} partitions)",
                "set olap.workers to fewer: each then owns several partitions",
            )
        wanted: Layout = {}
        if settings.realtime.enabled:
            wanted["realtime-0"] = tuple(range(partitions))
        return wanted | {f"olap-{index}": mine for index, mine in enumerate(owned)}

    def lay_out(self, wanted: Layout, generation: int) -> list[Seat]:
        """Give every seat of ``wanted`` its partitions; returns those that had to be made or opened again."""
        opened: list[Seat] = []
        for name, partitions in wanted.items():
            seat = self.named(name)
            if seat is None:
                role, _, index = name.partition("-")
                worker_role: WorkerRole = "olap" if role == "olap" else "realtime"
                seat = self.add(worker_role, int(index), partitions, generation)
                opened.append(seat)
            else:
                if seat.state is State.CLOSED:
                    seat.release()
                    seat.generation = generation
                    opened.append(seat)
                self.assign(seat, partitions)
                if seat.role == "olap" and seat.state is State.PARKED and seat.partitions:
                    seat.release()  # all that it had was parked; now it has others
                    opened.append(seat)
            if seat.idle and seat.state in (State.VACANT, State.BACKOFF):
                seat.park()
        return opened

    def differing(self, wanted: Layout) -> list[Seat]:
        """The workers' seats that are open and would have other partitions, or none, under ``wanted``."""
        return [
            seat
            for seat in self
            if seat.role != "probe"
            and seat.state is not State.CLOSED
            and self.belonging(seat) != wanted.get(seat.name)
        ]

    def fits(self, wanted: Layout) -> bool:
        """Whether the workers' seats are as under ``wanted``."""
        open_seats = {seat.name for seat in self if seat.state is not State.CLOSED}
        return wanted.keys() <= open_seats and not self.differing(wanted)

    def belonging(self, seat: Seat) -> tuple[int, ...]:
        """The partitions of a seat, parked ones too."""
        if seat.role != "olap":
            return seat.partitions
        number = self._seats.index(seat) + 1
        return tuple(p for p in range(self.partitions) if self._board.assignment(p).seat == number)

    # -- parking ----------------------------------------------------------------------------------------

    def park(self, seat: Seat, partitions: Sequence[int], cause: Cause) -> None:
        """Nobody is to serve these, until :meth:`unpark`.

        It is said of the OLAP side's partitions: the real-time worker keeps its own, and is parked as a seat.
        """
        if seat.role != "olap":
            return
        for partition in partitions:
            record = self._board.assignment(partition)
            record.parked_ns, record.parked_cause = time.monotonic_ns(), cause
        seat.partitions = tuple(p for p in seat.partitions if p not in partitions)

    def unpark(self, seat: Seat, but: Collection[int] = ()) -> list[int]:
        """Its parked partitions are its own again, ``but`` for some; returns them."""
        found = [partition for partition in self.parked(seat) if partition not in but]
        for partition in found:
            record = self._board.assignment(partition)
            record.parked_ns = record.parked_cause = 0
        self.assign(seat, self.belonging(seat))
        return found

    def parked(self, seat: Seat) -> list[int]:
        """Those of its partitions that are."""
        if seat.role != "olap":
            return []
        return [p for p in self.belonging(seat) if self._board.assignment(p).parked_ns]

    # -- what is owned ----------------------------------------------------------------------------------

    def progress(self, seat: Seat) -> int:
        """A number that grows with what is committed in a seat."""
        if seat.role == "olap":
            return sum(self._board.olap(partition).committed for partition in seat.partitions)
        if seat.role == "realtime":
            return sum(self._board.realtime(partition).committed for partition in seat.partitions)
        return self._board.header.brokers_answered_ns

    def note_owned(self, seat: Seat) -> None:
        """Add the time since the last owner's end to what its partitions were without one."""
        if seat.role == "olap" and seat.record.noticed_ns:
            gap = seat.record.owned_ns - seat.record.noticed_ns
            for partition in seat.partitions:
                self._board.assignment(partition).unowned_ns += max(0, gap)
