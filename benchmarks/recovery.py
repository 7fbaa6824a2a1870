"""How long a partition is without output after its worker got SIGKILL, under 400 events a second.

    python benchmarks/recovery.py --write
    python benchmarks/recovery.py --kills 20 --no-spare --no-peers

It starts three brokers of its own, or uses those of ``--bootstrap-servers``. A read_committed reader in a
thread notes when each output becomes visible; the gap ends with the first output of the replacement. At the
end every topic is read back: nothing may be lost or duplicated. Exits with 1 if it was. Then the peers run
under supervisord, on the same brokers and under the same load, and lose a process each in turn.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import click
from confluent_kafka import Consumer, TopicPartition

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from installation import Installation

from benchmarks.machine import Machine
from benchmarks.recovery_page import text
from benchmarks.recovery_peers import DOCUMENTED, STATIC, measure
from benchmarks.report import command, keep
from supervisor.cluster import Cluster
from supervisor.contract.board import Board, Role, Seat
from supervisor.demo.audit import Audit, audit

_PARTITIONS = 4
_MS = 1e6
_PATIENCE_S = 60.0
# Between a replacement and the next kill: the new spare has been imported by then, and the kill does not come
# in step with anything.
_PAUSE_S = (1.0, 3.0)

_CACHE = Path(__file__).parent / ".cache"


class Reader(threading.Thread):
    """Notes when it was shown each partition's outputs."""

    def __init__(self, installation: Installation) -> None:
        super().__init__(daemon=True)
        self.moments: dict[int, list[int]] = {partition: [] for partition in range(_PARTITIONS)}
        self.done = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": installation.settings.kafka.bootstrap_servers,
                "group.id": f"{installation.name}-reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
            }
        )
        topic = installation.settings.topics.output.name
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in range(_PARTITIONS)])

    def run(self) -> None:
        while not self.done.is_set():
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                self.moments[message.partition()].append(time.monotonic_ns())
        self._consumer.close()

    def longest_gap_ms(self, partition: int, began: int, ended: int) -> float:
        """The longest time without an output, of those that were at least partly between the two moments."""
        moments = list(self.moments[partition])
        gaps = [
            later - earlier
            for earlier, later in itertools.pairwise(moments)
            if later > began and earlier < ended
        ]
        return max(gaps) / _MS

    def first_after(self, partition: int, moment: int) -> int | None:
        for seen in reversed(self.moments[partition]):
            if seen <= moment:
                break
            found = seen
        else:
            return None
        return found if self.moments[partition][-1] > moment else None


@click.command()
@click.option("--kills", default=50, show_default=True)
@click.option("--rate", default=400, show_default=True, help="Events a second, over four partitions.")
@click.option(
    "--reloads", default=5, show_default=True, help="Rolling reloads of all workers, behind the kills."
)
@click.option("--no-spare", is_flag=True, help="Without a process kept ready.")
@click.option(
    "--warm-up",
    default=30.0,
    show_default=True,
    help="Seconds of load before the first kill: brokers that have just started spend the CPUs on compiling.",
)
@click.option("--peers/--no-peers", default=True, show_default=True, help="The peers under supervisord, too.")
@click.option(
    "--peer-kills", default=3, show_default=True, help="Of each of them; each silences it for long."
)
@click.option("--cache", type=click.Path(path_type=Path), default=_CACHE, help="Their installations; kept.")
@click.option("--bootstrap-servers", default="", help="Brokers to use instead of three of its own.")
@click.option("--set", "keys", multiple=True, metavar="KEY=VALUE", help="Any key of the configuration.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--write", is_flag=True, help="Keep the result, and write the report anew.")
def main(
    kills: int,
    rate: int,
    reloads: int,
    no_spare: bool,
    warm_up: float,
    peers: bool,
    peer_kills: int,
    cache: Path,
    bootstrap_servers: str,
    keys: tuple[str, ...],
    as_json: bool,
    write: bool,
) -> None:
    # Whoever ends it early leaves nothing running: brokers and supervisors are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    machine = Machine()
    with _brokers(bootstrap_servers) as servers:
        found = _measure(servers, kills, reloads, rate, keys, 0 if no_spare else 1, warm_up)
        theirs = _peers(servers, peer_kills, rate, cache.resolve()) if peers else {"peers": {}, "absent": {}}
    result = {
        "command": command(),
        "machine": machine.told(),
        "rate": rate,
        "settings": list(keys),
        **found,
        **theirs,
    }
    if write:
        keep("recovery", result)
    click.echo(json.dumps(result, indent=2) if as_json else text(result))
    sys.exit(0 if result["lost"] == result["duplicated"] == result["other_findings"] == 0 else 1)


def _peers(servers: str, kills: int, rate: int, cache: Path) -> dict:
    cache.mkdir(parents=True, exist_ok=True)
    found, absent = {}, {}
    for kinds in (DOCUMENTED, STATIC):
        measured, missing = measure(servers, kinds, kills, rate, cache, _say)
        found |= measured
        absent |= missing
    return {"peers": found, "absent": absent}


def _say(what: str) -> None:
    click.echo(what, err=True)


@contextlib.contextmanager
def _brokers(servers: str) -> Iterator[str]:
    if servers:
        yield servers
        return
    with Cluster.start(brokers=3) as cluster:
        yield cluster.bootstrap_servers


