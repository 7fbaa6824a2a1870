"""Replaces the processes of some seats, one at a time, each by one that is ready before.

For each seat in turn: wait until a process of the wanted generation is in standby, and has its clients
connected where others had; have it prepare what only the owner of these partitions needs, down to their
state, while the old one is at work; have the old one finish and close; give the seat to the new one; wait
until it owns its partitions and its first fetch is out; go on. So at most one worker's partitions are without
an owner; and where there was time to prepare, for as long as it takes to fence, and to read what was still
committed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

from supervisor.control.protocol import Talk
from supervisor.host.child import Child
from supervisor.host.loop import Timer
from supervisor.operations.floor import Floor
from supervisor.operations.queue import Operation
from supervisor.rules.lifecycle import State
from supervisor.rules.policy import Intent
from supervisor.seat import Seat

__all__ = ["Recycle", "Restart", "Rollout"]

# A moment is enough for it to connect; if it is not, it would not be for long either.
_WARM_PATIENCE_S = 2.0
_LOOK_S = 0.02
# A long changelog takes its time, and meanwhile the old one is at work. What is left after that is read when
# it has finished.
_PREPARATION_PATIENCE_S = 60.0
_MENTIONED_AFTER_S = 2.0


class Rollout(Operation):
    """See the module. Subclasses say what follows a replacement, a failure and the end."""

    def __init__(self, floor: Floor, name: str, talks: list[Talk], intent: Intent = Intent.RETIRE) -> None:
        super().__init__(name, talks)
        self._floor = floor
        self._intent = intent
        self._pending: deque[Seat] = deque()
        self._generation = floor.generation
        self._seat: Seat | None = None
        """Whose turn it is."""
        self._waiting = False
        """For a process in standby, before it is replaced."""
        self._old_pid = 0
        self._expects_warmth = False
        """Whether a process in standby is worth waiting for until its clients are connected."""
        self._patience_ends_s = 0.0
        self._met: Child | None = None
        """Who was in it when its turn came."""
        self._preparing: tuple[Child, tuple[int, ...]] | None = None
        """Who was told to prepare for it, and for which partitions."""
        self._prepared = False
        self._at_once = False
        self._looking: Timer | None = None
        self._began_s = 0.0
        self._replaced: list[Seat] = []

    def replace(self, seats: Iterable[Seat], generation: int, *, at_once: bool = False) -> None:
        """Begin with the first of them; ``at_once`` if the old ones are not to work on meanwhile."""
        self._pending = deque(seats)
        self._generation = generation
        self._at_once = at_once
        crew = self._floor.crew
        self._expects_warmth = any(child.serving is None and crew.warm(child) for child in crew.each())
        self._next()

    def abandon(self) -> None:
        self._waiting = False
        self._stop_looking()

    def wants(self) -> dict[int, int]:
        return {self._generation: 1} if self._waiting else {}

    def keeps(self) -> set[int]:
        return {self._generation}

    def ready(self, child: Child) -> None:
        self._replace_if_ready()

    def prepared(self, child: Child, partitions: tuple[int, ...]) -> None:
        if (child, partitions) == self._preparing:
            self._wait_no_longer()

    def owned(self, seat: Seat) -> None:
        child = seat.child
        if seat is not self._seat or child is None or child.pid == self._old_pid:
            return
        if self._waiting and (child is self._met or child.generation != self._generation):
            self._replace_if_ready()
            return
        # Or it has died when its turn had come, and this one is as new as the one that was to follow it.
        self._waiting = False
        self._stop_looking()
        self.say(f"{seat.name}: replaced in {(time.monotonic() - self._began_s) * 1000:.0f} ms")
        self._replaced.append(seat)
        self.replaced(seat)

    def parked(self, seat: Seat) -> None:
        if seat is self._seat:
            self._next()

    def died(self, child: Child, seat: Seat | None, text: str, *, blamed: bool) -> None:
        if child.pid == self._old_pid:
            return
        if seat is not None and self.awaits(seat):
            self._replace_if_ready()  # there is nobody in it any more who could go on meanwhile
        elif seat is None and child.generation == self._generation and child.intent is not Intent.STOP:
            self.failed(f"a process ended before it was ready: {text}")
            self._replace_if_ready()  # by another one, if there is one
        elif seat is not None and blamed and (seat is self._seat or seat in self._replaced):
            self.failed(f"{seat.name} ended after it was replaced: {text}")

    def awaits(self, seat: Seat) -> bool:
        """Whether it is the turn of this one, which nobody was taken from yet."""
        return seat is self._seat and self._waiting

    def replaced(self, seat: Seat) -> None:
        """A seat is served by its new process."""
        self._next()

    def failed(self, why: str) -> None:
        """A new process has ended. The supervisor deals with that as with any death."""

    def completed(self) -> None:
        """Every seat has had its turn."""
        raise NotImplementedError

    def _next(self) -> None:
        self._seat = self._preparing = None
        self._stop_looking()
        while self._pending and self._seat is None:
            seat = self._pending.popleft()
            if seat.state not in (State.CLOSED, State.DRAINING):
                self._seat, self._met = seat, seat.child
        if self._seat is None:
            self.completed()
            return
        self._waiting = True
        self._began_s, self._patience_ends_s = time.monotonic(), 0.0
        self._floor.refill()
        self._replace_if_ready()

    def _replace_if_ready(self) -> None:
        seat = self._seat
        if seat is None or not self._waiting:
            return
        child = self._floor.crew.standby(self._generation, seat.partitions)
        if child is None:
            return
        if seat.child is not None and seat.child is not self._met and not seat.served:
            # The one before has died, and this one takes over now: to take the seat away from it would leave
            # the partitions longer. It says when it has them, or dies.
            return
        told = (child, seat.partitions) == self._preparing
        if not told and self._still_connects(child):
            return
        if self._still_prepares(child, seat, told=told):
            return
        self._stop_looking()
        self._waiting = False
        self._began_s = time.monotonic()
        self._old_pid = seat.child.pid if seat.child is not None else 0
        seat.generation = self._generation
        if seat.child is not None:
            self._floor.retire(seat, self._intent)
        elif seat.state is not State.VACANT:
            seat.release()
        self._floor.refill()

    def _still_connects(self, child: Child) -> bool:
        """Whether to look again in a moment: connecting it while nobody owns the partitions takes longer."""
        now = time.monotonic()
        self._patience_ends_s = self._patience_ends_s or now + self.connection_patience_s()
        if self._floor.crew.warm(child):
            return False
        if now >= self._patience_ends_s:
            return self.unconnected()
        self._look_in(_LOOK_S, self._replace_if_ready)
        return True

    def connection_patience_s(self) -> float:
        """For how long one in standby is waited for until it is connected."""
        return _WARM_PATIENCE_S if self._expects_warmth else 0.0

    def unconnected(self) -> bool:
        """The one in standby is not connected, and that was waited for; whether the operation ends by it."""
        return False

    def _still_prepares(self, child: Child, seat: Seat, *, told: bool) -> bool:
        """Whether to wait until it says that it has prepared, or for too long; it is told to, if it was not.

        It may be another one than before, since that one has died or was given the seat of one that has; or
        the seat may have other partitions than before, since some were parked.
        """
        if seat.role != "olap" or seat.child is None:
            return False
        if not told:
            self._preparing, self._prepared = (child, seat.partitions), False
            self._floor.prepare(child, seat)
            self._look_in(_MENTIONED_AFTER_S, self._mention_preparation)
        return not (self._prepared or self._at_once)

    def _mention_preparation(self) -> None:
        if self._seat is not None:
            self.say(f"{self._seat.name}: its state is read ahead by its next process")
        self._look_in(_PREPARATION_PATIENCE_S - _MENTIONED_AFTER_S, self._wait_no_longer)

    def _wait_no_longer(self) -> None:
        """What is not prepared by now the role does itself."""
        self._prepared = True
        self._replace_if_ready()

    def _look_in(self, seconds: float, act: Callable[[], None]) -> None:
        self._stop_looking()
        self._looking = self._floor.loop.after(seconds, act)

    def _stop_looking(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None


class Restart(Rollout):
    """Replaces workers by others of the same configuration, because a person wants it."""

    def __init__(self, floor: Floor, name: str, talks: list[Talk], seats: list[Seat]) -> None:
        super().__init__(floor, name, talks)
        self._seats = seats

    def begin(self) -> None:
        self.replace(self._seats, self._floor.generation)

    def completed(self) -> None:
        self.succeed(f"{self.name}: {len(self._replaced)} replaced")


class Recycle(Rollout):
    """Replaces one worker that has reached a limit."""

    def __init__(self, floor: Floor, seat: Seat, why: str) -> None:
        super().__init__(floor, f"recycling of {seat.name}", [], Intent.RECYCLE)
        self._recycled = seat
        self._why = why
        self._pid = seat.child.pid if seat.child is not None else 0

    def begin(self) -> None:
        seat = self._recycled
        # It may have died, or been replaced, while this waited in the queue.
        still = seat.child is not None and seat.child.pid == self._pid
        if still:
            self._floor.journal.publish("recycled", f"{self._why}: replaced", worker=seat.name, pid=self._pid)
        self.replace([seat] if still else [], self._floor.generation)

    def completed(self) -> None:
        self.succeed("")
