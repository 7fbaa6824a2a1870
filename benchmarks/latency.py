"""Latency at rest: how old an event is when it is shown, and when its exactly-once output is there.

    python benchmarks/latency.py --write
    python benchmarks/latency.py --seconds 20 --rounds 1

Three brokers of its own and the whole product at work: real-time worker, four OLAP workers with the login
aggregates, spare, probe. 500 events a second come into four partitions. Each carries the moment it was due to
be given to produce(); an age runs from there, so that time in which the sender could not send counts, too.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from benchmarks import starting
from benchmarks.latency_page import BESIDE, COMMITTED, FLOOR, SHOWN, text
from benchmarks.livelatency import Load, Reader, TopicReader, connects, quantiles
from benchmarks.machine import Machine
from benchmarks.report import command, keep
from supervisor.cluster import Cluster
from supervisor.cluster.jars import KAFKA_VERSION
from supervisor.contract.settings import Olap

_BROKERS = 3
_HEAP_MB = 1024
_PARTITIONS = 4
_SETTLE_S = 2.0
_CURVE = [*range(100), 99.5, 99.9]
"""Quantiles of the plot, in per cent."""


@click.command()
@click.option("--rate", default=500, show_default=True, help="Events a second.")
@click.option("--seconds", default=40.0, show_default=True, help="Of each round.")
@click.option("--warm-up", "warm_up_s", default=15.0, show_default=True, help="Seconds before each of them.")
@click.option(
    "--season",
    "season_s",
    default=180.0,
    show_default=True,
    help="Seconds of the same load before the first of them: brokers compile themselves meanwhile.",
)
@click.option("--rounds", default=3, show_default=True, help="Each with an installation of its own.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Configuration of ours, to try it.")
@click.option("--bootstrap-servers", default="", help="Brokers to use instead of three of its own.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--write", is_flag=True, help="Keep the result, and write the report anew.")
def main(
    rate: int,
    seconds: float,
    warm_up_s: float,
    season_s: float,
    rounds: int,
    sets: tuple[str, ...],
    bootstrap_servers: str,
    as_json: bool,
    write: bool,
) -> None:
    # Whoever ends it early leaves nothing running: brokers and supervisors are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    machine = Machine()
    found: list[dict[str, list[float]]] = []
    with _brokers(bootstrap_servers) as servers:
        if season_s:
            _round(servers, rate, 0, season_s, sets)
        for number in range(1, rounds + 1):
            found.append(_round(servers, rate, seconds, warm_up_s, sets))
            click.echo(f"round {number}: {_line(found[-1])}", err=True)
    result = {
        "command": command(),
        "machine": machine.told(),
        "brokers": f"{_BROKERS} brokers of Kafka {KAFKA_VERSION}",
        "rate": rate,
        "season_s": season_s,
        "seconds": seconds,
        "commit_interval_ms": Olap().commit_interval_ms,
        "rounds": [{name: _rounded(quantiles(ages)) for name, ages in ages_of.items()} for ages_of in found],
        "curves": {name: _curve([age for ages in found for age in ages[name]]) for name in found[0]},
    }
    if write:
        keep("latency", result)
    click.echo(json.dumps(result, indent=2) if as_json else text(result))


@contextlib.contextmanager
def _brokers(given: str) -> Iterator[str]:
    if given:
        yield given
        return

    def say(what: str) -> None:
        click.echo(what, err=True)

    with Cluster.start(brokers=_BROKERS, heap_mb=_HEAP_MB, optimize=True, notify=say) as cluster:
        yield cluster.bootstrap_servers


def _round(
    servers: str, rate: int, seconds: float, warm_up_s: float, sets: tuple[str, ...]
) -> dict[str, list[float]]:
    """Ages in milliseconds, by who has seen the events."""
    installation = starting.installation(servers)
    topics = installation.settings.topics
    with contextlib.ExitStack() as stack:
        stack.callback(installation.close)
        installation.create_topics()
        installation.start(*(word for one in sets for word in ("--set", one)))
        board = installation.board()
        feed = installation.directory / "run" / "live.sock"
        installation.wait(lambda: connects(feed), "the live feed is served")
        installation.wait_serving(board)
        readers = {
            SHOWN: Reader(feed),
            COMMITTED: TopicReader(servers, topics.output.name, _PARTITIONS),
        }
        load = Load(servers, topics.input.name, rate, _PARTITIONS)
        for thread in (*readers.values(), load):
            thread.start()
        time.sleep(warm_up_s)
        ages = _window(seconds, readers)
        # Alone, and behind: what it fetches the brokers have to send.
        plain = TopicReader(servers, topics.input.name, _PARTITIONS)
        plain.start()
        readers[FLOOR] = plain
        time.sleep(_SETTLE_S)
        beside = _window(seconds, {BESIDE: readers[SHOWN], FLOOR: plain})
        _stop(load, readers)
        installation.stop()
        return {**ages, **beside}


def _window(seconds: float, readers: dict[str, Any]) -> dict[str, list[float]]:
    """Ages of the events that are sent from now on."""
    began = time.monotonic_ns()
    time.sleep(seconds)
    ended = time.monotonic_ns()
    time.sleep(_SETTLE_S)  # what was sent by then has been seen
    return _whole({name: reader.ages(began, ended) for name, reader in readers.items()})


def _stop(load: Load, readers: dict[str, Any]) -> None:
    load.done.set()
    load.join()
    for reader in readers.values():
        if isinstance(reader, TopicReader):
            reader.done.set()
            reader.join()


def _whole(ages: dict[str, list[float]]) -> dict[str, list[float]]:
    """An age that is missing because the event is would make the others look better."""
    if len({len(of) for of in ages.values()}) > 1:
        raise click.ClickException(f"not everybody saw as many events: {_line(ages)}")
    return ages


def _line(ages: dict[str, list[float]]) -> str:
    told = {name: quantiles(of) for name, of in ages.items()}
    return "; ".join(
        f"{name} p50 {of['p50']:.1f} p99 {of['p99']:.1f} ms of {of['n']}" for name, of in told.items()
    )


def _curve(ages: list[float]) -> list[tuple[float, float]]:
    ordered = sorted(ages)
    return [(round(ordered[int(per_cent / 100 * len(ordered))], 3), per_cent) for per_cent in _CURVE]


def _rounded(told: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in told.items()}


if __name__ == "__main__":
    main()
