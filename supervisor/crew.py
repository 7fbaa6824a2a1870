"""The processes: how many there are, which are starting, and which wait in standby for a seat.

Processes start without a role. They belong to a *generation*: the configuration, and the code on disk, that
were there when they started. A reload makes a new one.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from supervisor.contract.board import Board
from supervisor.contract.messages import Report, Standby
from supervisor.contract.settings import Settings
from supervisor.host.child import Child, spawn
from supervisor.host.guardian import Guardian
from supervisor.host.loop import Loop, Timer
from supervisor.rules.policy import Backoff, Intent

__all__ = ["Crew", "Watcher"]

_log = logging.getLogger("supervisor")

_SPAWN_RETRY_S = 1.0


class Watcher(Protocol):
    """Who is told what happens to the processes."""

    def ready(self, child: Child) -> None:
        """It is in standby."""

    def reported(self, child: Child, report: Report) -> None:
        """It has said something else."""

    def died(self, child: Child) -> None:
        """It has ended; its last words have been reported. To be collected with ``child.reap()``."""


class Crew:
    """Every process that the supervisor has started and not yet collected, by its slot on the board."""

    def __init__(
        self, loop: Loop, board: Board, settings: Settings, watcher: Watcher, guardian: Guardian
    ) -> None:
        self.children: dict[int, Child] = {}
        self._loop = loop
        self._board = board
        self._watcher = watcher
        self._guardian = guardian
        self._settings = {1: settings}
        self._backoff = Backoff(settings.restart)
        self._readied = 0
        self._proven: set[int] = set()
        self._respawn: Timer | None = None
        self._refill: Callable[[], None] = lambda: None

    # -- generations ------------------------------------------------------------------------------------

    def settings(self, generation: int) -> Settings:
        return self._settings[generation]

    def add_generation(self, settings: Settings) -> int:
        """A new generation of processes; none of it is started yet."""
        generation = max(self._settings) + 1
        self._settings[generation] = settings
        return generation

    def adopt(self, settings: Settings) -> None:
        """Where processes end before they have a seat, the next one waits as these settings say."""
        self._backoff.adopt(settings.restart)

    def proven(self, generation: int) -> bool:
        """Whether a process of that generation has ever come to standby."""
        return generation in self._proven

    # -- processes --------------------------------------------------------------------------------------

    def free(self, generation: int) -> list[Child]:
        """Those of a generation without a role, ready or on the way to it, the oldest first."""
        return [
            child
            for child in self.children.values()
            if child.generation == generation
            and child.serving is None
            and child.intent is Intent.NONE
            and not child.ended
        ]

    def standby(self, generation: int, partitions: tuple[int, ...] = ()) -> Child | None:
        """The one of a generation that is to have the next role, if any waits for one.

        First one that prepares for these partitions, if there are some, and last one that does for others.
        Among equals the one that has waited longest.
        """
        ready = [child for child in self.free(generation) if child.ready]
        return min(ready, key=lambda one: (one.prepares != partitions, one.prepares != ()), default=None)

    def warm(self, child: Child) -> bool:
        """Whether its clients are connected, so that a role is soon taken."""
        return bool(self._board.worker(child.slot).warm)

    def fill_up(self, wanted: Mapping[int, int], refill: Callable[[], None]) -> None:
        """Start processes until there are as many free ones of each generation as ``wanted``.

        At most ``runtime.max_starting`` start at the same time; whoever calls does so again when one is
        ready, and is called back by ``refill`` where it is only time that has to pass.
        """
        self._refill = refill
        for generation, count in wanted.items():
            for _ in range(count - len(self.free(generation))):
                if self._respawn is not None or self._starting() >= self._limit(generation):
                    return
                if not self._spawn_one(generation):
                    return

    def dismiss(self, generation: int, keep: int = 0) -> None:
        """End the free ones of a generation beyond ``keep``, the youngest first: they hold nothing."""
        for child in self.free(generation)[keep:]:
            child.kill(Intent.STOP)

    def _starting(self) -> int:
        return sum(not child.ready for child in self.children.values())

    def _limit(self, generation: int) -> int:
        return self._settings[generation].runtime.max_starting or len(os.sched_getaffinity(0))

    def _spawn_one(self, generation: int) -> bool:
        slot = next(number for number in range(self._board.workers) if number not in self.children)
        self._board.worker(slot).clear()
        settings = self._settings[generation]
        try:
            child = spawn(slot, self._board.path, settings, generation, self._guardian)
        except OSError as error:  # EAGAIN, ENOMEM, EMFILE: the system may have room again in a moment
            _log.warning("cannot start a process: %s; trying again", error)
            self._respawn = self._loop.after(_SPAWN_RETRY_S, self._spawn_again)
            return False
        self.children[slot] = child
        self._loop.watch(child.sentinel, lambda: self._died(child))
        self._loop.watch(child.reports, lambda: self._reported(child))
        self._loop.after(settings.runtime.start_timeout_s, lambda: self._check_started(child))
        return True

    def hold_back(self) -> float:
        """A process ended before it had a seat; returns the seconds until the next one is started.

        Where none gets as far as standby, the next has to wait: a pipeline whose import crashes the
        interpreter would be started again and again, as fast as the machine can.
        """
        wait = self._backoff.died(self._readied)
        if wait and self._respawn is None:
            self._respawn = self._loop.after(wait, self._spawn_again)
        return wait

    def _spawn_again(self) -> None:
        self._respawn = None
        self._refill()

    def _check_started(self, child: Child) -> None:
        if self.children.get(child.slot) is child and not child.ready:
            _log.error("process %d is not ready after its start timeout: killed", child.pid)
            child.kill(Intent.START_TIMEOUT)

    def _reported(self, child: Child) -> None:
        report = child.take_report()
        if report is None:
            # The pipe ended; the sentinel says the rest.
            self._loop.unwatch(child.reports)
            return
        self._take(child, report)

    def _take(self, child: Child, report: Report) -> None:
        if isinstance(report, Standby):
            self._readied += 1
            self._proven.add(child.generation)
            child.ready, child.code = True, report.code
            self._watcher.ready(child)
        else:
            self._watcher.reported(child, report)

    def _died(self, child: Child) -> None:
        """Its sentinel is readable."""
        child.ended = True
        # Its last words may still be in the pipe: they say why.
        while (report := child.take_report()) is not None:
            self._take(child, report)
        del self.children[child.slot]
        self._loop.unwatch(child.sentinel)
        with contextlib.suppress(KeyError):  # its pipe had ended before
            self._loop.unwatch(child.reports)
        self._watcher.died(child)

    def each(self) -> Iterable[Child]:
        """All of them; a copy, so that they may come and go meanwhile."""
        return tuple(self.children.values())
