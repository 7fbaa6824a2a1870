"""The benchmark of latency: its section is of its result alone, and says what is not reached."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import latency_page
from benchmarks.latency_page import COMMITTED, FLOOR, SHOWN
from benchmarks.lines import Axis, Series, lines, ticks
from benchmarks.livelatency import quantiles

SVG = "{http://www.w3.org/2000/svg}"
MACHINE = {
    "date": "2026-01-01",
    "system": "Linux",
    "cpus": 2,
    "python": "3.11",
    "seconds": 9,
    "load_before": 0.1,
    "cpus_used_by_others": 0.0,
}


def result(shown_ms: float = 1.5, committed_ms: float = 60.0) -> dict[str, Any]:
    def told(p50: float) -> dict[str, float]:
        return {"n": 100, "p50": p50, "p90": 2 * p50, "p99": 4 * p50, "max": 10 * p50}

    rounds = [
        {FLOOR: told(1.0), SHOWN: told(shown_ms * scale), COMMITTED: told(committed_ms)}
        for scale in (1.0, 0.5, 2.0)
    ]
    return {
        "machine": MACHINE,
        "brokers": "3 brokers",
        "rate": 500,
        "season_s": 180.0,
        "seconds": 10.0,
        "commit_interval_ms": 100,
        "rounds": rounds,
        "curves": {name: [[1.0, 0], [2.0, 50], [40.0, 99.9]] for name in (FLOOR, SHOWN, COMMITTED)},
    }


def test_the_section_of_latency_has_medians_of_the_rounds_with_their_spread() -> None:
    section = latency_page.section(result())
    assert section.startswith("## ")
    assert "{figures}" not in section
    assert f"| {SHOWN} | 1.5 | 0.8 – 3.0 | 6.0 | 3.0 – 12.0 | 30 | 300 |" in section


@pytest.mark.parametrize(("shown", "committed", "reached"), [(1.5, 60.0, True), (9.0, 90.0, False)])
def test_the_goals_of_latency_follow_from_the_commit_interval(
    shown: float, committed: float, reached: bool
) -> None:
    goals = latency_page.goals(result(shown, committed))
    assert [goal.goal for goal in goals] == ["≤ 2 ms", "≤ 20 ms", "≤ 80 ms"]
    assert [goal.reached for goal in goals] == [reached] * 3


def test_the_plot_of_latency_has_a_line_for_everybody_who_sees_events() -> None:
    (picture,) = latency_page.plots(result()).values()
    tree = ElementTree.fromstring(picture)
    assert len(list(tree.iter(f"{SVG}polyline"))) == 3
    assert {SHOWN, COMMITTED, FLOOR} <= {node.text for node in tree.iter(f"{SVG}text")}


def test_quantiles_are_of_what_was_measured() -> None:
    told = quantiles([float(number) for number in range(100, 0, -1)])
    assert told == {"n": 100, "p50": 51.0, "p90": 91.0, "p99": 100.0, "max": 100.0}


# -- line plots -----------------------------------------------------------------------------------------


def test_what_lies_beyond_an_axis_is_drawn_at_its_end() -> None:
    picture = lines("a", "b", [Series("c", [(0.1, -5.0), (100.0, 500.0)])], Axis("x", (1, 10), log=True), _Y)
    points = re.search(r'<polyline points="([^"]*)"', picture)
    assert points is not None
    (left, bottom), (right, top) = ([float(part) for part in pair.split(",")] for pair in points[1].split())
    assert (left, right) == (90.0, 790.0)
    assert bottom > top > 0


def test_a_logarithmic_axis_has_the_same_room_for_each_doubling() -> None:
    axis = Axis("workers", (1, 2, 4, 8), log=True)
    assert [axis.share(value) for value in (1, 2, 4, 8)] == pytest.approx([0, 1 / 3, 2 / 3, 1])


@pytest.mark.parametrize("most", [0.0, 0.7, 1.0, 97.3, 266_000.0])
def test_ticks_are_round_and_reach_the_most(most: float) -> None:
    found = ticks(most)
    assert found[0] == 0
    assert found[-1] >= most > found[-2] or most == 0
    assert 2 <= len(found) <= 7


_Y = Axis("y", (0, 50, 100))
