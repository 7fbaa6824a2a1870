"""How old events are when they are seen: a load that dates each event, and readers of feed and topics.

All are threads of one process, and share its monotonic clock.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from itertools import islice
from pathlib import Path

from confluent_kafka import OFFSET_END, Consumer, Producer, TopicPartition

from supervisor.generate.events import events

__all__ = ["Load", "Reader", "TopicReader", "connects", "quantiles"]

_MARK = re.compile(rb'"device_id":"ns(\d+)"')
_TICK_S = 0.001
_UNACKNOWLEDGED = 10


class Load(threading.Thread):
    """Sends ``rate`` events a second, ten to a partition in turn, each with the moment it was due to be sent.

    While brokers are slow to acknowledge, what is due meanwhile waits and is sent together, as a producer
    with few requests in flight does. librdkafka's own limit of them (as an idempotent producer has it) is
    never met: behind it its threads spin, and what is measured is how they fight for the CPU.
    """

    def __init__(self, servers: str, topic: str, rate: int, partitions: int) -> None:
        super().__init__(daemon=True)
        self._producer = Producer({"bootstrap.servers": servers, "linger.ms": 0})
        self._topic, self._rate, self._partitions = topic, rate, partitions
        self._samples = [value for _, value in islice(events(3), 1_000) if b'"device_id"' in (value or b"")]
        self.done = threading.Event()
        self.sending = threading.Event()
        self.sending.set()

    def run(self) -> None:
        due, number = time.monotonic(), 0
        while not self.done.is_set():
            if not self.sending.is_set():
                self.sending.wait(0.1)
                due = time.monotonic()
                continue
            self._producer.poll(0)
            time.sleep(max(_TICK_S, due - time.monotonic()))
            if len(self._producer) > _UNACKNOWLEDGED:
                continue
            while due <= time.monotonic():
                self._send(number, int(due * 1e9))
                number += 1
                due += 1 / self._rate
        self._producer.flush(30)

    def _send(self, number: int, due_ns: int) -> None:
        sample = self._samples[number % len(self._samples)]
        value = re.sub(rb'"device_id":"[^"]*"', b'"device_id":"ns%d"' % due_ns, sample)
        self._producer.produce(self._topic, value, partition=number // 10 % self._partitions)


class _Watch(threading.Thread):
    """Notes how old each event is when it is seen."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: list[tuple[int, float]] = []
        """When it was sent, and its age in milliseconds."""

    def note(self, value: bytes, now: int) -> None:
        if found := _MARK.search(value):
            sent = int(found[1])
            self.seen.append((sent, (now - sent) / 1e6))

    def ages(self, begin: int, end: int) -> list[float]:
        """Of the events sent between two moments; all of them must have been shown."""
        return [age for sent, age in self.seen if begin <= sent < end]


class Reader(_Watch):
    """Reads the live feed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._feed = socket.socket(socket.AF_UNIX)
        self._feed.connect(str(path))

    def run(self) -> None:
        rest = b""
        while piece := self._receive():
            now = time.monotonic_ns()
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self.note(line, now)

    def _receive(self) -> bytes:
        try:
            return self._feed.recv(1 << 16)
        except OSError:
            return b""


class TopicReader(_Watch):
    """Reads a topic from its end on, as a ``read_committed`` consumer with nothing else to do."""

    def __init__(self, servers: str, topic: str, partitions: int) -> None:
        super().__init__()
        self.done = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": "latency",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 500,
            }
        )
        self._consumer.assign([TopicPartition(topic, number, OFFSET_END) for number in range(partitions)])

    def run(self) -> None:
        while not self.done.is_set():
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                self.note(message.value() or b"", time.monotonic_ns())
        self._consumer.close()


def quantiles(ages: list[float]) -> dict[str, float]:
    ordered = sorted(ages)
    if not ordered:
        return {"n": 0, "p50": float("nan"), "p90": float("nan"), "p99": float("nan"), "max": float("nan")}

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return {"n": len(ordered), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": ordered[-1]}


def connects(path: Path) -> bool:
    """Whether somebody serves the live feed there."""
    with socket.socket(socket.AF_UNIX) as trial, contextlib.suppress(OSError):
        trial.connect(str(path))
        return True
    return False
