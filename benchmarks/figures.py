"""The figures of the README: how soon it starts, how soon it notices a death, what an event costs.

    python benchmarks/figures.py --events 1000000 --rounds 3 --kills 20

It starts three brokers of its own and runs everything on this machine. The cost of an event is CPU time of
the OLAP processes, less what the same processes take to start on an empty topic; the one-file prototype
(``prototype.py``) is run over the same topic in turn with the product, so that the ratio holds on a noisy
machine.
"""

from __future__ import annotations

import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from itertools import cycle, islice
from pathlib import Path

import click
import psutil
from confluent_kafka import Producer

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import prototype
from installation import Installation

from supervisor.cluster import Cluster
from supervisor.contract.board import Board, OlapPartition, Role, Seat, Stage
from supervisor.generate.events import events

_PARTITIONS = 4
_DISTINCT = 50_000


@click.command()
@click.option("--events", "count", default=1_000_000, show_default=True, help="Events of a backlog.")
@click.option("--rounds", default=3, show_default=True, help="Backlogs, the prototype and ours in turn.")
@click.option("--starts", default=5, show_default=True, help="Starts on a running cluster.")
@click.option("--kills", default=20, show_default=True, help="OLAP workers killed under 400 events/s.")
def main(count: int, rounds: int, starts: int, kills: int) -> None:
    print(
        f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )
    with Cluster.start(brokers=3) as cluster:
        servers = cluster.bootstrap_servers
        _print("start to first committed output, ms", [_start(servers) for _ in range(starts)])
        _print("death noticed while idle, ms", _kill_idle(servers, kills))
        noticed, gaps = _kill(servers, kills)
        _print("death noticed under 400 events/s, ms", noticed)
        _print("kill to next committed output, ms", gaps)
        for aggregates in (False, True):
            _throughput(servers, count, rounds, aggregates)


def _print(what: str, values: list[float]) -> None:
    print(
        f"{what}: median {statistics.median(values):.1f}, min {min(values):.1f}, max {max(values):.1f}, "
        f"n {len(values)}",
        flush=True,
    )


def _start(servers: str) -> float:
    """Milliseconds from the command to the first committed transaction of any partition."""
    installation = Installation(servers, partitions=_PARTITIONS)
    try:
        installation.create_topics()
        installation.produce(islice(events(1), 400))
        began = time.monotonic_ns()
        installation.start()
        board = installation.board()
        installation.wait(lambda: any(_committed(board)), "something is committed")
        first = min(moment for moment in _committed(board) if moment)
        installation.stop()
        return (first - began) / 1e6
    finally:
        installation.close()


def _committed(board: Board) -> list[int]:
    return [board.olap(partition).committed_ns for partition in range(_PARTITIONS)]


def _kill_idle(servers: str, kills: int) -> list[float]:
    """Milliseconds from SIGKILL to its notice, with no events to process."""
    installation = Installation(servers, partitions=_PARTITIONS)
    noticed = []
    try:
        installation.create_topics()
        installation.start()
        board = installation.board()
        installation.wait_serving(board)
        for number in range(kills):
            _wait_spare(installation, board)
            seat = _seat(board, number % _PARTITIONS)
            killed = time.monotonic_ns()
            os.kill(seat.pid, signal.SIGKILL)
            _wait_owned(installation, seat, killed)
            noticed.append((seat.noticed_ns - killed) / 1e6)
        installation.stop()
        return noticed
    finally:
        installation.close()


def _seat(board: Board, index: int) -> Seat:
    seats = map(board.seat, range(board.header.seats))
    return next(seat for seat in seats if (seat.role, seat.index) == (Role.OLAP, index))


def _wait_owned(installation: Installation, seat: Seat, killed: int) -> None:
    installation.wait(lambda: killed < seat.noticed_ns < seat.owned_ns, "the seat is served again")


