"""The life of a seat as a table: every event is defined in every state.

A *seat* is a place to be filled, such as ``olap-2``; processes come and go in it. What is done on a
transition is the supervisor's (``supervision.py``); which transitions there are is said here alone.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["TABLE", "Event", "State", "after"]


class State(IntEnum):
    VACANT = 0
    """Nobody is in it; it is filled as soon as a process is in standby."""
    OPENING = 1
    """A process was given the seat and is taking over its partitions."""
    SERVING = 2
    """The partitions are owned and being processed."""
    BACKOFF = 3
    """The last process died too soon; the next one has to wait."""
    DRAINING = 4
    """The process was told to finish."""
    CLOSED = 5
    """Stopped for good: nobody will be put in it."""


class Event(IntEnum):
    FILLED = 0
    """A process in standby was given the seat."""
    OWNED = 1
    """The process says that it owns its partitions."""
    DIED = 2
    """The process ended, whatever the reason; it is to be replaced at once."""
    HELD_BACK = 3
    """The process ended; its replacement has to wait."""
    RETRY = 4
    """The wait is over."""
    STOP = 5
    """The supervisor stops, or gave up."""


_S, _E = State, Event

TABLE: dict[tuple[State, Event], State] = {
    (_S.VACANT, _E.FILLED): _S.OPENING,
    (_S.VACANT, _E.OWNED): _S.VACANT,  # a late word of a process that has died since
    (_S.VACANT, _E.DIED): _S.VACANT,
    (_S.VACANT, _E.HELD_BACK): _S.BACKOFF,
    (_S.VACANT, _E.RETRY): _S.VACANT,
    (_S.VACANT, _E.STOP): _S.CLOSED,
    (_S.OPENING, _E.FILLED): _S.OPENING,
    (_S.OPENING, _E.OWNED): _S.SERVING,
    (_S.OPENING, _E.DIED): _S.VACANT,
    (_S.OPENING, _E.HELD_BACK): _S.BACKOFF,
    (_S.OPENING, _E.RETRY): _S.OPENING,
    (_S.OPENING, _E.STOP): _S.DRAINING,
    (_S.SERVING, _E.FILLED): _S.SERVING,
    (_S.SERVING, _E.OWNED): _S.SERVING,
    (_S.SERVING, _E.DIED): _S.VACANT,
    (_S.SERVING, _E.HELD_BACK): _S.BACKOFF,
    (_S.SERVING, _E.RETRY): _S.SERVING,
    (_S.SERVING, _E.STOP): _S.DRAINING,
    (_S.BACKOFF, _E.FILLED): _S.BACKOFF,
    (_S.BACKOFF, _E.OWNED): _S.BACKOFF,
    (_S.BACKOFF, _E.DIED): _S.BACKOFF,
    (_S.BACKOFF, _E.HELD_BACK): _S.BACKOFF,
    (_S.BACKOFF, _E.RETRY): _S.VACANT,
    (_S.BACKOFF, _E.STOP): _S.CLOSED,
    (_S.DRAINING, _E.FILLED): _S.DRAINING,
    (_S.DRAINING, _E.OWNED): _S.DRAINING,
    (_S.DRAINING, _E.DIED): _S.CLOSED,
    (_S.DRAINING, _E.HELD_BACK): _S.CLOSED,
    (_S.DRAINING, _E.RETRY): _S.DRAINING,
    (_S.DRAINING, _E.STOP): _S.DRAINING,
    (_S.CLOSED, _E.FILLED): _S.CLOSED,
    (_S.CLOSED, _E.OWNED): _S.CLOSED,
    (_S.CLOSED, _E.DIED): _S.CLOSED,
    (_S.CLOSED, _E.HELD_BACK): _S.CLOSED,
    (_S.CLOSED, _E.RETRY): _S.CLOSED,
    (_S.CLOSED, _E.STOP): _S.CLOSED,
}


def after(state: State, event: Event) -> State:
    """The state that follows."""
    return TABLE[state, event]
