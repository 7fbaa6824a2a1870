"""Who is next to be given a role."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.contract.settings import Settings
from supervisor.crew import Crew
from supervisor.rules.policy import Intent


def child(prepares: tuple[int, ...] = (), **others: Any) -> Any:
    ordinary = {"generation": 1, "ready": True, "ended": False, "serving": None, "intent": Intent.NONE}
    return SimpleNamespace(prepares=prepares, **ordinary | others)


def crew(*children: Any) -> Crew:
    nobody: Any = None
    found = Crew(nobody, nobody, Settings(), nobody, nobody)
    found.children = dict(enumerate(children))
    return found


def test_the_one_that_has_waited_longest_is_next() -> None:
    first, second = child(), child()
    assert crew(first, second).standby(1) is first
    assert crew(first, second).standby(1, (2,)) is first


def test_partitions_go_to_the_one_that_prepares_for_them() -> None:
    others = [child(), child((2, 3)), child((3,))]
    assert crew(*others).standby(1, (3,)) is others[2]
    assert crew(*others).standby(1, (2, 3)) is others[1]


@pytest.mark.parametrize("partitions", [(), (0,)])
def test_one_that_prepares_for_others_is_the_last_to_be_given_something_else(
    partitions: tuple[int, ...],
) -> None:
    busy, idle = child((3,)), child()
    assert crew(busy, idle).standby(1, partitions) is idle
    assert crew(busy).standby(1, partitions) is busy


@pytest.mark.parametrize(
    "other",
    [{"ready": False}, {"generation": 2}, {"serving": "a role"}, {"intent": Intent.STOP}, {"ended": True}],
    ids=str,
)
def test_who_cannot_be_given_a_role_is_not_next(other: dict[str, Any]) -> None:
    """An ended one: what it has said last, perhaps that it is ready, is read before it is collected."""
    assert crew(child(**other)).standby(1) is None
