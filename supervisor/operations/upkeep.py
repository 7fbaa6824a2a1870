"""Sees to it that the partitions are served by as many workers as there are to be.

Where they are not, since partitions were added or a reload has brought another number of workers, it has that
changed. A change that fails, because a process ended that was to become a new worker, is tried again: no
person may be waiting who would do so.
"""

from __future__ import annotations

from collections.abc import Sequence

from supervisor.contract.exits import Exit
from supervisor.contract.faults import Fault
from supervisor.contract.settings import Settings
from supervisor.control.protocol import Ended, Talk
from supervisor.host.loop import Timer
from supervisor.operations.floor import Floor
from supervisor.operations.queue import Operations
from supervisor.operations.rescale import Rescale
from supervisor.rules.policy import Backoff

__all__ = ["Upkeep"]


class Upkeep:
    """See the module. It is told how each change ends, as a person would be (``Talk``)."""

    def __init__(self, floor: Floor, operations: Operations) -> None:
        self._floor = floor
        self._operations = operations
        self._backoff = Backoff(floor.settings.restart)
        self._again: Timer | None = None

    def adopt(self, settings: Settings) -> None:
        self._backoff.adopt(settings.restart)

    def look(self, talks: Sequence[Talk] = ()) -> bool:
        """Whether anything has to change; then it is under way, or waits for its turn, and ends ``talks``."""
        self._forget_timer()
        if self._floor.stopping or not self._floor.seats.partitions or self._is_as_wanted():
            return False
        waiting = self._operations.waiting(Rescale.NAME)
        if waiting is None:
            self._operations.submit(Rescale(self._floor, [*talks, self]))
        else:  # whatever it is for, it serves all the partitions there are then
            waiting.talks += [*talks, *([] if self in waiting.talks else [self])]
        return True

    def _is_as_wanted(self) -> bool:
        floor = self._floor
        try:
            return floor.seats.fits(floor.seats.layout(floor.settings, floor.seats.partitions, floor.workers))
        except Fault:
            return False  # the change will say why it cannot be

    def say(self, text: str) -> None:
        """How far it is; it only matters how it ends."""

    def end(self, outcome: Ended) -> None:
        if outcome.ok:
            self._backoff.forget()
        elif outcome.exit_code != Exit.CONFIGURATION and not self._floor.stopping:
            # Else it would fail in the same way until a reload brings another configuration, and looks again.
            self._forget_timer()
            self._again = self._floor.loop.after(self._backoff.died(0), self._look_again)

    def _look_again(self) -> None:
        self._again = None
        self.look()

    def _forget_timer(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
