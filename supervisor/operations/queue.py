"""One operation at a time: what one is, and those that wait for it.

An operation is told what happens to the processes, and says when it has ended. Those asked for meanwhile wait
in a queue, so that never two workers are taken away at once for the sake of order.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from supervisor.contract.faults import Fault
from supervisor.control.protocol import Ended, Talk, failed
from supervisor.host.child import Child
from supervisor.seat import Seat

__all__ = ["LoggedTalk", "Operation", "Operations"]

_log = logging.getLogger("supervisor")


class LoggedTalk:
    """For what was asked for by a signal: nobody listens but the log."""

    def say(self, text: str) -> None:
        _log.info("%s", text)

    def end(self, outcome: Ended) -> None:
        if not outcome.ok:
            _log.error("%s%s", outcome.text, f" ({outcome.remedy})" if outcome.remedy else "")


class Operation:
    """One operation. Its methods are called in the loop, and none of them waits."""

    def __init__(self, name: str, talks: list[Talk]) -> None:
        self.name = name
        """What is being done, as people say it: ``reload``, ``restart of olap-2``."""
        self.talks = talks
        self.ended: Callable[[], None] = lambda: None

    def begin(self) -> None:
        """It is its turn."""
        raise NotImplementedError

    def ready(self, child: Child) -> None:
        """A process has come to standby."""

    def prepared(self, child: Child, partitions: tuple[int, ...]) -> None:
        """A process in standby has done what it can for partitions that are not its own yet."""

    def owned(self, seat: Seat) -> None:
        """A seat is served."""

    def died(self, child: Child, seat: Seat | None, text: str, *, blamed: bool) -> None:
        """A process has ended and was collected; ``text`` says how."""

    def parked(self, seat: Seat) -> None:
        """A seat will not be served until a person says so."""

    def wants(self) -> dict[int, int]:
        """How many processes of which generation it needs in standby."""
        return {}

    def keeps(self) -> set[int]:
        """Generations whose processes it may still need."""
        return set()

    def abandon(self) -> None:
        """The supervisor stops: forget what is pending; nothing will be called any more."""

    def say(self, text: str) -> None:
        for talk in self.talks:
            talk.say(text)

    def succeed(self, text: str) -> None:
        for talk in self.talks:
            talk.end(Ended(True, text))
        self.ended()

    def fail(self, fault: Fault) -> None:
        for talk in self.talks:
            talk.end(failed(fault))
        self.ended()


class Operations:
    """The one under way, and those that wait for it."""

    def __init__(self, after_each: Callable[[], None]) -> None:
        self._queue: deque[Operation] = deque()
        self._after_each = after_each
        self.current: Operation | None = None

    def submit(self, operation: Operation) -> None:
        """Begin it now, or when those before it have ended."""
        if self.current is not None:
            operation.say(f"waiting for the {self.current.name} to end")
        self._queue.append(operation)
        self._advance()

    def has(self, name: str) -> bool:
        """Whether one of that name is under way or waits."""
        return self.waiting(name) is not None or (self.current is not None and self.current.name == name)

    def waiting(self, name: str) -> Operation | None:
        """One of that name that has not begun yet: whoever wants the same can join it."""
        return next((other for other in self._queue if other.name == name), None)

    def pending(self) -> list[Operation]:
        """The one under way, and those that wait, in their order."""
        return ([self.current] if self.current is not None else []) + list(self._queue)

    def abandon(self) -> None:
        """The supervisor stops: everybody who waits is told so."""
        pending = self.pending()
        self.current = None
        self._queue.clear()
        for operation in pending:
            operation.abandon()
            operation.ended = lambda: None
            operation.fail(Fault(f"the {operation.name} was not finished: the supervisor stops"))

    def _advance(self) -> None:
        if self.current is None and self._queue:
            operation = self.current = self._queue.popleft()
            operation.ended = self._ended
            operation.begin()

    def _ended(self) -> None:
        self.current = None
        self._after_each()
        self._advance()
