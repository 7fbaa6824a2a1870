"""The anatomy benchmark: its section is of its result alone; each step is a difference within a round."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from benchmarks import anatomy_page
from benchmarks.anatomy_page import PASSES

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "anatomy.py"


def result() -> dict[str, Any]:
    machine = {"date": "2026-01-01", "system": "Linux", "cpus": 2, "python": "3.11", "seconds": 9}
    python, client = (1.0, 3.0, 4.0, 5.5), (0.5, 0.5, 1.0, 1.5)
    return {
        "machine": machine | {"load_before": 0.1, "cpus_used_by_others": 0.0},
        "events": 1_000,
        "rounds": 2,
        "brokers": "3 brokers",
        # The second round was on a machine half as fast.
        "passes": {
            name: [{"python": scale * python[place], "client": scale * client[place]} for scale in (1, 2)]
            for place, name in enumerate(PASSES)
        },
        "steps": {"decoded": [0.75, 1.5], "encoded": [0.25, 0.5]},
    }


def test_a_step_costs_what_its_pass_costs_beyond_the_one_before() -> None:
    section = anatomy_page.section(result())
    assert section.startswith("## ")
    assert "{figures}" not in section
    assert "| fetched | 1.50 | 1.00 – 2.00 | 0.75 | 0.50 – 1.00 | 2.25 | 1.50 – 3.00 |" in section
    assert "| transformed | 3.00 | 2.00 – 4.00 | 0.00 | 0.00 – 0.00 | 3.00 | 2.00 – 4.00 |" in section
    assert "| produced and committed | 1.50 | 1.00 – 2.00 |" in section
    assert "| **all of it** |  |  |  |  | 7.50 | 5.00 – 10.00 |" in section


def test_the_other_way_to_produce_is_compared_with_the_pass_that_does_not_produce() -> None:
    assert f"| {PASSES[3]} | 3.75 | 2.50 – 5.00 |" in anatomy_page.section(result())


def test_the_transformation_is_told_in_shares_of_itself() -> None:
    assert "| decoded | 1.12 | 0.75 – 1.50 | 75% |" in anatomy_page.section(result())


def test_importing_it_starts_nothing() -> None:
    assert "main" in runpy.run_path(str(BENCHMARK), run_name="anatomy")
