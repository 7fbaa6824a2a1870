"""The benchmark of supervision runs: what it measures is not tested here, that it measures something is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.environment import Absent, environment

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "supervision.py"


def test_the_benchmark_of_supervision_times_a_kill(tmp_path: Path) -> None:
    name = "ours, with the spare"
    arguments = ("--only", name, "--kills", "1", "--at-once", "0", "--idle", "0", "--workers", "1")
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), *arguments, "--cache", str(tmp_path), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)["one"][name]
    assert {spread["kills"] for spread in steps.values()} == {1}
    # Not "refilled": that is noted when the replacement has been told, which may have begun by then.
    order = [steps[step]["median_ms"] for step in ("noticed", "served", "first instruction")]
    assert order[0] > 0
    assert order == sorted(order)


def test_a_supervisor_that_cannot_be_installed_is_absent_and_it_is_said_why(tmp_path: Path) -> None:
    no_directory = tmp_path / "file"
    no_directory.touch()
    with pytest.raises(Absent, match="Not a directory"):
        environment(no_directory, ("gunicorn==27.0.1",), {})
