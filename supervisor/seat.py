"""A place to be filled by a worker, such as ``olap-2``, over all the processes that come and go in it.

It keeps its own record on the board up to date: whoever reads the board sees what the supervisor knows.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from supervisor.contract.board import Seat as SeatRecord
from supervisor.contract.exits import WorkerExit
from supervisor.contract.messages import WorkerRole
from supervisor.host.child import Child
from supervisor.host.loop import Timer
from supervisor.rules.lifecycle import Event, State, after
from supervisor.rules.policy import Backoff, Cause

__all__ = ["Seat"]

_HIGHEST_CPU_SHOWN = 62


@dataclass(eq=False)
class Seat:
    """See the module."""

    role: WorkerRole
    index: int
    partitions: tuple[int, ...]
    """Those it is to serve; a parked partition belongs to it and is not among them."""
    record: SeatRecord
    backoff: Backoff
    generation: int = 1
    """Of which generation its next process is to be."""
    state: State = State.VACANT
    vacant_ns: int = field(default_factory=time.monotonic_ns)
    """When it became vacant last."""
    child: Child | None = None
    contested: bool = False
    """The last owner was fenced, and nobody has owned the partitions since."""
    held: bool = False
    """Not to be filled for the moment: its partitions are still with another worker."""
    alarmed: bool = False
    """Somebody was told that it is not well, and has yet to be told that it is again."""
    retry: Timer | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return "probe" if self.role == "probe" else f"{self.role}-{self.index}"

    @property
    def served(self) -> bool:
        """Whether the process in it has said that it owns its partitions."""
        return self.record.owned_ns != 0

    @property
    def idle(self) -> bool:
        """Whether all that it has is parked: its process would have nothing to do."""
        return self.role == "olap" and not self.partitions

    @property
    def fillable(self) -> bool:
        return self.state is State.VACANT and not self.held

    def advance(self, event: Event) -> None:
        self.state = after(self.state, event)
        self.record.state = self.state
        if self.state is State.VACANT:
            self.vacant_ns = time.monotonic_ns()

    def fill(self, child: Child, cpus: Iterable[int], nice: int, weight: int) -> None:
        """``child`` is given the seat, with these CPUs, priority and weight."""
        self.child = child
        record = self.record
        record.worker, record.pid = child.slot + 1, child.pid
        record.generation, record.nice, record.cpu_weight = child.generation, nice, weight
        record.cpus = _mask(cpus)
        record.refilled_ns, record.owned_ns = time.monotonic_ns(), 0
        self.advance(Event.FILLED)

    def own(self) -> None:
        """The process in it owns its partitions."""
        self.contested = False
        self.record.owned_ns = time.monotonic_ns()
        self.advance(Event.OWNED)

    def vacate(self, exit_code: int, cause: Cause, noticed_ns: int, *, blamed: bool) -> None:
        """The process in it has ended; ``blamed`` if that was its own fault."""
        self.child = None
        # It holds until somebody owns the partitions: who looks may die while looking.
        self.contested = self.contested or exit_code == WorkerExit.FENCED
        record = self.record
        record.worker = record.pid = record.owned_ns = record.rss_bytes = 0
        record.exit_code, record.cause, record.noticed_ns = exit_code, cause, noticed_ns
        record.restarts += blamed
        record.recycled += cause is Cause.RECYCLED

    def hold_back(self, retry_ns: int, timer: Timer) -> None:
        """Nobody is to fill it until ``timer`` is due, at ``retry_ns``."""
        self.retry, self.record.retry_ns = timer, retry_ns
        self.advance(Event.HELD_BACK)

    def release(self) -> None:
        """The wait is over, or a person does not want to wait."""
        self._forget_wait()
        self.advance(Event.RELEASE)

    def park(self) -> None:
        """Nobody is to fill it until it is released."""
        self._forget_wait()
        self.advance(Event.PARK)

    def close(self) -> None:
        """Nobody will fill it any more."""
        self._forget_wait()
        self.advance(Event.CLOSE)

    def _forget_wait(self) -> None:
        if self.retry is not None:
            self.retry.cancel()
        self.retry, self.record.retry_ns = None, 0


def _mask(cpus: Iterable[int]) -> int:
    """CPUs as bits of one word of the board; zero where they do not fit into it."""
    chosen = tuple(cpus)
    return sum(1 << cpu for cpu in chosen) if all(cpu <= _HIGHEST_CPU_SHOWN for cpu in chosen) else 0
