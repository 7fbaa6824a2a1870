"""The state table of a seat: total, and right where it matters."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.lifecycle import TABLE, Event, State, after

OCCUPIED = {State.OPENING, State.SERVING, State.DRAINING}
events = st.lists(st.sampled_from(Event), max_size=30)


def test_every_event_is_defined_in_every_state() -> None:
    assert set(TABLE) == set(product(State, Event))
    assert set(TABLE.values()) <= set(State)


@pytest.mark.parametrize("state", State)
def test_after_a_stop_and_a_death_a_seat_is_closed_whatever_it_was(state: State) -> None:
    assert after(after(state, Event.STOP), Event.DIED) is State.CLOSED
    assert after(after(state, Event.STOP), Event.HELD_BACK) is State.CLOSED


@pytest.mark.parametrize("state", State)
def test_a_stop_waits_for_a_process_where_there_is_one_and_for_nothing_else(state: State) -> None:
    assert after(state, Event.STOP) is (State.DRAINING if state in OCCUPIED else State.CLOSED)


@given(events)
def test_a_seat_once_stopped_is_never_served_or_filled_again(later: list[Event]) -> None:
    for start in State:
        state = after(start, Event.STOP)
        for event in later:
            state = after(state, event)
            assert state in {State.DRAINING, State.CLOSED}


@given(events)
def test_a_closed_seat_stays_closed(later: list[Event]) -> None:
    state = State.CLOSED
    for event in later:
        state = after(state, event)
    assert state is State.CLOSED


def test_an_ordinary_life() -> None:
    state, seen = State.VACANT, []
    for event in (Event.FILLED, Event.OWNED, Event.DIED, Event.FILLED, Event.OWNED, Event.STOP, Event.DIED):
        state = after(state, event)
        seen.append(state.name)
    assert seen == ["OPENING", "SERVING", "VACANT", "OPENING", "SERVING", "DRAINING", "CLOSED"]


def test_a_seat_held_back_is_vacant_only_when_the_wait_is_over() -> None:
    for start in (State.VACANT, State.OPENING, State.SERVING):
        state = after(start, Event.HELD_BACK)
        assert state is State.BACKOFF
        for event in (Event.FILLED, Event.OWNED, Event.DIED, Event.HELD_BACK):
            assert after(state, event) is State.BACKOFF
        assert after(state, Event.RETRY) is State.VACANT


@pytest.mark.parametrize("state", set(State) - {State.OPENING, State.SERVING})
def test_a_late_word_of_a_process_that_died_serves_no_seat(state: State) -> None:
    assert after(state, Event.OWNED) is not State.SERVING


@pytest.mark.parametrize("state", set(State) - {State.BACKOFF})
def test_a_timer_that_comes_late_changes_nothing(state: State) -> None:
    assert after(state, Event.RETRY) is state