def _measure(
    servers: str, kills: int, reloads: int, rate: int, keys: tuple[str, ...], spares: int, warm_up: float
) -> dict:
    toml = f"restart.budget = 100000\nrestart.budget_total = 100000\nruntime.spares = {spares}"
    installation = Installation(servers, partitions=_PARTITIONS, toml=toml)
    load = None
    try:
        installation.create_topics()
        installation.start(*(word for key in keys for word in ("--set", key)))
        board = installation.board()
        installation.wait_serving(board)
        reader = Reader(installation)
        reader.start()
        load = _load(installation, servers, rate)
        time.sleep(warm_up)
        loads = [os.getloadavg()[0]]
        stolen, began = _stolen_s(), time.monotonic()
        gaps = []
        for number in range(kills):
            gaps.append(_kill(installation, board, reader, number % _PARTITIONS, spares))
            loads.append(os.getloadavg()[0])
            _say(f"kill {number + 1}/{kills}: {gaps[-1]['visible']:.0f} ms, load {loads[-1]:.1f}")
        rolled = [_reload(installation, board, reader, number + 1, reloads) for number in range(reloads)]
        taken = (_stolen_s() - stolen) / (time.monotonic() - began)
        load.send_signal(signal.SIGINT)
        load.wait()
        installation.wait_committed(board)
        reader.done.set()
        reader.join()
        installation.stop()
        found = audit(installation.settings, _PARTITIONS)
        return {
            **_result(gaps, found, spares, loads),
            "reloads": [told for all_told in rolled for told in all_told],
            "stolen_cpus": round(taken, 2),
        }
    finally:
        if load is not None and load.poll() is None:
            load.kill()
            load.wait()
        if installation.process is not None and installation.process.poll() is None:
            installation.stop()
        installation.close()


def _stolen_s() -> float:
    """CPU time that the machine's host has given to others instead, since the boot."""
    return int(Path("/proc/stat").read_text().split()[8]) / os.sysconf("SC_CLK_TCK")


def _load(installation: Installation, servers: str, rate: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "supervisor", "generate", "--rate", str(rate)),
            *("--topic", installation.settings.topics.input.name, "--bootstrap-servers", servers),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _kill(
    installation: Installation, board: Board, reader: Reader, index: int, spares: int
) -> dict[str, float]:
    """Kill one worker amid its work; milliseconds from the kill to each step."""
    record = board.olap(index)
    goal = record.transactions + 5
    installation.wait(lambda: record.transactions >= goal, "work goes on")
    if spares:
        installation.wait_spare(board)
    time.sleep(random.uniform(*_PAUSE_S))
    seat = _seat(board, index)
    killed = time.monotonic_ns()
    os.kill(seat.pid, signal.SIGKILL)
    installation.wait(lambda: killed < seat.noticed_ns and killed < record.owned_ns, "the partition is owned")
    owned = record.owned_ns
    installation.wait(lambda: reader.first_after(index, owned) is not None, "output is visible")
    worker = board.worker(seat.worker - 1)
    moments = {
        "noticed": seat.noticed_ns,
        "refilled": seat.refilled_ns,
        "served": worker.served_ns,
        "fenced": record.fenced_ns,
        "owned": owned,
        "fetched": record.fetched_ns,
        "visible": reader.first_after(index, owned),
    }
    return {name: (moment - killed) / _MS for name, moment in moments.items()}


def _reload(
    installation: Installation, board: Board, reader: Reader, number: int, of: int
) -> list[dict[str, float]]:
    """Replace every worker, one after the other; of each partition, in milliseconds, for how long it had no
    owner, and its longest silence."""
    began = time.monotonic_ns()
    done = installation.run("reload", "--all")
    if done.returncode:
        raise click.ClickException(f"the reload failed: {done.stdout}{done.stderr}")
    ended = time.monotonic_ns()
    installation.wait(
        lambda: all(reader.first_after(index, ended) for index in range(_PARTITIONS)), "output is visible"
    )
    told = [
        {
            # Since the supervisor has heard that the old process is gone.
            "unowned": round((board.olap(index).owned_ns - _seat(board, index).noticed_ns) / _MS, 2),
            "silent": round(reader.longest_gap_ms(index, began, ended), 2),
        }
        for index in range(_PARTITIONS)
    ]
    gaps = ", ".join(f"{one['unowned']:.0f} of {one['silent']:.0f}" for one in told)
    _say(f"reload {number}/{of}: without an owner, of the longest silence: {gaps} ms")
    return told


def _seat(board: Board, index: int) -> Seat:
    seats = map(board.seat, range(board.header.seats))
    return next(seat for seat in seats if (seat.role, seat.index) == (Role.OLAP, index))


def _result(gaps: list[dict[str, float]], found: Audit, spares: int, loads: list[float]) -> dict:
    return {
        "load": [min(loads), max(loads)],
        "spares": spares,
        "gaps_ms": [{step: round(moment, 2) for step, moment in gap.items()} for gap in gaps],
        "events": found.events_in,
        "lost": found.lost.total,
        "duplicated": found.duplicated.total,
        "other_findings": 0 if found.clean else 1,
    }


if __name__ == "__main__":
    main()
