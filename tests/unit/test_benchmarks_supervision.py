"""The pages of the benchmarks of supervision: of their results alone."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from benchmarks import supervision_loop_page, supervision_page

SVG = "{http://www.w3.org/2000/svg}"
MACHINE = {"date": "2026-01-01", "system": "Linux", "cpus": 2, "python": "3.11", "seconds": 9} | {
    "load_before": 0.1,
    "cpus_used_by_others": 0.0,
}


def spread(median: float) -> dict[str, float]:
    return {
        "best_ms": median / 2,
        "median_ms": median,
        "p95_ms": median * 2,
        "worst_ms": median * 3,
        "kills": 4,
    }


def result(median: float = 7.0) -> dict[str, Any]:
    return {
        "machine": MACHINE,
        "workers": 4,
        "supervisors": {"ours, with the spare": {"version": "1", "settings": "a | b"}},
        "absent": {"circus": "no network"},
        "idle": {
            "gunicorn": {"cpu_percent": 0.02, "rss_mb": 25.0, "helpers_rss_mb": 0.0, "helpers": 0},
        },
        "one": {
            "ours, with the spare": {"noticed": spread(4.0), "first instruction": spread(median)},
            "gunicorn": {"first instruction": spread(8.0)},
        },
        "all": {"ours, with the spare": spread(900.0), "gunicorn": spread(200.0)},
    }


def loop_result(cpu: float = 0.1, p99: float = 1.0) -> dict[str, Any]:
    call = {"times": 100, "median_ms": 0.1, "longest_ms": 3.0}
    return {
        "machine": MACHINE,
        "idle": {"workers": 64, "start_s": 12.0, "cpu_percent": cpu, "seconds": 30.0, "load_before": 0.5},
        "crashing": {
            "workers": 8,
            "deaths": 50,
            "p50_ms": 0.1,
            "p99_ms": p99,
            "p999_ms": 2.0,
            "max_ms": 4.0,
            "timers": 6_000,
            "longest_calls": {"Crew._died": call},
            "load_before": 0.5,
        },
    }


def test_the_goal_of_supervision_is_the_median_with_the_spare() -> None:
    assert [goal.reached for goal in supervision_page.goals(result(9.9))] == [True]
    assert [goal.reached for goal in supervision_page.goals(result(10.1))] == [False]
    assert supervision_page.goals(result() | {"one": {}}) == []


def test_the_section_of_supervision_has_spreads_steps_and_who_is_absent() -> None:
    section = supervision_page.section(result())
    assert section.startswith("## ")
    assert "{figures}" not in section
    assert "| gunicorn | 8.0 | 16.0 | 24.0 | 4 |" in section
    assert "| ours, with the spare | noticed | 4.00 | 8.00 | 12.00 |" in section
    assert "| circus | absent | no network |" in section
    assert "| gunicorn | 0.02 | 25 | 0 (0) |" in section


def test_the_plots_of_supervision_have_a_bar_for_each() -> None:
    for picture in supervision_page.plots(result()).values():
        texts = [node.text for node in ElementTree.fromstring(picture).iter(f"{SVG}text")]
        assert {"ours, with the spare", "gunicorn"} <= set(texts)


def test_the_goals_of_the_loop_are_below_their_bounds() -> None:
    assert [goal.reached for goal in supervision_loop_page.goals(loop_result())] == [True, True]
    assert [goal.reached for goal in supervision_loop_page.goals(loop_result(0.5, 5.0))] == [False, False]


def test_the_section_of_the_loop_has_what_took_longest() -> None:
    section = supervision_loop_page.section(loop_result())
    assert section.startswith("## ")
    assert "{figures}" not in section
    assert "| `Crew._died` | 100 | 0.10 | 3.00 |" in section
    assert supervision_loop_page.plots(loop_result()) == {}
