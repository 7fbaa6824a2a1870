"""What a death means: its cause, what is to follow, and what is remembered of it.

The rules are pure and stand in ``policy``, ``budget`` and ``poison``; here they are asked, in order, about
one process that has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from supervisor.contract.board import Board
from supervisor.contract.messages import Failed, Suspect
from supervisor.contract.settings import Settings
from supervisor.host import stacks
from supervisor.host.child import Child
from supervisor.reporting.tally import Death, Tally
from supervisor.rules.budget import Budget
from supervisor.rules.poison import Suspicions, counts
from supervisor.rules.policy import Cause, Verdict, blamed, classify, describe, judge
from supervisor.seat import Seat
from supervisor.seats import Seats

__all__ = ["Deaths", "Judgement"]

_TALLY = "deaths.jsonl"
_TALLY_KEPT = 1_000
_BROKERS_PAUSE_S = 2.0


class Judgement(Struct, frozen=True):
    """What follows a death."""

    cause: Cause
    verdict: Verdict
    text: str
    """How it ended, as people say it."""
    reason: str
    """The worker's last words, or else how it ended; and that a budget is spent."""
    wait_s: float = 0.0
    """How long its seat has to wait."""
    partitions: tuple[int, ...] = ()
    """Which of its partitions are parked."""
    parked_for: Cause = Cause.NONE
    """Why: its cause, or that the budget is spent."""
    partition: int | None = None
    offset: int | None = None
    """What was in hand, or what the worker said it was about."""


