"""Sends marked login events at an even rate, until it is told to stop; then it says how many there were.

    python benchmarks/sender.py --servers 127.0.0.1:9092 --topic t --partitions 4 --rate 20000 --epoch-ns 0

Each event carries the moment at which it was due. Where brokers or CPUs hold the sender up, it sends late
what was due meanwhile, and the delay counts as the event's. It is a process of its own, so that nobody's work
makes it late, and so that what it costs can be told. On SIGINT or SIGTERM it sends the rest and prints JSON.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
from confluent_kafka import Producer

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.numbered import Mark, Numbered

__all__ = ["start"]

_SLICE_S = 0.025
"""What was due in this time is sent together, to one partition; the next slice goes to the next one."""
_FLUSH_S = 120
_QUEUE = 1_000_000


def start(servers: str, topic: str, partitions: int, rate: float, epoch_ns: int) -> subprocess.Popen[str]:
    """The sender as a process of its own; what it has to say is on its standard output."""
    options = ("--servers", servers, "--topic", topic, "--partitions", str(partitions), "--rate", str(rate))
    return subprocess.Popen(
        [sys.executable, __file__, *options, "--epoch-ns", str(epoch_ns)],
        stdout=subprocess.PIPE,
        text=True,
    )


class Sender:
    """Sends what is due.

    Not idempotent: librdkafka's thread spins while such a producer has a batch in flight and another one due.
    Were something sent twice, the topic would end behind what was sent; whoever uses this compares the two.
    """

    def __init__(self, servers: str, topic: str, partitions: int, rate: float, epoch_ns: int) -> None:
        self.sent = [0] * partitions
        self.latest_s = 0.0
        """How late the latest slice was."""
        self._topic = topic
        self._events = Numbered(epoch_ns)
        self._gap_ns = 1e9 / rate
        # At low rates a slice is longer: an event at least.
        self._slice = max(1, round(rate * _SLICE_S))
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "acks": "all",
                "compression.type": "lz4",
                "queue.buffering.max.messages": _QUEUE,
            }
        )
        self._stopped = False

    def stop(self, *_: object) -> None:
        self._stopped = True

    def run(self) -> dict[str, Any]:
        began, number = time.monotonic_ns(), 0
        while not self._stopped:
            first_ns = began + int(number * self._slice * self._gap_ns)
            last_ns = first_ns + int(self._slice * self._gap_ns)
            self._producer.poll(0)
            if (wait := last_ns - time.monotonic_ns()) > 0:
                time.sleep(wait / 1e9)
            self.latest_s = max(self.latest_s, (time.monotonic_ns() - last_ns) / 1e9)
            self._send(number % len(self.sent), first_ns)
            number += 1
        seconds = (time.monotonic_ns() - began) / 1e9
        if self._producer.flush(_FLUSH_S):
            raise click.ClickException(f"brokers have not taken everything within {_FLUSH_S} s")
        return {
            "sent": self.sent,
            "seconds": round(seconds, 3),
            "latest_ms": round(self.latest_s * 1000, 1),
            "cpu_s": round(time.process_time(), 2),
        }

    def _send(self, partition: int, first_ns: int) -> None:
        first = self.sent[partition]
        chunk = [
            {
                "value": self._events.value(
                    Mark(partition, first + place, first_ns + int(place * self._gap_ns))
                )
            }
            for place in range(self._slice)
        ]
        self.sent[partition] += self._slice
        while chunk:
            self._producer.produce_batch(self._topic, chunk, partition=partition)
            # What has an error did not fit into the client's queue.
            chunk = [{"value": record["value"]} for record in chunk if "_error" in record]
            if chunk:
                self._producer.poll(0.1)


@click.command()
@click.option("--servers", required=True)
@click.option("--topic", required=True)
@click.option("--partitions", type=int, required=True)
@click.option("--rate", type=float, required=True, help="Events a second, over all partitions.")
@click.option("--epoch-ns", type=int, required=True, help="Time since 1970 less the monotonic clock.")
def main(servers: str, topic: str, partitions: int, rate: float, epoch_ns: int) -> None:
    sender = Sender(servers, topic, partitions, rate, epoch_ns)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, sender.stop)
    click.echo(json.dumps(sender.run()))


if __name__ == "__main__":
    main()
