"""The page on supervision against the rules in the code: causes, waits, budgets, deadlines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from supervisor.contract.board import Stage
from supervisor.contract.settings import Health, Restart
from supervisor.rules.budget import Budget
from supervisor.rules.health import deadline_s
from supervisor.rules.policy import Backoff, Cause, Verdict, blamed, delays, judge

PAGE = (Path(__file__).parents[2] / "docs" / "supervision.md").read_text(encoding="utf-8")
DEFAULTS = Restart(backoff_jitter=0.0)
NEVER_OF_A_PROCESS = {Cause.NONE, Cause.BUDGET}
FOLLOWS = {Verdict.GIVE_UP: "stop", Verdict.PARK: "parked", Verdict.STOPPED: "–"}


def table(heading: str, first: str) -> list[list[str]]:
    """The cells of the table under a heading whose first cell is ``first``, but for its head and rule."""
    text = re.split(r"^## ", PAGE.split(f"\n## {heading}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_every_cause_is_on_the_page_and_blamed_as_it_says() -> None:
    rows = {row[0].strip("`"): row for row in table("Why a process ended", "cause")}
    assert {name: row[2] for name, row in rows.items()} == {
        cause.name.lower(): "yes" if blamed(cause) else "no" for cause in set(Cause) - NEVER_OF_A_PROCESS
    }


@pytest.mark.parametrize("cause", [cause for cause in Cause if judge(cause) in FOLLOWS])
def test_what_ends_otherwise_than_by_a_replacement_says_so(cause: Cause) -> None:
    rows = {row[0].strip("`"): row[3] for row in table("Why a process ended", "cause")}
    if cause not in NEVER_OF_A_PROCESS:
        assert FOLLOWS[judge(cause)] in rows[cause.name.lower()]


def test_the_waits_on_the_page_are_those_of_the_defaults() -> None:
    (row,) = table("Backoff", "death")
    assert [float(cell.removesuffix(" s")) for cell in row[1:]] == pytest.approx(delays(DEFAULTS))


def test_the_deadlines_on_the_page_are_those_of_each_stage() -> None:
    settings = Health(idle_timeout_s=1, work_timeout_s=2, brokers_timeout_s=3)
    names = {1.0: "idle_timeout_s", 2.0: "work_timeout_s", 3.0: "brokers_timeout_s", 4.0: "start_timeout_s"}
    said = {stage: row[1] for row in table("Health", "stage") for stage in re.findall(r"`(\w+)`", row[0])}
    assert set(said) == {stage.name.lower() for stage in Stage} - {"none", "stopped"}
    for name, text in said.items():
        deadline = deadline_s(Stage[name.upper()], settings, 4.0)
        named = [each for each in names.values() if each in text]
        assert named == ([names[deadline]] if deadline is not None else [])


def crash_loop(life_s: float, workers: int = 1) -> tuple[float, int] | None:
    """When workers that live for ``life_s`` and commit nothing are given up: seconds from their start, and
    the number of deaths; ``None`` if they have not been after a day."""
    backoffs = [Backoff(DEFAULTS) for _ in range(workers)]
    budgets = [Budget(DEFAULTS.budget, DEFAULTS.window_s) for _ in range(workers)]
    total = Budget(DEFAULTS.budget_total, DEFAULTS.window_s)
    next_death = [life_s] * workers
    deaths = 0
    while (now := min(next_death)) < 86_400:
        who = next_death.index(now)
        deaths += 1
        within = [budgets[who].spend(now), total.spend(now)]
        if not all(within):
            return now, deaths
        next_death[who] = now + backoffs[who].died(0) + life_s
    return None


def test_how_long_a_crash_loop_goes_on_is_as_the_page_says() -> None:
    rows = table("Budgets", "a worker that commits nothing and lives for")
    assert len(rows) == 4
    for life, after, so in rows:
        found = crash_loop(float(life.split(" ")[0]))
        if found is None:
            assert (after, so.split(":")[0]) == ("–", "never given up")
        else:
            assert (round(found[0], 1), found[1], so) == (float(after.split(" ")[0]), 11, "given up")


def test_a_worker_crashing_at_once_is_started_a_bounded_number_of_times() -> None:
    found = crash_loop(0.3)
    assert found is not None
    assert found[1] <= DEFAULTS.budget + 1


def test_four_workers_that_crash_at_every_start_spend_the_total_before_their_own() -> None:
    found = crash_loop(0.3, workers=4)
    assert found is not None
    assert found[0] < 9.0
    assert found[1] == DEFAULTS.budget_total + 1
