"""The report of the benchmarks: its page is that of the results that are there, whichever those are."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report, throughput_page
from benchmarks.goals import Goal, goals_table
from benchmarks.markdown import table

ROOT = Path(__file__).parents[2]


def throughput() -> dict[str, Any]:
    def trial(rate: float, number: int) -> dict[str, Any]:
        run = {"round": number, "rate": rate, "cpu_us": 1e6 / rate, "start_s": 1.0, "start_cpu_s": 2.0}
        return run | {"events": 4_000, "seconds": 5.0, "repeated": 0, "brokers_us": 4.0, "yardstick_us": 1.0}

    about = {"version": "1", "guarantee": "exactly once", "settings": "none", "failures": []}
    rates = {"ours": (400_000.0, 500_000.0), "Kafka Streams": (50_000.0, 125_000.0), "Quix Streams": (1.0,)}
    return {
        "machine": {"date": "2026-01-01", "system": "Linux", "cpus": 2, "python": "3.11", "seconds": 9}
        | {"load_before": 0.1, "cpus_used_by_others": 0.0},
        "events": 4_000,
        "bytes": 200.0,
        "rounds": 2,
        "brokers": "3 brokers",
        "absent": {},
        "peers": {
            name: {**about, "trials": [trial(rate, number) for number, rate in enumerate(of, 1)]}
            for name, of in rates.items()
        },
    }


def test_the_report_in_the_documentation_is_that_of_the_results_that_are_there() -> None:
    """If not: ``python -m benchmarks.report``."""
    found = report.results()
    assert (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8") == report.page(found)
    pictures = {path.name: path.read_text("utf-8") for path in (ROOT / "docs" / "plots").glob("*.svg")}
    assert pictures == report.plots(found)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == report.readme(readme, found)


def test_a_result_is_kept_and_the_report_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plots = tmp_path / "plots"
    plots.mkdir()
    (plots / "of-no-result.svg").touch()
    monkeypatch.setattr(report, "_RESULTS", tmp_path / "results")
    monkeypatch.setattr(report, "_DOCS", tmp_path)
    monkeypatch.setattr(report, "_README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text("before\n<!-- figures -->\nold\n<!-- /figures -->\nbehind\n", "utf-8")
    result = throughput()
    report.keep("throughput", result)
    assert json.loads((tmp_path / "results" / "throughput.json").read_bytes()) == result
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert page == report.page({"throughput": result})
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("before\n<!-- figures -->\n|  | goal | measured | reached |\n")
    assert readme.endswith("|\n<!-- /figures -->\nbehind\n")
    assert {path.name for path in plots.iterdir()} == set(throughput_page.plots(result))
    assert all(f"](plots/{name})" in page for name in throughput_page.plots(result))


def test_the_report_has_every_goal_first_and_a_section_of_the_second_level_for_each_part() -> None:
    page = report.page({"throughput": throughput()})
    headings = [line for line in page.splitlines() if line.startswith(("# ", "## "))]
    assert headings == ["# Measured", "## Goals", "## Throughput"]
    assert "{" not in page


def test_a_goal_that_is_not_reached_is_said_plainly() -> None:
    goals = [Goal("a", "≤ 1", "0.5", reached=True), Goal("b", "≤ 1", "2", reached=False)]
    rows = goals_table(goals).splitlines()[2:]
    assert rows == ["| a | ≤ 1 | 0.5 | yes |", "| b | ≤ 1 | 2 | **no** |"]


def test_the_goals_of_throughput_are_ratios_within_a_round() -> None:
    found = {goal.what: (goal.measured, goal.reached) for goal in throughput_page.goals(throughput())}
    assert found["events/s, ours, to those of Kafka Streams"] == ("6.0 ×", True)
    assert found["CPU of an event, exactly once"] == ("2.25 µs", True)
    assert not any("with aggregates" in what for what in found)


def test_a_table_without_rows_is_nothing() -> None:
    assert table(("a", "b"), []) == ""


PAGES = sorted(path.stem for path in Path(report.__file__).parent.glob("*_page.py"))


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_the_report_is_that_of_a_part_whose_program_writes_it(page: str) -> None:
    part = page.removesuffix("_page")
    assert part in report.PARTS
    module = importlib.import_module(f"benchmarks.{page}")
    assert {"section", "plots"} <= set(module.__all__)
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / f"{part}.py"), "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {"--write", "--json"} <= set(done.stdout.split())
