"""One run of one peer over a whole backlog: time, CPU time, and whether its output is right."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException

from benchmarks.backlog import Backlog, NoLeaders, create_topic, delete_topics
from benchmarks.output import Output, WrongOutput
from benchmarks.peers.contract import Job, Peer
from benchmarks.tree import CpuTimes, Pids, Tree

__all__ = ["WARM_UP", "Failed", "Ground", "Trial", "run", "window"]

WARM_UP = 0.1
"""The share of the events that counts for nothing: what starts later than the first output is in it, and a
compiler that learns as it runs."""

_LOOK_S = 0.2
_SETTLED_S = 1.5
_SILENCE_S = 120.0


class Failed(Exception):
    """The run gave no figures; the text says why."""


@dataclass(frozen=True)
class Trial:
    """Figures of one run."""

    events: int
    seconds: float
    """From the append of the output that ends the warm-up to that of the last output."""
    measured: int
    """Outputs in that time."""
    rate: float
    """Events a second."""
    cpu_us: float
    """CPU time of an event, µs: user and system, of every process."""
    brokers_us: float
    """The brokers' CPU time of an event, µs."""
    start_s: float
    """From the first process's start to the append of the first output."""
    start_cpu_s: float
    """CPU seconds by then."""
    repeated: int

    def told(self) -> dict[str, Any]:
        return asdict(self)

    def line(self) -> str:
        """To be read while it goes on."""
        return (
            f"{self.rate:,.0f} events/s, {self.cpu_us:.2f} µs of CPU an event, over {self.seconds:.1f} s; "
            f"first output after {self.start_s:.1f} s ({self.start_cpu_s:.1f} s of CPU); "
            f"{self.repeated:,} repeated"
        )


@dataclass(frozen=True)
class Ground:
    """What every run stands on."""

    servers: str
    brokers: Sequence[int]
    """Their pids."""
    partitions: int
    cache: Path


def run(peer: Peer, ground: Ground, source: str, backlog: Backlog) -> Trial:
    """Start it, wait until the output is whole, end it. Raises ``Failed``."""
    servers, partitions = ground.servers, ground.partitions
    target = f"bench-{secrets.token_hex(4)}"
    directory = Path(tempfile.mkdtemp(prefix="ks-bench-"))
    # Brokers stamp what they append: one clock for all, whatever a producer says.
    create_topic(servers, target, partitions, **{"message.timestamp.type": "LogAppendTime"})
    try:
        job = Job(servers, source, target, partitions, directory)
        tree = Tree(peer.commands(job), peer.variables(ground.cache), directory)
        brokers = Pids(ground.brokers)
        try:
            output = Output(servers, target, partitions, backlog)
            _wait_whole(tree, brokers, output, backlog.count)
        except (WrongOutput, KafkaException, NoLeaders) as error:
            raise Failed(str(error)) from error
        finally:
            tree.stop()
        return _figures(tree, brokers, output, backlog.count)
    finally:
        delete_topics(servers, target)
        shutil.rmtree(directory, ignore_errors=True)


def _wait_whole(tree: Tree, brokers: Pids, output: Output, count: int) -> None:
    """Reading takes CPU time, so it is done when the output has stopped to grow."""
    ends, moved, read = output.ends(), time.monotonic(), -1
    while True:
        time.sleep(_LOOK_S)
        tree.sample()
        brokers.sample()
        now = output.ends()
        if now != ends:
            ends, moved = now, time.monotonic()
        quiet, there, ended = time.monotonic() - moved, sum(ends.values()), tree.ended()
        if quiet > _SETTLED_S and there != read and (there >= count or ended):
            output.read()
            read = there
            if not output.account.missing:
                return
        if quiet > (2 * _SETTLED_S if ended else _SILENCE_S):
            output.read()
            what = "it ended" if ended else f"nothing came for {quiet:.0f} s"
            raise Failed(f"{what}, and {output.account.missing:,} outputs are missing\n{tree.tail()}")


def _figures(tree: Tree, brokers: Pids, output: Output, count: int) -> Trial:
    first, begin, end, measured = window(output.moments, count)
    if end <= begin:
        raise Failed("too few events to be measured")
    seconds = end - begin

    def each_us(cpu: CpuTimes) -> float:
        return round((cpu.at(end) - cpu.at(begin)) / measured * 1e6, 3)

    return Trial(
        events=count,
        seconds=round(seconds, 3),
        measured=measured,
        rate=round(measured / seconds, 1),
        cpu_us=each_us(tree.cpu),
        brokers_us=each_us(brokers.cpu),
        start_s=round(first - tree.started, 3),
        start_cpu_s=round(tree.cpu.at(first), 3),
        repeated=output.account.repeated,
    )


def window(moments: Sequence[int], count: int) -> tuple[float, float, float, int]:
    """When the first output was appended, when the warm-up was over, and the last one, in epoch seconds; and
    how many came behind the warm-up. ``moments`` are milliseconds, in any order; ``count`` are the events.
    """
    ordered = sorted(moments)
    begin = ordered[int(count * WARM_UP)]
    # All of the millisecond (or of the batch, which has one stamp) in which it ended are warm-up.
    behind = sum(moment > begin for moment in ordered)
    return ordered[0] / 1000, begin / 1000, ordered[-1] / 1000, behind
