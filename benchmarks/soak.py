"""Half an hour under load with a kill a minute: whether memory, descriptors and latency stay what they are.

    python benchmarks/soak.py --write
    python benchmarks/soak.py --minutes 2 --kill-every 20

It starts three brokers of its own, and the product as it comes, with one OLAP worker for each of four
partitions. A sender of its own keeps an even rate. One worker after the other gets SIGKILL amid its work, the
real-time worker too. At the end what is left is processed, everything stops, and the whole output is read
back. Exits with 1 where an event is lost, duplicated or wrong.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from installation import Installation

from benchmarks import sender
from benchmarks.census import GROUPS, HELD, cpu_s, held
from benchmarks.machine import Machine
from benchmarks.numbered import Numbered
from benchmarks.readback import Account, Ends, read_back
from benchmarks.report import command, keep
from benchmarks.soak_page import text
from benchmarks.visible import VisibleReader
from supervisor.cluster import Cluster
from supervisor.contract.board import Board, Role, Seat
from supervisor.contract.histogram import BUCKETS, Histogram
from workers.aggregates import Aggregates

_PARTITIONS = 4
_BROKERS, _HEAP_MB = 3, 1024
_EVERY = 8
_TICK_S = 0.05
_LAST_KILL_S = 15.0
"""Before the end: its traces are to be seen, too."""
_DRAIN_S = 900.0
_BYTES = 700
"""Of an event on the disks of all brokers, input and output, as measured, and some more."""


@click.command()
@click.option("--minutes", default=30.0, show_default=True)
@click.option("--rate", default=20_000, show_default=True, help="Events a second, over four partitions.")
@click.option(
    "--warm-up",
    default=60.0,
    show_default=True,
    help="Seconds of load before: brokers that have just started spend the CPUs on compiling.",
)
@click.option("--kill-every", default=60.0, show_default=True, help="Seconds.")
@click.option("--sample-every", default=5.0, show_default=True, help="Seconds.")
@click.option("--set", "keys", multiple=True, metavar="KEY=VALUE", help="Any key of the configuration.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--write", is_flag=True, help="Keep the result, and write the report anew.")
def main(
    minutes: float,
    rate: int,
    warm_up: float,
    kill_every: float,
    sample_every: float,
    keys: tuple[str, ...],
    as_json: bool,
    write: bool,
) -> None:
    _require_disk((warm_up + minutes * 60) * rate)
    # Whoever ends it early leaves nothing running: brokers, sender and product are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    machine = Machine()
    with Cluster.start(brokers=_BROKERS, heap_mb=_HEAP_MB, optimize=True, notify=_say) as cluster:
        soak = Soak(cluster, rate, keys)
        try:
            soak.start(warm_up)
            found = soak.run(minutes * 60, kill_every, sample_every)
            found |= soak.settle()
        finally:
            soak.close()
    result = {
        "command": command(),
        "machine": machine.told(),
        "minutes": minutes,
        "rate": rate,
        "warm_up_s": warm_up,
        "kill_every_s": kill_every,
        "sample_every_s": sample_every,
        "settings": list(keys),
        **found,
    }
    if write:
        keep("soak", result)
    click.echo(json.dumps(result, indent=2) if as_json else text(result))
    account = result["account"]
    sys.exit(bool(account["lost"] or account["duplicated"] or account["wrong"] or result["miscounted"]))


def _require_disk(events: float) -> None:
    free, needed = shutil.disk_usage(tempfile.gettempdir()).free, events * _BYTES
    if needed > free:
        raise click.ClickException(
            f"{events:,.0f} events take {needed / 1e9:.0f} GB for three copies of input and output, and "
            f"{tempfile.gettempdir()} has {free / 1e9:.0f} GB: see --minutes, --rate and TMPDIR"
        )


class Soak:
    """The product under load, followed."""

    def __init__(self, cluster: Cluster, rate: int, keys: Sequence[str]) -> None:
        self._cluster = cluster
        self._rate = rate
        self._arguments = [word for key in keys for word in ("--set", key)]
        self._installation = Installation(cluster.bootstrap_servers, partitions=_PARTITIONS)
        self._topics = self._installation.settings.topics
        self._epoch_ns = time.time_ns() - time.monotonic_ns()
        self._sender: subprocess.Popen[str] | None = None
        self._samples: list[dict[str, Any]] = []
        self._kills: list[dict[str, Any]] = []
        self._shown: tuple[int, list[int]] = (0, [0] * BUCKETS)

    def start(self, warm_up: float) -> None:
        """The product, its reader, and its load for so many seconds."""
        self._installation.create_topics()
        self._installation.start(*self._arguments)
        self._board: Board = self._installation.board()
        self._installation.wait_serving(self._board)
        servers, output = self._cluster.bootstrap_servers, self._topics.output.name
        self._ends = Ends(servers, self._topics.input.name, _PARTITIONS)
        self._reader = VisibleReader(servers, output, _PARTITIONS, _EVERY)
        self._reader.start()
        source = self._topics.input.name
        self._sender = sender.start(servers, source, _PARTITIONS, self._rate, self._epoch_ns)
        time.sleep(warm_up)

    def run(self, seconds: float, kill_every: float, sample_every: float) -> dict[str, Any]:
        """Load, kills and samples, until the sender has been told to stop."""
        assert self._sender is not None
        self._reader.take()
        self._began = began = time.monotonic()
        before = self._cpu()
        # Not in step with the kills.
        kill, sample = began + kill_every, began + sample_every / 2
        while (now := time.monotonic()) < began + seconds:
            if now >= kill:
                kill += kill_every
                if now < began + seconds - _LAST_KILL_S:
                    self._kill()
            if now >= sample:
                sample += sample_every
                self._sample()
            self._note_served()
            time.sleep(_TICK_S)
        passed = time.monotonic() - began
        cpus = {name: round((used - before[name]) / passed, 3) for name, used in self._cpu().items()}
        self._sender.send_signal(signal.SIGINT)
        told, _ = self._sender.communicate(timeout=_DRAIN_S)
        committed = sum(self._board.olap(one).committed for one in range(_PARTITIONS))
        sent = json.loads(told)
        if (there := self._ends.now()) != sent["sent"]:
            raise click.ClickException(f"the input has {there} events of its partitions, not {sent['sent']}")
        return {"sender": sent, "committed": committed, "cpus": cpus, **self._told()}

    def settle(self) -> dict[str, Any]:
        """Process what is left, stop, and read everything back."""
        servers, sent = self._cluster.bootstrap_servers, self._ends.now()
        began = time.monotonic()
        self._installation.wait(
            lambda: all(self._board.olap(one).committed >= count for one, count in enumerate(sent)),
            "everything is committed",
            _DRAIN_S,
        )
        drained = time.monotonic() - began
        self._reader.done.set()
        self._reader.join()
        self._installation.stop()
        self._ends.close()
        disk = _disk_bytes(self._cluster.directory)
        _say("reading everything back")
        account = Account(sent, Numbered(self._epoch_ns))
        read_back(servers, self._topics.output.name, _PARTITIONS, account)
        return {
            "drained_s": round(drained, 1),
            "disk_bytes_an_event": round(disk / sum(sent)),
            "account": account.told(),
            "miscounted": abs(self._counted() - sum(sent)),
        }

    def close(self) -> None:
        if self._sender is not None and self._sender.poll() is None:
            self._sender.kill()
            self._sender.wait()
        process = self._installation.process
        if process is not None and process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._installation.stop()
        self._installation.close()

    def _counted(self) -> int:
        """Events in the aggregates' total."""
        aggregates = Aggregates(self._installation.settings, _PARTITIONS)
        try:
            aggregates.read_to_end()
            return sum(aggregates.counts().values())
        finally:
            aggregates.close()

    # -- kills ----------------------------------------------------------------------------------------

    def _kill(self) -> None:
        """The next one in turn, once it has something in hand that is not committed."""
        victims = [(Role.OLAP, index) for index in range(_PARTITIONS)] + [(Role.REALTIME, 0)]
        role, index = victims[len(self._kills) % len(victims)]
        seat = self._seat(role, index)
        self._installation.wait(lambda: seat.owned_ns > 0 and self._in_work(role, index), "there is work")
        name = f"olap-{index}" if role is Role.OLAP else "realtime-0"
        pid, killed = seat.pid, time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)
        moment = killed / 1e9 - self._began
        self._kills.append(
            {"s": round(moment, 2), "worker": name, "ns": killed, "seat": seat, "served_ms": None}
        )
        _say(f"{moment:.0f} s: {name} killed")

    def _in_work(self, role: Role, index: int) -> bool:
        if role is Role.OLAP:
            record = self._board.olap(index)
            return record.position > record.committed
        records = map(self._board.realtime, range(_PARTITIONS))
        return any(record.position > record.committed for record in records)

    def _note_served(self) -> None:
        """A seat is served again when its process owns its partitions; of an OLAP worker that is behind its
        first commit."""
        for kill in self._kills:
            seat = kill["seat"]
            if kill["served_ms"] is None and seat.owned_ns > kill["ns"]:
                kill["served_ms"] = round((seat.owned_ns - kill["ns"]) / 1e6, 1)

    def _seat(self, role: Role, index: int) -> Seat:
        seats = map(self._board.seat, range(self._board.header.seats))
        return next(seat for seat in seats if (seat.role, seat.index) == (role, index))

    # -- samples --------------------------------------------------------------------------------------

    def _sample(self) -> None:
        board = self._board
        committed = [board.olap(one).committed for one in range(_PARTITIONS)]
        lag = sum(self._ends.now()) - sum(committed)
        self._samples.append(
            {
                "s": round(time.monotonic() - self._began, 1),
                "held": held(self._installation.processes(), board),
                "lag": lag,
                "visible": _quantiles(self._reader.take()),
                "realtime": self._realtime(),
            }
        )

    def _realtime(self) -> dict[str, float | None]:
        """Age of the events at delivery, of those since the last look."""
        seat = self._seat(Role.REALTIME, 0)
        if not seat.worker:
            return {"p50": None, "p99": None}
        counts = self._board.worker(seat.worker - 1).latency.counts()
        pid, before = self._shown
        if pid != seat.pid:
            before = [0] * BUCKETS
        self._shown = (seat.pid, counts)
        fresh = [now - then for now, then in zip(counts, before, strict=True)]
        return {name: Histogram.quantile(fresh, share) for name, share in (("p50", 0.5), ("p99", 0.99))}

    def _cpu(self) -> dict[str, float]:
        assert self._sender is not None
        return {
            "sender": cpu_s([psutil.Process(self._sender.pid)]),
            "product": cpu_s(self._installation.processes()),
            "brokers": cpu_s(psutil.Process(one.pid) for one in self._cluster.brokers.values() if one.pid),
            "reader": cpu_s([psutil.Process()]),
        }

    def _told(self) -> dict[str, Any]:
        self._note_served()

        samples = self._samples
        return {
            "kills": [{key: kill[key] for key in ("s", "worker", "served_ms")} for kill in self._kills],
            "moments_s": [sample["s"] for sample in samples],
            "held": {
                group: {name: [round(sample["held"][group][name], 1) for sample in samples] for name in HELD}
                for group in GROUPS
            },
            "lag": [sample["lag"] for sample in samples],
            "visible_ms": {
                name: [sample["visible"][name] for sample in samples] for name in ("p50", "p99", "worst")
            },
            "realtime_ms": {
                name: [sample["realtime"][name] for sample in samples] for name in ("p50", "p99")
            },
        }


def _disk_bytes(directory: Path) -> int:
    found = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # brokers remove what is compacted
            found += path.lstat().st_blocks * 512
    return found


def _quantiles(ordered: Sequence[float]) -> dict[str, float | None]:
    if not ordered:
        return {"p50": None, "p99": None, "worst": None}

    def at(share: float) -> float:
        return round(ordered[math.ceil(share * len(ordered)) - 1], 1)

    return {"p50": at(0.5), "p99": at(0.99), "worst": at(1.0)}


def _say(what: str) -> None:
    click.echo(what, err=True)


if __name__ == "__main__":
    main()