class Deaths:
    """Every death is brought here once."""

    def __init__(
        self, settings: Settings, board: Board, seats: Seats, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._board = board
        self._seats = seats
        self._clock = clock
        self._run_dir: Path = board.path.parent
        self._total = Budget(settings.restart.budget_total, settings.restart.window_s)
        self._budgets: dict[str | int, Budget] = {}
        self._tally = Tally(self._run_dir / _TALLY, _TALLY_KEPT)
        self.topic_id = ""
        """Of the input; empty before it is known."""
        self._suspicions = self._remembered()
        self._condemned: dict[int, Suspect] = {}
        """The record that a partition's owner was told to put to the dead letters."""

    def recognize(self, topic_id: str) -> None:
        """The input is this one: what is suspected is what its records have done, in this life or before.

        A topic that was deleted and created anew, or is of another cluster, has other records at these
        offsets, innocent ones.
        """
        if topic_id == self.topic_id:
            return
        self.topic_id = topic_id
        self._condemned.clear()
        self._suspicions = self._remembered()

    def _remembered(self) -> Suspicions:
        """What the tally says of the records of this topic."""
        suspicions = Suspicions(self._settings.dlq.poison_deaths)
        suspicions.load(death for death in self._tally.read() if death.topic_id == self.topic_id)
        return suspicions

    def adopt(self, settings: Settings) -> None:
        """Judge by new settings; what is spent of budgets is forgotten."""
        self._settings = settings
        self._total = Budget(settings.restart.budget_total, settings.restart.window_s)
        self._budgets.clear()
        self._suspicions.adopt(settings.dlq.poison_deaths)

    def forgive(self, seat: Seat) -> None:
        """A person has looked at it: it begins anew, and so does the budget of all workers. Else what one of
        them has spent would be the end of the next one at its first death."""
        self._total.forget()
        self._budgets.pop(seat.name, None)
        for partition in seat.partitions:
            self._budgets.pop(partition, None)

    # -- judging ----------------------------------------------------------------------------------------

    def judge(
        self, child: Child, seat: Seat | None, exit_code: int, failed: Failed | None, *, out_of_memory: bool
    ) -> Judgement:
        """What the end of ``child`` means, which had ``seat``. It is remembered."""
        cause = classify(exit_code, child.intent, out_of_memory=out_of_memory)
        partition, offset, end = self._in_hand(child, seat, failed)
        stack = stacks.tail(self._run_dir, child.slot) if counts(cause) else ""
        text = describe(cause, exit_code)
        found = Judgement(
            cause,
            judge(cause, when_spent=self._settings.restart.when_spent),
            text,
            (failed.cause if failed else "") or text,
            partition=partition,
            offset=offset,
        )
        if seat is not None or cause is not Cause.STOPPED:  # a spare that is one too many is no news
            self._tally.append(self._death(child, seat, exit_code, found, end, stack))
        if seat is None or not blamed(cause):
            wait = _BROKERS_PAUSE_S if found.verdict is Verdict.WAIT else 0.0
            parked = self._parked(seat, partition) if found.verdict is Verdict.PARK else ()
            return replace(found, wait_s=wait, partitions=parked, parked_for=cause)
        if counts(cause) and partition is not None and offset is not None and end is not None:
            committed = self._board.olap(partition).committed
            self._suspicions.died(partition, offset, end, committed, text, stack)
        return self._spend(found, seat)

    def _spend(self, found: Judgement, seat: Seat) -> Judgement:
        """Count a death against the backoff and the budgets; what follows if they are spent."""
        self._board.header.deaths += 1
        for touched in seat.partitions if found.partition is None else (found.partition,):
            if seat.role == "olap":
                self._board.assignment(touched).deaths += 1
        restart, now = self._settings.restart, self._clock()
        key: str | int = seat.name if found.partition is None else found.partition
        own = self._budgets.setdefault(key, Budget(restart.budget, restart.window_s))
        # Both are asked: neither is to miss a death because the other one was spent.
        within = [own.spend(now), self._total.spend(now)]
        wait = seat.backoff.died(self._seats.progress(seat))
        if all(within):
            return replace(found, wait_s=wait)
        deaths = (
            f"{restart.budget} deaths" if not within[0] else f"{restart.budget_total} deaths of all workers"
        )
        found = replace(found, reason=f"{found.reason}; more than {deaths} within {restart.window_s:g} s")
        if restart.when_spent == "stop":
            return replace(found, verdict=Verdict.GIVE_UP)
        parked = self._parked(seat, found.partition)
        return replace(found, verdict=Verdict.PARK, partitions=parked, parked_for=Cause.BUDGET)

    def _death(
        self, child: Child, seat: Seat | None, exit_code: int, found: Judgement, end: int | None, stack: str
    ) -> Death:
        return Death(
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            worker=seat.name if seat else "spare",
            pid=child.pid,
            uptime_s=round(self._clock() - child.started, 3),
            exit_code=exit_code,
            cause=found.cause.name.lower(),
            partition=found.partition,
            offset=found.offset,
            offset_end=end,
            topic_id=self.topic_id,
            stack_tail=stack,
            text=found.reason,
        )

    def _parked(self, seat: Seat | None, partition: int | None) -> tuple[int, ...]:
        if seat is None:
            return ()
        return (partition,) if partition in seat.partitions and partition is not None else seat.partitions

    # -- what was in hand -------------------------------------------------------------------------------

    def _in_hand(
        self, child: Child, seat: Seat | None, failed: Failed | None
    ) -> tuple[int | None, int | None, int | None]:
        """Partition, first offset and end of what a worker had in hand; it stands on the board after it."""
        if failed is not None and failed.partition is not None:
            return failed.partition, failed.offset, None
        if seat is None or seat.role != "olap":
            return None, None, None
        partition = self._board.worker(child.slot).partition - 1
        if partition < 0:
            return None, None, None
        record = self._board.olap(partition)
        if record.in_hand_end <= record.in_hand:
            return partition, None, None
        return partition, record.in_hand, record.in_hand_end

    def suspects(self, seat: Seat) -> tuple[Suspect, ...]:
        """The records at which the workers of a seat died, for the next one, which is told of them."""
        found = tuple(filter(None, map(self._suspicions.suspect, seat.partitions)))
        for partition in seat.partitions:
            self._condemned.pop(partition, None)
        self._condemned |= {suspect.partition: suspect for suspect in found if suspect.quarantine}
        return found

    def passed(self, seat: Seat) -> list[Suspect]:
        """What the worker of a seat has got past is suspected no more. Returns what of it went to the dead
        letters: what it was told, whatever the number of deaths is that is needed for it by now."""
        gone: list[Suspect] = []
        for partition in seat.partitions:
            committed = self._board.olap(partition).committed
            self._suspicions.passed(partition, committed)
            if partition in self._condemned and committed > self._condemned[partition].offset:
                gone.append(self._condemned.pop(partition))
        return gone
