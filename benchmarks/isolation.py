"""What an OLAP backlog does to the real-time side: how old events are when the sink shows them, in one run.

    python benchmarks/isolation.py --write                       (with the governor, and without)
    python benchmarks/isolation.py --mode variants --write       (what else can be tried, one after the other)
    python benchmarks/isolation.py --backlog 1000000 --rounds 1 --idle 5

It starts three brokers of its own, fills an input topic once, and lets one installation after the other drain
it from its beginning, four OLAP workers each, beside 500 real-time events a second in the same topic. What is
measured, and how, is in the section of the report that it writes.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import report
from benchmarks.backlog import Backlog
from benchmarks.environment import Absent
from benchmarks.isolation_page import line, text
from benchmarks.isolation_trial import PARTITIONS, Course
from benchmarks.isolation_variants import GUIDED, UNGUIDED, VARIANTS
from benchmarks.livelatency import Load
from benchmarks.machine import Machine
from supervisor.cluster import Cluster
from supervisor.cluster.jars import KAFKA_VERSION

_BROKERS = 3
_HEAP_MB = 1024
_RATE = 500
_WARM_UP_S = 10.0
_WARM_UP_DRAINS = 3
_TOPIC = "logins"
_SLO_MS = 50.0
_TO_IDLE = 2.0


@click.command()
@click.option("--backlog", default=2_000_000, show_default=True, help="Events to drain, each time.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--mode", type=click.Choice(["governor", "variants"]), default="governor", show_default=True)
@click.option("--only", multiple=True, metavar="NAME", help="Only these variants; more than once.")
@click.option(
    "--slo",
    type=float,
    show_default=f"{_SLO_MS:g}, or twice the p99 at idle where that is less",
    help="realtime.slo_p99_ms of the guided drains.",
)
@click.option("--idle", "idle_s", default=20.0, show_default=True, help="Seconds of each idle phase.")
@click.option("--most", "most_s", default=180.0, show_default=True, help="Seconds of each drain at most.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--write", is_flag=True, help="Keep the result, and write the report.")
def main(
    backlog: int,
    rounds: int,
    mode: str,
    only: tuple[str, ...],
    slo: float | None,
    idle_s: float,
    most_s: float,
    as_json: bool,
    write: bool,
) -> None:
    if unknown := set(only) - set(VARIANTS):
        raise click.BadParameter(
            f"{', '.join(sorted(unknown))}: the names are: {', '.join(VARIANTS)}", param_hint="--only"
        )
    # Whoever ends it early leaves nothing running: brokers and supervisors are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    machine = Machine()
    with Cluster.start(brokers=_BROKERS, heap_mb=_HEAP_MB, optimize=True) as cluster:
        servers = cluster.bootstrap_servers
        Backlog(backlog).load(servers, _TOPIC, PARTITIONS)
        load = Load(servers, _TOPIC, _RATE, PARTITIONS)
        load.start()
        time.sleep(_WARM_UP_S)
        course = Course(servers, _TOPIC, backlog, idle_s, most_s)
        # Brokers compile themselves meanwhile; else only the first ones would meet that.
        for _ in range(_WARM_UP_DRAINS):
            course.drain(UNGUIDED)
        if mode == "governor":
            found = _governed(course, load, rounds, slo)
        else:
            found = _varied(course, only or tuple(VARIANTS), rounds, slo)
        load.done.set()
        load.join()
    result = {
        "machine": machine.told(),
        "command": report.command(),
        "brokers": f"{_BROKERS} brokers of Kafka {KAFKA_VERSION}, heaps of {_HEAP_MB} MB",
        "backlog": backlog,
        "events_s": _RATE,
        "idle_s": idle_s,
        "slo_p99_ms": slo,
        "rounds": rounds,
        **found,
    }
    if write:
        # Each mode by itself: what the other has found stays.
        report.keep("isolation", report.results().get("isolation", {}) | {mode: result})
    click.echo(json.dumps(result, indent=2) if as_json else text({mode: result}))


def _governed(course: Course, load: Load, rounds: int, slo: float | None) -> dict[str, Any]:
    """Unguided and guided in turn; then the calm amid a backlog, beside the unguided rate of that round."""
    trials: dict[str, list[dict[str, Any]]] = {"unguided": [], "guided": []}
    calm: list[float | None] = []
    for number in range(1, rounds + 1):
        whole = _say(number, "unguided", lambda: course.drain(UNGUIDED))
        held = slo or round(min(_SLO_MS, _TO_IDLE * whole["idle"]["p99"]), 1)
        toml = GUIDED.format(slo=held)
        guided = _say(number, "guided", lambda toml=toml: course.drain(toml))
        trials["unguided"].append(whole)
        trials["guided"].append({**guided, "slo_p99_ms": held})
        calm.append(course.calm(load, toml, whole["olap_rate"]))
        click.echo(f"{number}: calm to the whole rate: {calm[-1]} s", err=True)
    return {"trials": trials, "calm_s": calm, "absent": {}}


def _varied(course: Course, names: tuple[str, ...], rounds: int, slo: float | None) -> dict[str, Any]:
    trials: dict[str, list[dict[str, Any]]] = {}
    absent: dict[str, str] = {}
    for number in range(1, rounds + 1):
        for name in names:
            toml, hold = VARIANTS[name]
            toml = toml.replace("{slo}", f"{slo or _SLO_MS:g}")
            try:
                trial = _say(number, name, lambda toml=toml, hold=hold: course.drain(toml, hold))
            except Absent as reason:
                absent[name] = str(reason)
            else:
                trials.setdefault(name, []).append(trial)
    return {"trials": trials, "calm_s": [], "absent": absent}


def _say(number: int, name: str, trial: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    found = {"round": number, **trial()}
    click.echo(line(name, found), err=True)
    return found


if __name__ == "__main__":
    main()
