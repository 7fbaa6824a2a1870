"""A place to be filled by a worker, such as ``olap-2``, over all the processes that come and go in it.

It keeps its own record on the board up to date: whoever reads the board sees what the supervisor knows.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from supervisor.child import Child
from supervisor.contract.board import Seat as SeatRecord
from supervisor.contract.exits import WorkerExit
from supervisor.contract.messages import WorkerRole
from supervisor.lifecycle import Event, State, after
from supervisor.loop import Timer
from supervisor.policy import Backoff

__all__ = ["Seat"]


@dataclass
class Seat:
    """See the module."""

    role: WorkerRole
    index: int
    partitions: tuple[int, ...]
    record: SeatRecord
    state: State = State.VACANT
    child: Child | None = None
    backoff: Backoff = field(default_factory=Backoff)
    contested: bool = False
    """The last owner was fenced, and nobody has owned the partitions since."""
    retry: Timer | None = None

    @property
    def name(self) -> str:
        return "probe" if self.role == "probe" else f"{self.role}-{self.index}"

    @property
    def served(self) -> bool:
        """Whether the process in it has said that it owns its partitions."""
        return self.record.owned_ns != 0

    def advance(self, event: Event) -> None:
        self.state = after(self.state, event)
        self.record.state = self.state

    def fill(self, child: Child) -> None:
        """``child`` is given the seat."""
        self.child = child
        self.record.worker, self.record.pid = child.slot + 1, child.pid
        self.record.refilled_ns, self.record.owned_ns = time.monotonic_ns(), 0
        self.advance(Event.FILLED)

    def own(self) -> None:
        """The process in it owns its partitions."""
        self.contested = False
        self.record.owned_ns = time.monotonic_ns()
        self.advance(Event.OWNED)

    def vacate(self, exit_code: int, noticed_ns: int, *, blamed: bool) -> None:
        """The process in it has ended; ``blamed`` unless that was asked of it, or the brokers' doing."""
        self.child = None
        # It holds until somebody owns the partitions: who looks may die while looking.
        self.contested = self.contested or exit_code == WorkerExit.FENCED
        record = self.record
        record.worker = record.pid = 0
        record.exit_code, record.noticed_ns = exit_code, noticed_ns
        record.restarts += blamed

    def hold_back(self, retry_ns: int, timer: Timer) -> None:
        """Nobody is to fill it until ``timer`` is due, at ``retry_ns``."""
        self.retry, self.record.retry_ns = timer, retry_ns
        self.advance(Event.HELD_BACK)

    def release(self) -> None:
        """The wait is over."""
        self.retry, self.record.retry_ns = None, 0
        self.advance(Event.RETRY)

    def close(self) -> None:
        """Nobody will fill it any more."""
        if self.retry is not None:
            self.retry.cancel()
        self.advance(Event.STOP)
