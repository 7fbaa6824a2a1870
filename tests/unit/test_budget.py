"""How many deaths within a window are too many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from supervisor.rules.budget import Budget


def test_one_death_more_than_the_limit_within_the_window_is_too_many() -> None:
    budget = Budget(3, 60.0)
    assert [budget.spend(now) for now in (0.0, 1.0, 2.0, 3.0)] == [True, True, True, False]
    assert budget.left(3.0) == 0


def test_a_crash_each_61_s_with_a_window_of_60_s_never_gives_up() -> None:
    budget = Budget(1, 60.0)
    assert all(budget.spend(61.0 * number) for number in range(1_000))


def test_what_is_spent_comes_back_as_deaths_leave_the_window() -> None:
    budget = Budget(2, 60.0)
    assert budget.spend(0.0)
    assert budget.spend(30.0)
    assert [budget.left(now) for now in (30.0, 59.9, 60.0, 89.9, 90.0)] == [0, 0, 1, 1, 2]


def test_a_person_who_forgives_gives_the_whole_budget_back() -> None:
    budget = Budget(2, 60.0)
    assert [budget.spend(0.0) for _ in range(3)][-1] is False
    budget.forget()
    assert budget.left(0.0) == 2
    assert budget.spend(0.0)


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_a_sustained_rate_below_limit_per_window_never_spends_it(limit: int) -> None:
    budget = Budget(limit, 60.0)
    assert all(budget.spend(number * 60.0 / limit) for number in range(500))


@given(st.integers(1, 5), st.integers(0, 200))
def test_a_burst_of_any_size_is_remembered_in_bounded_space(limit: int, deaths: int) -> None:
    budget = Budget(limit, 60.0)
    for _ in range(deaths):
        budget.spend(1.0)
    assert len(budget._deaths) <= limit + 1
    assert budget.left(60.9) == max(0, limit - deaths)
    assert budget.left(61.0) == limit


class BudgetMachine(RuleBasedStateMachine):
    """Against every death ever, counted anew each time. Times are whole, so that edges are hit."""

    LIMIT, WINDOW = 3, 10

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(self.LIMIT, float(self.WINDOW))
        self.now = 0
        self.deaths: list[int] = []

    def within(self) -> int:
        return sum(self.now - death < self.WINDOW for death in self.deaths)

    @rule(seconds=st.integers(0, 12))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def die(self) -> None:
        self.deaths.append(self.now)
        assert self.budget.spend(float(self.now)) == (self.within() <= self.LIMIT)

    @rule()
    def forgive(self) -> None:
        self.budget.forget()
        self.deaths.clear()

    @invariant()
    def what_is_left_is_the_limit_less_the_deaths_within_the_window(self) -> None:
        assert self.budget.left(float(self.now)) == max(0, self.LIMIT - self.within())


TestBudget = BudgetMachine.TestCase
