"""One OLAP worker killed, and the gap that this tears: from SIGKILL to the next committed output.

All times are of the monotonic clock, which the processes of one machine share.
"""

from __future__ import annotations

import os
import signal
import time

from msgspec import Struct
from msgspec.structs import replace

from supervisor.contract.board import Board, Role
from supervisor.reporting.status import partitions_of

__all__ = ["Gap", "Killing", "kill_one"]

_MS = 1_000_000


class Gap(Struct, frozen=True):
    """Milliseconds from the kill; None for what had not happened when the demo ended."""

    worker: str
    pid: int
    partitions: tuple[int, ...]
    noticed_ms: float | None = None
    """Until the supervisor knew."""
    owned_ms: float | None = None
    """Until the replacement owned the partitions."""
    committed_ms: float | None = None
    """Until it had committed output to each of them."""
    others_committed: int = 0
    """Transactions that the other partitions committed in that time."""


class Killing:
    """Follows the seat of a worker that was killed, until its partitions have output again.

    The board has the time of the last commit only: look more often than a worker commits, or a later commit
    is taken for the first, and the gap comes out too long.
    """

    def __init__(self, board: Board, place: int, partitions: tuple[int, ...], killed_ns: int) -> None:
        self._board = board
        self._seat = board.seat(place)
        self._killed_ns = killed_ns
        self._others_before = self._others(partitions)
        self._first_commits: dict[int, int] = {}
        self.gap = Gap(f"olap-{self._seat.index}", self._seat.pid, partitions)

    @property
    def done(self) -> bool:
        return self.gap.committed_ms is not None

    def look(self) -> list[str]:
        """Look at the board; what has happened since the last look, in words."""
        happened = []
        if self.gap.noticed_ms is None and self._seat.noticed_ns > self._killed_ns:
            self.gap = replace(self.gap, noticed_ms=self._since(self._seat.noticed_ns))
            happened.append(f"the supervisor noticed after {self.gap.noticed_ms:.0f} ms")
        if self.gap.noticed_ms is not None and self.gap.owned_ms is None:
            happened += self._look_at_owners()
        if self.gap.owned_ms is not None and self.gap.committed_ms is None:
            happened += self._look_at_commits()
        return happened

    def _look_at_owners(self) -> list[str]:
        # By what the new owner noted itself. The seat has the time at which it told the supervisor: later,
        # behind a first commit of what had piled up, which may be all that there is to commit.
        owned = [self._board.olap(partition).owned_ns for partition in self.gap.partitions]
        # The former owner's are of before the kill, and nobody new was there before it was noticed.
        if min(owned) < self._killed_ns or not self._seat.pid:
            return []
        self.gap = replace(self.gap, owned_ms=self._since(max(owned)))
        return [
            f"{self.gap.worker} replaced after {self.gap.owned_ms:.0f} ms: pid {self._seat.pid} "
            f"owns {_named(self.gap.partitions)}"
        ]

    def _look_at_commits(self) -> list[str]:
        for partition in self.gap.partitions:
            record = self._board.olap(partition)
            committed_ns = record.committed_ns
            # Later than the replacement's ownership, so not the last commit of the killed one.
            if committed_ns > record.owned_ns:
                self._first_commits.setdefault(partition, committed_ns)
        if len(self._first_commits) < len(self.gap.partitions):
            return []
        last = max(self._first_commits.values())
        others = self._others(self.gap.partitions) - self._others_before
        self.gap = replace(self.gap, committed_ms=self._since(last), others_committed=others)
        return [
            f"{_named(self.gap.partitions)}: output again after {self.gap.committed_ms:.0f} ms "
            f"(the others committed {others} times)"
        ]

    def _since(self, moment_ns: int) -> float:
        return round((moment_ns - self._killed_ns) / _MS, 3)

    def _others(self, partitions: tuple[int, ...]) -> int:
        return sum(
            self._board.olap(partition).transactions
            for partition in range(self._board.header.topic_partitions)
            if partition not in partitions
        )


def kill_one(board: Board) -> Killing | None:
    """SIGKILL the OLAP worker in the middle. None where none of them serves at the moment."""
    header = board.header
    places = [place for place in range(header.seats) if board.seat(place).role == Role.OLAP]
    middle = len(places) // 2
    for place in places[middle:] + places[:middle]:
        seat = board.seat(place)
        pid = seat.pid
        if not pid or not seat.owned_ns:
            continue
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            # The handle is of the process that has the pid now. If the seat still names it, it is the one
            # that we mean, and what is killed is that one, whoever gets the pid next.
            if seat.pid != pid:
                continue
            killing = Killing(board, place, partitions_of(board, place), time.monotonic_ns())
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        except ProcessLookupError:
            continue
        finally:
            os.close(handle)
        return killing
    return None


def _named(partitions: tuple[int, ...]) -> str:
    numbers = ", ".join(map(str, partitions))
    return f"partition {numbers}" if len(partitions) == 1 else f"partitions {numbers}"
