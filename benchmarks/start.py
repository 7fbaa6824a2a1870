"""Start and size: how soon there is output, what a process holds, and what more workers and partitions do.

    python benchmarks/start.py --write
    python benchmarks/start.py --only memory --only help

Everything runs on three brokers of its own. What is measured, and how, is in its section of the report.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from benchmarks import scaling, starting
from benchmarks.machine import Machine
from benchmarks.report import command, keep
from benchmarks.start_page import text
from supervisor.cluster import Cluster
from supervisor.cluster.jars import KAFKA_VERSION

_BROKERS = 3
_STEPS = ("help", "start", "memory", "many", "scale")
_MANY = 32
_WARM_UPS = 2
"""Starts that count for nothing: brokers that have just begun learn by them."""


@click.command()
@click.option("--starts", default=9, show_default=True)
@click.option("--helps", default=25, show_default=True, help="Calls of --help.")
@click.option("--events", default=16 * scaling.EVENLY, show_default=True, help="Of a run at full speed.")
@click.option("--rounds", default=2, show_default=True, help="Runs at full speed of each size.")
@click.option("--only", multiple=True, type=click.Choice(_STEPS), help="Only these; more than once.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--write", is_flag=True, help="Keep the result, and write the report anew.")
def main(
    starts: int, helps: int, events: int, rounds: int, only: tuple[str, ...], as_json: bool, write: bool
) -> None:
    # Whoever ends it early leaves nothing running: brokers and supervisors are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    machine, wanted = Machine(), only or _STEPS
    found: dict[str, Any] = {"help": starting.command_line(helps)} if "help" in wanted else {}
    if set(wanted) - {"help"}:
        with Cluster.start(brokers=_BROKERS, notify=_say) as cluster:
            found |= _on_brokers(cluster.bootstrap_servers, wanted, starts, events, rounds)
    result = {
        "command": command(),
        "machine": machine.told(),
        "brokers": f"{_BROKERS} brokers of Kafka {KAFKA_VERSION}",
        **found,
    }
    if write:
        keep("start", result)
    click.echo(json.dumps(result, indent=2) if as_json else text(result))


def _on_brokers(servers: str, wanted: Sequence[str], starts: int, events: int, rounds: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "start" in wanted:
        found["starts"] = _starts(servers, starts)
    if "memory" in wanted:
        found["memory"] = starting.memory(servers)
    count = max(1, round(events / scaling.EVENLY)) * scaling.EVENLY
    if "many" in wanted:
        found["many"] = starting.many(servers, _MANY, min(count, scaling.EVENLY))
        _say(f"{_MANY} workers: {found['many']}")
    if "scale" in wanted:
        found["scale"] = scaling.sweep(servers, count, rounds, _say)
    return found


def _starts(servers: str, count: int) -> list[dict[str, float]]:
    found = []
    for number in range(_WARM_UPS + count):
        one = starting.first_output(servers)
        _say("; ".join(f"{what}: {moment:,.0f} ms" for what, moment in one.items()))
        if number >= _WARM_UPS:
            found.append(one)
    return found


def _say(what: str) -> None:
    click.echo(what, err=True)


if __name__ == "__main__":
    main()
