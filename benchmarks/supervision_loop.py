"""What supervision itself costs, and how soon its loop does what is due; puppets in the place of workers.

    python benchmarks/supervision_loop.py --write

1. The CPU time of a supervisor whose workers have nothing to do, as the kernel counts it.
2. How late the timers of its loop are while workers crash as fast as they are replaced, and what took the
   loop longest meanwhile. For that the supervisor runs with a loop that keeps time, and that has a timer due
   each five milliseconds besides those of the product.

To be run on a machine that has nothing else to do; the load before each part is printed with its figures.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import Machine
from benchmarks.report import command, keep
from benchmarks.supervision_loop_page import text
from supervisor.host import loop
from tests.troupe import Troupe

_AS_SUPERVISOR = "--as-supervisor"
_TICK_S = 0.005
_SETTLED_S = 3.0
_TOML = """
realtime.enabled = false
restart.budget = 1000000
restart.budget_total = 1000000
runtime.spares = {spares}
"""
# Turns as often as an OLAP worker without events does, and gets no further.
_IDLE = {"open": "stall", "rest": 0.1}


@click.command()
@click.option("--idle", default=64, show_default=True, help="Workers with nothing to do.")
@click.option("--crashing", default=8, show_default=True, help="Workers that crash as soon as they serve.")
@click.option("--seconds", default=30.0, show_default=True, help="How long each part is measured.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--write", is_flag=True, help="Keep the result, and write the report anew.")
def main(idle: int, crashing: int, seconds: float, as_json: bool, write: bool) -> None:
    machine = Machine()
    found = {"idle": _idle(idle, seconds), "crashing": _crashing(crashing, seconds)}
    result = {"command": command(), "machine": machine.told(), **found}
    if write:
        keep("supervision_loop", result)
    click.echo(json.dumps(result, indent=2) if as_json else text(result))


def _idle(workers: int, seconds: float) -> dict[str, Any]:
    """The share of one CPU that the supervisor takes."""
    script = {f"olap-{index}": _IDLE for index in range(workers)} | {"probe": {"lag": 0, "rest": 1.0}}
    troupe = Troupe(script, toml=_TOML.format(spares=1), partitions=workers)
    load = os.getloadavg()[0]
    try:
        began = time.monotonic()
        troupe.serving()
        started = time.monotonic() - began
        troupe.elapse(_SETTLED_S)
        pid = troupe.processes()[0].pid
        before = _cpu_ns(pid)
        troupe.elapse(seconds)
        share = (_cpu_ns(pid) - before) / (seconds * 1e9)
        troupe.stop()
    finally:
        troupe.close()
    return {
        "workers": workers,
        "start_s": round(started, 2),
        "cpu_percent": round(100 * share, 3),
        "seconds": seconds,
        "load_before": load,
    }


def _cpu_ns(pid: int) -> int:
    """CPU time of all its threads."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def _crashing(workers: int, seconds: float) -> dict[str, Any]:
    script: dict[str, Any] = {
        # After some progress: the death of one that has made none is followed by a wait.
        f"olap-{index}": {"steps": 3, "then": "exit 3"}
        for index in range(workers)
    }
    troupe = Troupe(script, toml=_TOML.format(spares=2), partitions=workers)
    record = troupe.directory / "latency.json"
    troupe.under = (sys.executable, __file__, _AS_SUPERVISOR, str(record))
    load = os.getloadavg()[0]
    try:
        troupe.start()
        board = troupe.board()
        troupe.elapse(seconds)
        deaths = board.header.deaths
        troupe.stop()
        told = json.loads(record.read_text())
    finally:
        troupe.close()
    late = [1000 * value for value in told["late_s"]]
    percentiles = statistics.quantiles(late, n=1000)
    return {
        "workers": workers,
        "deaths": deaths,
        "p50_ms": round(percentiles[499], 3),
        "p99_ms": round(percentiles[989], 3),
        "p999_ms": round(percentiles[998], 3),
        "max_ms": round(max(late), 3),
        "timers": len(late),
        "longest_calls": told["longest"],
        "load_before": load,
    }


class _TimedLoop(loop.Loop):
    """Keeps how late each timer was, and how long each callback took."""

    def __init__(self) -> None:
        super().__init__()
        self.late_s: list[float] = []
        self.took: dict[str, list[float]] = {}
        self._tick()

    def _tick(self) -> None:
        self.after(_TICK_S, self._tick)

    def after(self, seconds: float, act: Callable[[], None]) -> loop.Timer:
        due = time.monotonic() + seconds

        def timed() -> None:
            self.late_s.append(time.monotonic() - due)
            act()

        return super().after(seconds, self._timed(act, timed))

    def watch(self, descriptor: int, act: Callable[[], None]) -> None:
        super().watch(descriptor, self._timed(act, act))

    def _timed(self, act: Callable[[], None], call: Callable[[], None]) -> Callable[[], None]:
        name = getattr(act, "__qualname__", repr(act))

        def timed() -> None:
            began = time.monotonic()
            call()
            self.took.setdefault(name, []).append(time.monotonic() - began)

        return timed

    def told(self) -> dict[str, Any]:
        longest = sorted(self.took.items(), key=lambda item: -max(item[1]))[:8]
        return {
            "late_s": self.late_s,
            "longest": {
                name: {
                    "times": len(took),
                    "median_ms": round(1000 * statistics.median(took), 3),
                    "longest_ms": round(1000 * max(took), 3),
                }
                for name, took in longest
            },
        }


def _as_supervisor(record: Path, arguments: list[str]) -> None:
    """Be ``supervisor`` with these arguments, over the loop that keeps time."""
    made: list[_TimedLoop] = []

    def make() -> _TimedLoop:
        made.append(_TimedLoop())
        return made[0]

    loop.Loop = make  # type: ignore[assignment, misc]
    from supervisor.cli import main as supervisor

    sys.argv = ["supervisor", *arguments]
    try:
        supervisor()
    finally:
        record.write_text(json.dumps(made[0].told()))


if __name__ == "__main__":
    if sys.argv[1:2] == [_AS_SUPERVISOR]:
        # What follows is the command line that it stands for: python -m supervisor start …
        _as_supervisor(Path(sys.argv[2]), sys.argv[sys.argv.index("supervisor") + 1 :])
    else:
        main()
