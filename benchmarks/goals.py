"""What a part of the benchmark was to reach, and what it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.markdown import table

__all__ = ["Goal", "goals_table"]


@dataclass(frozen=True)
class Goal:
    """One row of the report's table of goals."""

    what: str
    goal: str
    measured: str
    reached: bool


def goals_table(goals: Sequence[Goal]) -> str:
    rows = [(goal.what, goal.goal, goal.measured, "yes" if goal.reached else "**no**") for goal in goals]
    return table(("", "goal", "measured", "reached"), rows)
