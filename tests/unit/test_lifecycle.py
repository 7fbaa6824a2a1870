"""The state table of a seat: total, and right where it matters; and the page that is made from it."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from supervisor.rules.lifecycle import TABLE, Event, State, after
from supervisor.rules.lifecycle_page import page

OCCUPIED = {State.OPENING, State.SERVING, State.RETIRING, State.DRAINING}
COMMANDS = (Event.PARK, Event.RELEASE, Event.RETIRE, Event.CLOSE)
DEATHS = (Event.DIED, Event.HELD_BACK, Event.PARK)
PAGE = Path(__file__).parents[2] / "docs" / "supervision.md"


def test_every_event_is_defined_in_every_state() -> None:
    assert set(TABLE) == set(product(State, Event))


@pytest.mark.parametrize(("state", "command"), list(product(State, COMMANDS)))
def test_every_command_is_valid_in_every_state(state: State, command: Event) -> None:
    assert after(state, command) in State


@pytest.mark.parametrize("state", State)
def test_only_what_the_supervisor_does_itself_can_be_wrong(state: State) -> None:
    impossible = {event for event in Event if TABLE[state, event] is None}
    expected = set() if state is State.VACANT else {Event.FILLED}
    assert impossible == expected | (set() if state in OCCUPIED else {Event.DIED, Event.HELD_BACK})
    for event in impossible:
        with pytest.raises(AssertionError, match=event.name):
            after(state, event)


@pytest.mark.parametrize("state", State)
def test_a_close_waits_for_a_process_where_there_is_one_and_for_nothing_else(state: State) -> None:
    assert after(state, Event.CLOSE) is (State.DRAINING if state in OCCUPIED else State.CLOSED)


@given(st.lists(st.sampled_from([*DEATHS, Event.OWNED, Event.RETIRE, Event.CLOSE]), max_size=30))
def test_a_seat_once_closed_is_not_served_unless_it_is_opened_again(later: list[Event]) -> None:
    for start in State:
        state = after(start, Event.CLOSE)
        for event in later:
            if TABLE[state, event] is not None:
                state = after(state, event)
            assert state in {State.DRAINING, State.CLOSED}


def test_an_ordinary_life() -> None:
    state, seen = State.VACANT, []
    events = (Event.FILLED, Event.OWNED, Event.RETIRE, Event.DIED, Event.FILLED, Event.OWNED, Event.HELD_BACK)
    for event in (*events, Event.RELEASE, Event.FILLED, Event.PARK, Event.RELEASE, Event.CLOSE):
        state = after(state, event)
        seen.append(state.name)
    assert seen == [
        *("OPENING", "SERVING", "RETIRING", "VACANT", "OPENING", "SERVING", "BACKOFF"),
        *("VACANT", "OPENING", "PARKED", "VACANT", "CLOSED"),
    ]


@pytest.mark.parametrize("state", set(State) - {State.OPENING, State.SERVING})
def test_a_late_word_of_a_process_that_died_serves_no_seat(state: State) -> None:
    assert after(state, Event.OWNED) is not State.SERVING


def test_one_worker_more_while_one_less_is_on_its_way_keeps_the_seat() -> None:
    state = after(after(State.SERVING, Event.CLOSE), Event.RELEASE)
    assert after(state, Event.DIED) is State.VACANT


class Life(RuleBasedStateMachine):
    """A seat as the supervisor drives it: it fills what is vacant, and processes die where there are some."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State.VACANT
        self.occupied = False
        self.closing = False

    @precondition(lambda self: self.state is State.VACANT)
    @rule()
    def fill(self) -> None:
        self.state, self.occupied = after(self.state, Event.FILLED), True

    @precondition(lambda self: self.occupied)
    @rule(event=st.sampled_from(DEATHS))
    def die(self, event: Event) -> None:
        self.state, self.occupied = after(self.state, event), False

    @rule(event=st.sampled_from([Event.OWNED, Event.RETIRE]))
    def go_on(self, event: Event) -> None:
        self.state = after(self.state, event)

    @rule()
    def close(self) -> None:
        self.state, self.closing = after(self.state, Event.CLOSE), True

    @rule()
    def release(self) -> None:
        self.state, self.closing = after(self.state, Event.RELEASE), False

    @invariant()
    def a_process_is_where_the_state_says_there_is_one(self) -> None:
        assert self.occupied == (self.state in OCCUPIED)

    @invariant()
    def nothing_is_filled_while_it_is_to_be_closed(self) -> None:
        if self.closing:
            assert self.state in {State.DRAINING, State.CLOSED}


TestLife = Life.TestCase


def test_the_page_has_the_table_and_the_diagram_as_they_are_in_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "python -m supervisor.rules.lifecycle_page docs/supervision.md"
    assert "| `retiring` |" in text
    assert "serving --> retiring: retire" in text
