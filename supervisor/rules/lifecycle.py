"""The life of a seat as a table: every event is defined in every state.

A *seat* is a place to be filled, such as ``olap-2``; processes come and go in it. What is done on a
transition is the supervisor's (``supervision.py``); which transitions there are is said here alone. The
documentation's table and diagram are made from this one (``python -m supervisor.rules.lifecycle_page``).
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
    """The process was told to finish, and nobody will follow it."""
    CLOSED = 5
    """Nobody will be put in it, unless it is opened again."""
    RETIRING = 6
    """The process was told to finish; another one will follow it."""
    PARKED = 7
    """Nobody will be put in it until a person says so."""


class Event(IntEnum):
    FILLED = 0
    """A process in standby was given the seat."""
    OWNED = 1
    """The process says that it owns its partitions."""
    DIED = 2
    """The process ended, whatever the reason; it is to be replaced at once."""
    HELD_BACK = 3
    """The process ended; its replacement has to wait."""
    PARK = 4
    """The process ended, or there was none; it is not to be replaced."""
    RELEASE = 5
    """The wait is over, a person said so, or there is to be one worker more."""
    RETIRE = 6
    """The process is to be replaced by another one."""
    CLOSE = 7
    """The supervisor stops, or there is to be one worker less."""


_V, _O, _S, _B = State.VACANT, State.OPENING, State.SERVING, State.BACKOFF
_D, _C, _R, _P = State.DRAINING, State.CLOSED, State.RETIRING, State.PARKED
# What only the supervisor can get wrong: it fills a seat that is not vacant, or loses a process that was not
# there. Everything that comes from outside, a command or a late word of a process, has a meaning everywhere.
_X = None

_ROWS = (
    # Filled  Owned  Died  Held back  Park  Release  Retire  Close
    (_V, (_O, _V, _X, _X, _P, _V, _V, _C)),
    (_O, (_X, _S, _V, _B, _P, _O, _R, _D)),
    (_S, (_X, _S, _V, _B, _P, _S, _R, _D)),
    (_B, (_X, _B, _X, _X, _P, _V, _B, _C)),
    (_D, (_X, _D, _C, _C, _C, _R, _D, _D)),  # one worker more again, while one less was on its way
    (_C, (_X, _C, _X, _X, _C, _V, _C, _C)),
    (_R, (_X, _R, _V, _B, _P, _R, _R, _D)),
    (_P, (_X, _P, _X, _X, _P, _V, _P, _C)),
)

TABLE: dict[tuple[State, Event], State | None] = {
    (state, event): following for state, row in _ROWS for event, following in zip(Event, row, strict=True)
}


def after(state: State, event: Event) -> State:
    """The state that follows.

    Raises ``AssertionError`` for what cannot be: that is a fault of the supervisor.
    """
    following = TABLE[state, event]
    assert following is not None, f"{event.name} in {state.name}"
    return following