def _kill(servers: str, kills: int) -> tuple[list[float], list[float]]:
    """Milliseconds from SIGKILL to its notice, and to the partition's next committed output."""
    installation = Installation(servers, partitions=_PARTITIONS)
    load = None
    try:
        installation.create_topics()
        installation.start()
        board = installation.board()
        installation.wait_serving(board)
        load = psutil.Popen(
            [
                *(sys.executable, "-m", "supervisor", "generate", "--rate", "400"),
                *("--topic", installation.settings.topics.input.name, "--bootstrap-servers", servers),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return _kill_in_turn(installation, board, kills)
    finally:
        if load is not None:
            load.terminate()
            load.wait()
        installation.stop()
        installation.close()


def _kill_in_turn(installation: Installation, board: Board, kills: int) -> tuple[list[float], list[float]]:
    noticed, gaps = [], []
    for number in range(kills):
        index = number % _PARTITIONS
        record = board.olap(index)
        _wait_calm(installation, board, index)
        seat = _seat(board, index)
        killed = time.monotonic_ns()
        os.kill(seat.pid, signal.SIGKILL)
        _wait_recovered(installation, seat, record, killed)
        noticed.append((seat.noticed_ns - killed) / 1e6)
        gaps.append((record.committed_ns - killed) / 1e6)
    return noticed, gaps


def _wait_recovered(installation: Installation, seat: Seat, record: OlapPartition, killed: int) -> None:
    """Until the death is noticed, another process owns the partition, and that one has committed."""
    installation.wait(
        lambda: seat.noticed_ns > killed and killed < record.owned_ns < record.committed_ns,
        "output goes on",
    )


def _wait_calm(installation: Installation, board: Board, index: int) -> None:
    """Until a spare is ready and the partition has committed a few transactions."""
    goal = board.olap(index).transactions + 5
    installation.wait(lambda: board.olap(index).transactions >= goal, "work goes on")
    _wait_spare(installation, board)


def _wait_spare(installation: Installation, board: Board) -> None:
    def standby(slot: int) -> bool:
        worker = board.worker(slot)
        return worker.role == Role.SPARE and worker.stage == Stage.STANDBY

    installation.wait(lambda: any(map(standby, range(16))), "a spare is in standby")


def _throughput(servers: str, count: int, rounds: int, aggregates: bool) -> None:
    ours, floor, ratios, rates = [], [], [], []
    for _ in range(rounds):
        installation = _olap_only(servers, aggregates)
        try:
            installation.create_topics()
            _fill(installation, count)
            ends = installation.ends(installation.settings.topics.input.name)
            topics = installation.settings.topics
            cpu = prototype.run(servers, topics.input.name, topics.dlq.name, ends)
            floor.append(cpu / count * 1e6)
            wall, cpu = _drain(installation)
            ours.append((cpu - _start_cpu(servers, aggregates)) / count * 1e6)
            ratios.append(ours[-1] / floor[-1])
            rates.append(count / wall)
        finally:
            installation.close()
    name = "with aggregates" if aggregates else "without aggregates"
    _print(f"CPU of an event {name}, µs", ours)
    _print("CPU of an event in the one-file prototype, µs", floor)
    _print("ratio", ratios)
    _print(f"events/s {name}", rates)


def _olap_only(servers: str, aggregates: bool) -> Installation:
    toml = f"realtime.enabled = false\nolap.aggregates = {str(aggregates).lower()}"
    return Installation(servers, partitions=_PARTITIONS, toml=toml)


def _start_cpu(servers: str, aggregates: bool) -> float:
    """Seconds of CPU that the OLAP processes take until they serve their partitions."""
    installation = _olap_only(servers, aggregates)
    try:
        installation.create_topics()
        installation.start()
        board = installation.board()
        installation.wait_serving(board)
        cpu = _olap_cpu(board)
        installation.stop()
        return cpu
    finally:
        installation.close()


def _olap_cpu(board: Board) -> float:
    seats = [board.seat(place) for place in range(board.header.seats)]
    return sum(sum(psutil.Process(seat.pid).cpu_times()[:2]) for seat in seats if seat.role == Role.OLAP)


def _fill(installation: Installation, count: int) -> None:
    producer = Producer(
        {
            "bootstrap.servers": installation.settings.kafka.bootstrap_servers,
            "enable.idempotence": True,
            "linger.ms": 50,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    distinct = [
        event for event in islice(events(1, key="user_id"), _DISTINCT) if b"null" not in (event[1] or b"")
    ]
    for number, (key, value) in enumerate(islice(cycle(distinct), count)):
        while True:
            try:
                producer.produce(
                    installation.settings.topics.input.name, value, key, partition=number % _PARTITIONS
                )
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


def _drain(installation: Installation) -> tuple[float, float]:
    """Seconds of wall-clock from the first partition owned to the last one done, and of CPU."""
    installation.start()
    board = installation.board()
    installation.wait_committed(board)
    cpu = _olap_cpu(board)
    began = min(board.olap(partition).owned_ns for partition in range(_PARTITIONS))
    wall = (max(_committed(board)) - began) / 1e9
    installation.stop()
    return wall, cpu


if __name__ == "__main__":
    main()
