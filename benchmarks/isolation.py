"""What an OLAP backlog does to the real-time side: how old events are when the sink shows them, in one run.

    python benchmarks/isolation.py --backlog 2000000 --rounds 3
    python benchmarks/isolation.py --mode rates         (the OLAP side held to fixed rates)
    python benchmarks/isolation.py --mode variants      (what was tried beside a governor)

It starts three brokers of its own, fills an input topic of four partitions once, and lets one installation
after the other drain it from its beginning, four OLAP workers each. All the while 500 events a second come
into the same topic. Each carries the moment of its produce() call; a reader of the live feed takes the
difference.

A round is: drained unguided, then idle behind it (500 events a second to do, and no backlog); drained guided,
then idle; guided again, with the 500 events stopped amid the backlog, until the OLAP side has its whole rate.
A phase begins when every seat is served and ends at 95 % of the backlog. Ratios are taken within a drain and
the idle time behind it.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import click
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from installation import Installation

from benchmarks.livelatency import Load, Reader, connects, quantiles
from supervisor.cluster import Cluster
from supervisor.contract.board import Role
from supervisor.generate.events import events
from supervisor.governor.control import State

_PARTITIONS = 4
_RATE = 500
_DISTINCT = 50_000
_SETTLE_S = 1.0
_WARM_UP_S = 10.0
_UNDER_LIMIT_S = 6.0
_PATIENCE_S = 30.0
_COLUMNS = (("busy", "p50"), ("busy", "p99"), ("idle", "p50"), ("idle", "p99"))


class Stand:
    """One installation that drains the topic, and the reader of its live feed."""

    def __init__(self, servers: str, topic: str, toml: str) -> None:
        self.installation = Installation(
            servers,
            partitions=_PARTITIONS,
            toml=f'realtime.start = "latest"\n{toml}',
        )
        self._servers, self._topic = servers, topic

    def start(self) -> None:
        installation = self.installation
        keys = ("--set", f"topics.input.name={self._topic}")
        installation.start(*keys)
        self.board = installation.board()
        # The feed is there as soon as the real-time worker has its role; OLAP workers begin at the same time.
        path = installation.directory / "run" / "live.sock"
        installation.wait(lambda: connects(path), "the live feed is served")
        self.reader = Reader(path)
        self.reader.start()
        installation.wait_serving(self.board)

    def position(self) -> int:
        return sum(self.board.olap(partition).committed for partition in range(_PARTITIONS))

    def close(self) -> None:
        process = self.installation.process
        if process is not None and process.poll() is None:
            self.installation.stop()
        self.installation.close()


def _fill(servers: str, topic: str, count: int) -> None:
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "enable.idempotence": True,
            "linger.ms": 50,
            "batch.size": 1_000_000,
            "batch.num.messages": 5_000,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    values = [value for _, value in islice(events(1), _DISTINCT)]
    source = cycle(values)
    chunk = 10_000
    for number in range(0, count, chunk):
        records: list[dict[str, Any]] = [
            {"value": value} for value in islice(source, min(chunk, count - number))
        ]
        partition = number // chunk % _PARTITIONS
        while records:
            producer.produce_batch(topic, records, partition=partition)
            records = [{"value": r["value"]} for r in records if r.pop("_error", None) is not None]
            producer.poll(0.05 if records else 0)
    assert producer.flush(120) == 0


def measure(
    servers: str,
    topic: str,
    backlog: int,
    toml: str,
    *,
    idle_s: float,
    most_s: float = 120.0,
    hold: Callable[[Stand], None] = lambda stand: None,
    trace: list[dict[str, float]] | None = None,
) -> dict[str, Any]:
    """Drain the backlog with one installation, then idle behind it; ages of both, and the OLAP rate."""
    stand = Stand(servers, topic, toml)
    try:
        stand.installation.create_topics()
        stand.start()
        hold(stand)
        began, first = time.monotonic_ns(), stand.position()
        goal = backlog * 0.95
        while stand.position() < goal and time.monotonic_ns() - began < most_s * 1e9:
            time.sleep(0.05)
            if trace is not None:
                _trace(stand, trace, began)
        ended, last = time.monotonic_ns(), stand.position()
        header = stand.board.header
        limited = header.limited
        if header.governor == State.OFF:
            header.partition_rate = 0
        stand.installation.wait(lambda: stand.position() >= backlog, "the backlog is drained", 300)
        time.sleep(_SETTLE_S)
        idle_began = time.monotonic_ns()
        time.sleep(idle_s)
        idle_ended = time.monotonic_ns()
        time.sleep(_SETTLE_S)  # what was sent by then has been shown
        busy = quantiles(stand.reader.ages(began, ended))
        idle = quantiles(stand.reader.ages(idle_began, idle_ended))
        return {
            "olap_rate": (last - first) / ((ended - began) / 1e9),
            "seconds": (ended - began) / 1e9,
            "busy": busy,
            "idle": idle,
            "ratio": busy["p99"] / idle["p99"],
            "limited": limited,
            "load": os.getloadavg()[0],
        }
    finally:
        stand.close()


def _trace(stand: Stand, trace: list[dict[str, float]], began: int) -> None:
    header = stand.board.header
    now = time.monotonic_ns()
    trace.append(
        {
            "s": (now - began) / 1e9,
            "position": stand.position(),
            "rate": header.olap_rate,
            "state": header.governor,
            "delay": header.delay_ms,
            "age": max(stand.reader.ages(now - 400_000_000, now), default=0.0),
        }
    )


def recover(servers: str, topic: str, load: Load, toml: str, whole: float) -> dict[str, float | None]:
    """Seconds from the last real-time event to nine tenths of the ``whole`` rate, a second long."""
    stand = Stand(servers, topic, toml)
    try:
        stand.installation.create_topics()
        stand.start()
        time.sleep(_UNDER_LIMIT_S)
        load.sending.clear()
        calm = time.monotonic()
        seen = [(calm, stand.position())]
        found = None
        while found is None and time.monotonic() - calm < _PATIENCE_S:
            time.sleep(0.05)
            now = time.monotonic()
            seen.append((now, stand.position()))
            then, before = next(moment for moment in seen if moment[0] > now - 1.05)
            if now - then > 0.9 and (seen[-1][1] - before) / (now - then) >= 0.9 * whole:
                found = then - calm
        return {"recovery_s": found}
    finally:
        load.sending.set()
        stand.close()


# -- what was tried beside a governor -------------------------------------------------------------------


def _sched_idle(stand: Stand) -> None:
    for index in range(_PARTITIONS):
        pid = stand.installation.pid_of(stand.board, Role.OLAP, index)
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))


def _fixed(rate: int) -> Callable[[Stand], None]:
    def hold(stand: Stand) -> None:
        stand.board.header.partition_rate = rate // _PARTITIONS

    return hold


def _nothing(_stand: Stand) -> None:
    return


_OFF = "realtime.slo_p99_ms = 0\n"
VARIANTS: dict[str, tuple[str, Callable[[Stand], None]]] = {
    "nothing (nice 10)": ("", _nothing),
    "nice 19": ("olap.nice = 19", _nothing),
    "SCHED_IDLE": ("", _sched_idle),
    "a CPU each": ("realtime.cpus = [0]\nolap.cpus = [1]", _nothing),
    "fetches of 64 kB, 2,000 ahead": (
        'kafka.client = { "fetch.message.max.bytes" = 65536, "queued.min.messages" = 2000 }',
        _nothing,
    ),
    "transactions of 2,000": ("olap.commit_events = 2000\nolap.batch_events = 500", _nothing),
    "transactions of 1 s": ("olap.commit_interval_ms = 1000\nolap.commit_events = 200000", _nothing),
    "one OLAP worker": ("olap.workers = 1", _nothing),
    "held to 50,000 events/s": ("", _fixed(50_000)),
    "the same, at once, in fetches of 64 kB": (
        'kafka.client = { "fetch.message.max.bytes" = 65536, "queued.min.messages" = 2000 }',
        _fixed(50_000),
    ),
}
_RATES = (10_000, 20_000, 40_000, 60_000, 80_000, 120_000)


@click.command()
@click.option("--backlog", default=2_000_000, show_default=True, help="Events to drain, each time.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--mode", type=click.Choice(["governor", "rates", "variants"]), default="governor")
@click.option("--slo", default=50.0, show_default=True, help="realtime.slo_p99_ms of the guided drains.")
@click.option("--idle", "idle_s", default=20.0, show_default=True, help="Seconds of each idle phase.")
@click.option("--most", "most_s", default=120.0, show_default=True, help="Seconds of each drain at most.")
@click.option("--bootstrap-servers", default="", help="Brokers to use instead of three of its own.")
@click.option("--json", "as_json", is_flag=True, help="Print every measurement as JSON.")
def main(
    backlog: int,
    rounds: int,
    mode: str,
    slo: float,
    idle_s: float,
    most_s: float,
    bootstrap_servers: str,
    as_json: bool,
) -> None:
    # Whoever ends it early leaves nothing running: brokers and supervisors are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    cluster = contextlib.nullcontext() if bootstrap_servers else Cluster.start(brokers=3)
    with cluster as started:
        servers = bootstrap_servers or started.bootstrap_servers  # type: ignore[union-attr]
        topic = f"isolation-{time.time_ns()}"
        admin = AdminClient({"bootstrap.servers": servers})
        admin.create_topics([NewTopic(topic, _PARTITIONS, 3, config={"min.insync.replicas": "2"})])[
            topic
        ].result()
        _fill(servers, topic, backlog)
        load = Load(servers, topic, _RATE, _PARTITIONS)
        load.start()
        time.sleep(_WARM_UP_S)
        drain = partial(measure, servers, topic, backlog, idle_s=idle_s, most_s=most_s)
        found: list[dict[str, Any]] = []
        for number in range(rounds):
            for one in _round(mode, drain, partial(recover, servers, topic, load), slo):
                found.append({"round": number + 1, **one})
                print(_line(one), file=sys.stderr if as_json else sys.stdout, flush=True)
        load.done.set()
        load.join()
        admin.delete_topics([topic])[topic].result()
    machine = (
        f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    )
    if as_json:
        print(
            json.dumps({"machine": machine, "backlog": backlog, "slo_p99_ms": slo, "phases": found}, indent=2)
        )
    else:
        print(f"{machine}\n{_summary(found)}")


def _round(
    mode: str,
    drain: Callable[..., dict[str, Any]],
    recovered: Callable[..., dict[str, Any]],
    slo: float,
) -> Iterator[dict[str, Any]]:
    if mode == "rates":
        for rate in _RATES:
            yield {"name": f"held to {rate:,} events/s", **drain(_OFF, hold=_fixed(rate))}
    elif mode == "variants":
        for name, (toml, hold) in VARIANTS.items():
            yield {"name": name, **drain(_OFF + toml, hold=hold)}
    else:
        unguided = {"name": "unguided", **drain(_OFF)}
        yield unguided
        guided_toml = f"realtime.slo_p99_ms = {slo}"
        guided = drain(guided_toml)
        yield {"name": "guided", "share": guided["olap_rate"] / unguided["olap_rate"], **guided}
        yield {"name": "calm", **recovered(guided_toml, unguided["olap_rate"])}


def _line(one: dict[str, Any]) -> str:
    if "busy" not in one:
        seconds = one["recovery_s"]
        return f"{one['name']:<40} whole rate after " + ("never" if seconds is None else f"{seconds:.1f} s")
    busy, idle = one["busy"], one["idle"]
    return (
        f"{one['name']:<40} OLAP {one['olap_rate']:>9,.0f}/s  p50 {busy['p50']:7.1f} p99 {busy['p99']:7.1f}  "
        f"idle p50 {idle['p50']:6.1f} p99 {idle['p99']:6.1f}  ratio {one['ratio']:5.1f}"
        + (f"  share {one['share']:.2f}" if "share" in one else "")
        + f"  load {one['load']:.1f}"
    )


def _summary(found: list[dict[str, Any]]) -> str:
    lines = [
        "",
        "medians, ages in ms:",
        "",
        "| | OLAP events/s | p50 | p99 | idle p50 | idle p99 | p99 ratio |",
    ]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    names = list(dict.fromkeys(one["name"] for one in found if "busy" in one))
    for name in names:
        of = [one for one in found if one["name"] == name]

        def median(take: Callable[[dict[str, Any]], float], of: list[dict[str, Any]] = of) -> float:
            return statistics.median(map(take, of))

        lines.append(
            f"| {name} | {median(lambda o: o['olap_rate']):,.0f} "
            + "".join(f"| {median(lambda o, p=p, q=q: o[p][q]):.1f} " for p, q in _COLUMNS)
            + f"| {median(lambda o: o['ratio']):.1f} |"
        )
    for key, what in (("share", "guided rate / unguided rate"), ("recovery_s", "calm to whole rate, s")):
        values = [one[key] for one in found if one.get(key) is not None]
        if values:
            lines.append(f"{what}: median {statistics.median(values):.2f} of {len(values)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
