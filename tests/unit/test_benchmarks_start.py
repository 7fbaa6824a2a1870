"""The benchmark of start and size: its section is of its result alone, and says what is not reached."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import start_page
from benchmarks.backlog import Backlog
from benchmarks.scaling import EVENLY

SVG = "{http://www.w3.org/2000/svg}"


def result() -> dict[str, Any]:
    def runs(rate: float) -> list[dict[str, float]]:
        return [{"rate": rate, "cpu_us": 4.0}, {"rate": rate * 2, "cpu_us": 5.0}]

    return {
        "machine": {"date": "2026-01-01", "system": "Linux", "cpus": 2, "python": "3.11", "seconds": 9}
        | {"load_before": 0.1, "cpus_used_by_others": 0.0},
        "brokers": "3 brokers",
        "starts": [
            {"the supervisor is there": 200.0, "first output is committed": first}
            for first in (900.0, 950.0, 2_000.0)
        ],
        "help": {"help": [80.0, 100.0, 120.0], "interpreter": [40.0, 50.0, 60.0]},
        "memory": {"supervisor": [20.0], "olap": [30.0, 46.0]},
        "many": {"workers": 32, "events": 64_000, "restarts": 0, "start_s": 9.5, "done_s": 12.0}
        | {"stop_s": 1.25, "unique_mb": 1_200.0},
        "scale": {
            "workers": {"1": runs(50_000.0), "2": runs(80_000.0)},
            "partitions": {"1": runs(50_000.0), "64": runs(70_000.0)},
            "failures": [{"round": 1, "what": "8 workers, 8 partitions", "reason": "it ended\nlog"}],
            "of_partitions": 8,
            "at_most_workers": 4,
            "events": 64_000,
        },
    }


def test_the_section_of_start_and_size_has_every_figure() -> None:
    section = start_page.section(result())
    assert section.startswith("## ")
    assert "{figures}" not in section
    assert "| first output is committed | 0.95 | 0.90 – 2.00 |" in section
    assert "| ratio of the medians | 2.0 |" in section
    assert "| olap | 2 | 38.0 | 30.0 – 46.0 |" in section
    assert "| 2 workers | 120,000 | 80,000 – 160,000 | 4.50 | 4.00 – 5.00 |" in section
    assert "| round 1, 8 workers, 8 partitions | it ended |" in section
    assert all(f"](plots/{name})" in section for name in start_page.plots(result()))


def test_the_goals_of_start_and_size_hold_for_the_largest_worker_and_the_median_start() -> None:
    found = [(goal.measured, goal.reached) for goal in start_page.goals(result())]
    assert found == [("0.95 s", True), ("100 ms", True), ("46.0 MB", False), ("yes", True)]


def test_what_was_left_out_has_neither_goal_nor_plot_nor_figure() -> None:
    some = {key: value for key, value in result().items() if key in ("machine", "brokers", "help")}
    assert start_page.plots(some) == {}
    assert [goal.what for goal in start_page.goals(some)] == ["`supervisor --help`"]
    assert "plots/" not in start_page.section(some)


def test_the_plots_of_scale_have_a_mark_for_each_size() -> None:
    for picture in start_page.plots(result()).values():
        assert len(list(ElementTree.fromstring(picture).iter(f"{SVG}circle"))) == 2


@pytest.mark.parametrize("partitions", [1, 4, 8, 16, 64])
def test_every_partition_of_the_scaled_topics_gets_as_many_events(partitions: int) -> None:
    chunks = [number % partitions for number, _ in enumerate(Backlog(EVENLY)._chunks())]
    assert len({chunks.count(partition) for partition in range(partitions)}) == 1
