"""The OLAP worker: the partitions of one process, served in turn."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from supervisor.contract.board import Board, Stage, WorkerSlot
from supervisor.contract.messages import Suspect
from supervisor.contract.settings import Settings
from workers.errors import DlqLimitReached, WorkerError
from workers.olap import contest
from workers.olap.deference import Deference
from workers.olap.partition import DEAF_S, PartitionWork
from workers.olap.preparation import PreparedPartition
from workers.olap.takeover import together
from workers.olap.warmth import WarmClients
from workers.pipeline import Pipeline

__all__ = ["OlapWorker"]

_OPENED_TOGETHER = 8
# Under a low limit the next event may be due in a second: by then it is to have heard what it is told.
_REST_S = 0.05
_LEAST_WAIT_S = 0.001


class OlapWorker:
    """The partitions of one worker process, served in turn."""

    rest_s = 0.0

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        board: Board,
        slot: WorkerSlot,
        partitions: Iterable[int],
        *,
        contested: bool = False,
        suspects: Iterable[Suspect] = (),
        topic_id: str = "",
        warm: WarmClients | None = None,
        prepared: Mapping[int, PreparedPartition] | None = None,
    ) -> None:
        """``warm`` are clients that are connected, ``prepared`` what more there is of some partitions; what
        is not among them is opened from the beginning."""
        self._contested = contested
        suspected = {suspect.partition: suspect for suspect in suspects}
        self._slot = slot
        self._topic = settings.topics.input.name
        header = board.header

        def rate() -> int:
            return header.partition_rate

        # The first one gets the clients that are connected; the others connect at the same time as it works.
        self._work = [
            PartitionWork(
                settings,
                pipeline,
                partition,
                slot,
                board.olap(partition),
                suspected.get(partition),
                warm if place == 0 else None,
                rate,
                prepared.get(partition) if prepared else None,
                topic_id,
            )
            for place, partition in enumerate(partitions)
        ]
        # With nothing to do, a turn waits for this long; its partitions share a commit interval.
        # Never for long, whatever the interval: it would not hear that it is to stop.
        self._cycle_s = min(DEAF_S, settings.olap.commit_interval_ms / 1000)
        share = self._cycle_s / max(1, len(self._work))
        # The client waits for whole milliseconds. Where the share is less it would not wait at all, and the
        # loop turn without a rest: then they are all asked, and one rest follows.
        self._idle_s = share if share >= _LEAST_WAIT_S else 0.0
        self._busy = False
        self._deference = Deference(settings.olap.nice)

    def open(self) -> None:
        if self._contested:
            self._slot.enter(Stage.FENCING)
            ours = {work.partition: work.committed_by_us() for work in self._work}
            contest.look(self._work[0].consumer, self._topic, ours)
        for start in range(0, len(self._work), _OPENED_TOGETHER):
            self._open_together(self._work[start : start + _OPENED_TOGETHER])

    def _open_together(self, some: list[PartitionWork]) -> None:
        """Each waits for the brokers most of the time. The board names one that is not open yet, and in the
        end the one that failed if one did."""
        unopened = [work.partition for work in some]
        naming = threading.Lock()
        self._slot.partition = unopened[0] + 1

        def opening(work: PartitionWork) -> Callable[[], None]:
            def act() -> None:
                with work.located():
                    work.open()
                with naming:
                    unopened.remove(work.partition)
                    self._slot.partition = unopened[0] + 1 if unopened else 0

            return act

        try:
            together(*map(opening, some))
        except WorkerError as error:
            if error.partition is not None:
                self._slot.partition = error.partition + 1
            raise

    def step(self) -> None:
        """One turn of every partition. While one of them has work, none waits for the others."""
        wait = 0.0 if self._busy and len(self._work) > 1 else self._idle_s
        worked = False
        for work in self._work:
            try:
                with work.at_work():
                    worked |= work.turn(wait)
            except DlqLimitReached:
                self._slot.enter(Stage.DRAINING)
                work.close()
                self._work.remove(work)
                self._settle_others()
                raise
        self._busy = worked
        self._deference.look(behind=any(work.behind for work in self._work), now=time.monotonic())
        if not worked:
            self._rest()

    def _rest(self) -> None:
        """Wait out what the governor has every partition wait for; where it holds none back, not at all, but
        where there are too many of them to wait for each."""
        rest = min(_REST_S, min((work.rest_s() for work in self._work), default=0.0))
        if not self._idle_s:
            due = min((work.due_s() for work in self._work), default=self._cycle_s)
            rest = max(rest, min(self._cycle_s, due))
        if rest > 0:
            time.sleep(rest)

    def _settle_others(self) -> None:
        """Commit the other partitions before the worker ends of a limit.

        That limit is what is to be reported. A partition that cannot be committed is processed again by its
        next owner, which finds out why.
        """
        with contextlib.suppress(WorkerError):
            self.drain()

    def reopen(self) -> None:
        """It has no file open for others."""

    def drain(self) -> None:
        """Commit what is in hand and give everything back.

        Each partition for itself: where one fails, the others' transactions must not stay open, since they
        would hold up their readers until the brokers end them. Raises what went wrong first.
        """
        failures: list[WorkerError] = []
        for work in self._work:
            try:
                with work.at_work():
                    work.drain()
            except WorkerError as error:
                failures.append(error)
            work.close()
        if failures:
            raise failures[0]
