"""How many events a second, and what an event costs: ours and its peers over the same topic, in turn.

    python benchmarks/throughput.py --write                      (into the report, docs/benchmarks.md)
    python benchmarks/throughput.py --events 100000 --rounds 1 --only ours --only prototype

It starts three brokers of its own, fills the input once, and lets one after the other process it from its
beginning, round by round, each time into a new topic that is read back and checked. What is measured, and
how, is in its section of the report. The peers are installed in fixed versions into ``--cache``; what cannot
be had is reported as absent. Nothing else is left behind, and nothing listens but on loopback.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.backlog import Backlog
from benchmarks.environment import Absent
from benchmarks.machine import Machine
from benchmarks.peers import PEERS
from benchmarks.peers.contract import Peer
from benchmarks.report import command, keep
from benchmarks.throughput_page import text
from benchmarks.trial import Failed, Ground, run
from benchmarks.yardstick import Yardstick
from supervisor.cluster import Cluster
from supervisor.cluster.jars import KAFKA_VERSION

_CACHE = Path(__file__).parent / ".cache"
_BROKERS = 3
_PARTITIONS = 4
_HEAP_MB = 1024
_EVENLY = 4_000
"""Events go to the partitions by the thousand: a multiple of this gives each as many."""


@click.command()
@click.option(
    "--events", "count", default=2_000_000, show_default=True, help="Slow peers get a share of them."
)
@click.option("--rounds", default=3, show_default=True)
@click.option(
    "--warm-up", "warm_up_s", default=180.0, show_default=True, help="Seconds of load before it counts."
)
@click.option("--only", multiple=True, metavar="NAME", help="Only those with these names; more than once.")
@click.option("--cache", type=click.Path(path_type=Path), default=_CACHE, help="Their installations; kept.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--write", is_flag=True, help="Keep the result, and write the report anew.")
def main(
    count: int,
    rounds: int,
    warm_up_s: float,
    only: tuple[str, ...],
    cache: Path,
    as_json: bool,
    write: bool,
) -> None:
    names = [peer.name for peer in PEERS]
    if unknown := set(only) - set(names):
        raise click.BadParameter(
            f"{', '.join(sorted(unknown))}: the names are: {', '.join(names)}", param_hint="--only"
        )
    # Whoever ends it early leaves nothing running: brokers and peers are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    cache = cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    peers, absent = _installed([peer() for peer in PEERS if not only or peer.name in only], cache)
    machine = Machine()
    backlogs = {peer.name: _share(count, peer.share) for peer in peers}
    with Cluster.start(brokers=_BROKERS, heap_mb=_HEAP_MB, optimize=True, notify=_say) as cluster:
        pids = [broker.pid for broker in cluster.brokers.values() if broker.pid is not None]
        ground = Ground(cluster.bootstrap_servers, pids, _PARTITIONS, cache)
        found = _measure(peers, backlogs, ground, rounds, warm_up_s)
    result = {
        "command": command(),
        "machine": machine.told(),
        "events": count,
        "bytes": round(Backlog(count).mean_bytes(), 1),
        "rounds": rounds,
        "brokers": f"{_BROKERS} brokers of Kafka {KAFKA_VERSION}, heaps of {_HEAP_MB} MB, "
        f"behind {warm_up_s:g} s of load",
        "peers": {peer.name: {**_about(peer), **found[peer.name]} for peer in peers},
        "absent": absent,
    }
    if write:
        keep("throughput", result)
    click.echo(json.dumps(result, indent=2) if as_json else text(result))


def _installed(wanted: list[Peer], cache: Path) -> tuple[list[Peer], dict[str, str]]:
    """Those that can be measured, and why the others cannot."""
    ready, absent = [], {}
    for peer in wanted:
        _say(f"{peer.name}: installing")
        try:
            peer.install(cache)
        except Absent as reason:
            absent[peer.name] = str(reason)
            _say(f"{peer.name}: absent: {reason}")
        else:
            ready.append(peer)
    return ready, absent


def _share(count: int, share: float) -> int:
    """As many events for each partition, and some for each."""
    return max(_EVENLY, int(count * share) // _EVENLY * _EVENLY)


def _measure(
    peers: list[Peer], counts: dict[str, int], ground: Ground, rounds: int, warm_up_s: float
) -> dict[str, dict[str, Any]]:
    backlogs = {count: Backlog(count) for count in sorted(set(counts.values()))}
    for count, backlog in backlogs.items():
        _say(f"sending {count:,} events")
        backlog.load(ground.servers, _source(count), ground.partitions)
    _warm_up(warm_up_s, peers[0], ground, backlogs[counts[peers[0].name]])
    yardstick = Yardstick()
    found: dict[str, dict[str, Any]] = {peer.name: {"trials": [], "failures": []} for peer in peers}
    for number in range(1, rounds + 1):
        for peer in peers:
            count = counts[peer.name]
            before_us = yardstick.measure_us()
            try:
                trial = run(peer, ground, _source(count), backlogs[count])
            except Failed as reason:
                found[peer.name]["failures"].append({"round": number, "reason": str(reason)})
                _say(f"round {number}, {peer.name}: failed: {reason}")
                continue
            pipeline_us = round((before_us + yardstick.measure_us()) / 2, 3)
            told = {"round": number, **trial.told(), "yardstick_us": pipeline_us}
            found[peer.name]["trials"].append(told)
            _say(f"round {number}, {peer.name}: {trial.line()}")
    return found


def _warm_up(seconds: float, peer: Peer, ground: Ground, backlog: Backlog) -> None:
    """Load that counts for nothing: the brokers' compiler takes the CPUs for a while that it saves later."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        _say(f"warming the brokers up: {run(peer, ground, _source(backlog.count), backlog).line()}")


def _source(count: int) -> str:
    return f"logins-{count}"


def _about(peer: Peer) -> dict[str, str]:
    return {"version": peer.version, "guarantee": peer.guarantee, "settings": peer.settings}


def _say(what: str) -> None:
    click.echo(what, err=True)


if __name__ == "__main__":
    main()
