"""The isolation benchmark: what it prints and writes, of a result; and the reader of ages."""

from __future__ import annotations

import runpy
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import isolation_page
from benchmarks.livelatency import Reader, quantiles

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "isolation.py"


def part(trials: dict[str, list[tuple[float, float, float]]], calm_s: list[float | None]) -> dict[str, Any]:
    """Of OLAP rate, p99 beside the backlog and p99 at idle of each round."""
    machine = {"date": "2026-01-01", "system": "Linux", "cpus": 2, "python": "3.11", "seconds": 9}
    return {
        "machine": machine | {"load_before": 0.1, "cpus_used_by_others": 0.0},
        "command": "python benchmarks/isolation.py --write",
        "brokers": "3 brokers",
        "backlog": 2_000_000,
        "events_s": 500,
        "idle_s": 20.0,
        "slo_p99_ms": 50.0,
        "rounds": 2,
        "trials": {
            name: [
                {
                    "round": number,
                    "olap_rate": rate,
                    "busy": {"p50": 1.0, "p99": busy},
                    "idle": {"p50": 1.0, "p99": idle},
                    "ratio": busy / idle,
                    "slo_p99_ms": 50.0,
                }
                for number, (rate, busy, idle) in enumerate(of, 1)
            ]
            for name, of in trials.items()
        },
        "calm_s": calm_s,
        "absent": {},
    }


def governor(calm_s: list[float | None], busy: float = 30.0) -> dict[str, Any]:
    return part(
        {
            "unguided": [(100_000, 900, 20), (50_000, 800, 20)],
            "guided": [(40_000, busy, 20), (30_000, busy, 10)],
        },
        calm_s,
    )


def test_the_goals_are_taken_within_a_round() -> None:
    found = isolation_page.goals({"governor": governor([2.0, 3.5])})
    assert [goal.measured for goal in found] == ["2.2 ×", "50%", "3.5 s"]
    assert [goal.reached for goal in found] == [False, True, True]


def test_a_rate_that_does_not_come_back_is_not_reached() -> None:
    assert isolation_page.goals({"governor": governor([2.0, None])})[-1].measured == "never"
    assert not isolation_page.goals({"governor": governor([2.0, None])})[-1].reached


def test_without_the_governors_mode_nothing_is_said_about_goals() -> None:
    assert isolation_page.goals({"variants": part({"nice 19": [(1, 2, 1)]}, [])}) == []


def test_the_section_has_every_trial_and_says_what_is_missing() -> None:
    section = isolation_page.section({"governor": governor([2.0, None])})
    assert section.startswith("## Isolation\n")
    assert "| unguided | 75,000 | 1.0 | 850.0 | 1.0 | 20.0 | 42.5 | 40.0 – 45.0 | 2 |" in section
    assert "2.0, never s" in section
    assert "Not measured yet." in section
    assert "{" not in section


def test_what_could_not_be_had_is_told_with_its_reason() -> None:
    found = part({"nice 19": [(1, 2, 1)]}, []) | {"absent": {"cgroup": "no such | directory"}}
    assert "| cgroup | no such \\| directory |" in isolation_page.section({"variants": found})


def test_each_mode_has_a_plot_that_is_well_formed() -> None:
    result = {"governor": governor([1.0]), "variants": part({"a & b": [(1, 2, 1)]}, [])}
    pictures = isolation_page.plots(result)
    assert set(pictures) == {"isolation.svg", "isolation-variants.svg"}
    for picture in pictures.values():
        ElementTree.fromstring(picture)


def test_the_command_names_a_variant_that_does_not_exist() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--mode", "variants", "--only", "magic"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "magic: the names are: nothing: nice 10" in done.stderr.replace("\n", " ")


def test_importing_it_starts_nothing() -> None:
    assert "main" in runpy.run_path(str(BENCHMARK), run_name="isolation")


# -- ages -----------------------------------------------------------------------------------------------


def test_a_reader_notes_how_old_each_event_is_also_one_that_comes_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "live.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        reader = Reader(path)
        feed, _ = server.accept()
        with feed:
            sent = time.monotonic_ns()
            marked = b'{"device_id":"ns%d"}\n' % (sent - 5_000_000)
            feed.sendall(b'{"device_id":"of another"}\n' + marked[:20])
            reader.start()
            feed.sendall(marked[20:])
        reader.join(10)
    (age,) = reader.ages(sent - 5_000_000, sent)
    assert 5 <= age < 10_000
    assert reader.ages(sent, sent + 1) == []


@pytest.mark.parametrize(("ages", "p99"), [([3.0], 3.0), ([float(age) for age in range(1, 101)], 100.0)])
def test_quantiles_are_ages_that_were_measured(ages: list[float], p99: float) -> None:
    assert quantiles(ages)["p99"] == p99
    assert quantiles(ages)["max"] == ages[-1]
