"""What has become of a partition's records, as the board has it.

Where its owner stands is on the board at once: a crash cannot say it any more. How many records have become
what counts when they are committed, and not before.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from supervisor.contract.board import OlapPartition, WorkerSlot
from supervisor.contract.settings import Dlq
from workers.decode import Batch
from workers.olap.limits import DlqLimit

__all__ = ["Ledger"]


@dataclass
class _Tally:
    """What is in the open transaction."""

    events: int = 0
    outputs: int = 0
    dead_letters: int = 0
    filtered: int = 0
    lost: int = 0
    quarantined: int = 0


class Ledger:
    """Of one partition. Goes on counting where the board says that a former owner stopped."""

    def __init__(self, dlq: Dlq, slot: WorkerSlot, record: OlapPartition) -> None:
        self._slot = slot
        self._record = record
        self._limit = DlqLimit(dlq, run=record.bad_run, seen=record.window_events, bad=record.window_bad)
        self._tally = _Tally()

    @property
    def committed(self) -> int | None:
        """What this supervisor has committed of the partition; ``None`` if it has never owned it."""
        return self._record.committed if self._record.owned_ns else None

    @property
    def committed_at_most(self) -> int | None:
        """The offset that this supervisor may have committed at most: also by a commit of which its owner did
        not hear the end, but not what lies behind it and is taken for done on the board, such as markers."""
        return self._record.committing if self._record.owned_ns else None

    @property
    def events(self) -> int:
        """How many are in the open transaction."""
        return self._tally.events

    def nothing_in_hand(self) -> None:
        """What the former owner had in hand is not in ours.

        It died of that, perhaps, and it is known who did: the supervisor reads the range when it judges a
        death, before anybody else is given the partition. Were it still there while we take over, a death
        of ours by then, of whatever cause, would be counted as one more of that record.
        """
        self._record.in_hand_end = 0  # first, so that there is nothing between the two
        self._record.in_hand = 0

    def fenced(self) -> None:
        """The former owner can do nothing any more."""
        self._record.fenced_ns = time.monotonic_ns()

    def owned(self, begin: int, lost: int) -> None:
        """The partition is ours from the offset ``begin`` on, before which ``lost`` records are gone."""
        record = self._record
        record.position = record.committed = record.committing = begin
        record.in_hand = record.in_hand_end = begin
        self._tally.lost = lost
        record.owned_ns = time.monotonic_ns()

    def fetched(self) -> None:
        """There are records. Only the first ones of an owner are noted."""
        if self._record.fetched_ns <= self._record.owned_ns:
            self._record.fetched_ns = time.monotonic_ns()

    def passed(self, end: int, *, committed: bool) -> None:
        """There is nothing to process before the offset ``end``, and if ``committed`` nothing to commit."""
        self._record.position = end
        if committed:
            self._record.committed = end

    def take_in_hand(self, begin: int, end: int) -> None:
        """Records from the offset ``begin`` to before ``end`` are about to be processed.

        A crash cannot say which they were. Each order of these writes and that of :meth:`let_go` is safe.
        Before the second one and after the third the range is empty, so that who dies while it waits or
        commits blames no record. They are plain stores to shared memory: a process that dies by a later
        instruction has made them.
        """
        self._record.in_hand = begin
        self._record.in_hand_end = end

    def let_go(self, end: int) -> None:
        """They are processed, up to the offset ``end``."""
        self._record.in_hand = end

    def account(self, end: int, consumed: int, batch: Batch) -> None:
        """Of ``consumed`` records up to the offset ``end``, ``batch`` is what has become."""
        tally, bad = self._tally, len(batch.bad)
        self._record.position = end
        tally.events += consumed
        tally.outputs += len(batch.payloads)
        tally.dead_letters += bad
        tally.filtered += batch.filtered
        self._slot.events += consumed
        self._slot.bad += bad
        self._slot.heartbeat_ns = time.monotonic_ns()

    def quarantined(self) -> None:
        """One of them killed its workers."""
        self._tally.quarantined += 1

    def exceeded(self, consumed: int, batch: Batch) -> str | None:
        """Which limit of dead letters ``batch`` exceeds, in words; then those limits begin anew.

        Whoever is told to serve the partition after this was told so by a person.
        """
        exceeded = self._limit.add(consumed, [bad.index for bad in batch.bad])
        if exceeded is not None:
            self._record.bad_run = self._record.window_events = self._record.window_bad = 0
        return exceeded

    def committing(self, end: int) -> None:
        """The brokers are asked to commit up to the offset ``end``. Who dies before they have answered leaves
        it open whether they did: a successor that finds it committed has found nobody else."""
        self._record.committing = end

    def commit(self, end: int, late: int) -> None:
        """The transaction is committed, up to the offset ``end``; ``late`` records were too late to count.

        The offset is written last: who sees it finds everything up to it counted.
        """
        record, tally = self._record, self._tally
        record.transactions += 1
        record.events += tally.events
        record.outputs += tally.outputs
        record.dead_letters += tally.dead_letters
        record.filtered += tally.filtered
        record.lost += tally.lost
        record.quarantined += tally.quarantined
        record.bad_run = self._limit.run
        record.window_events, record.window_bad = self._limit.seen, self._limit.bad
        record.late += late
        record.committed_ns = self._slot.heartbeat_ns = time.monotonic_ns()
        record.committed = end
        self._tally = _Tally()
