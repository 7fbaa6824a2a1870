"""A reader of committed output that knows how long each event took to become visible."""

from __future__ import annotations

import threading
import time

from confluent_kafka import Consumer, TopicPartition

from benchmarks.numbered import mark_of

__all__ = ["VisibleReader"]


class VisibleReader(threading.Thread):
    """Reads all of a topic from now on, and looks into one of ``every`` records."""

    def __init__(self, servers: str, topic: str, partitions: int, every: int) -> None:
        super().__init__(daemon=True)
        self.done = threading.Event()
        self._every = every
        self._ages: list[float] = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": f"{topic}-visible",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "fetch.queue.backoff.ms": 5,
            }
        )
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])

    def run(self) -> None:
        while not self.done.is_set():
            first = self._consumer.poll(0.1)
            if first is None:
                continue
            # What has come with it; a batch consumer would wait for more.
            messages = [first, *self._consumer.consume(10_000, 0)]
            now = time.monotonic_ns()
            for message in messages[:: self._every]:
                mark = mark_of(message.value() or b"") if message.error() is None else None
                if mark is not None:
                    self._ages.append((now - mark.due_ns) / 1e6)
        self._consumer.close()

    def take(self) -> list[float]:
        """Milliseconds from due to visible, of all that were looked at since the last call; in order."""
        taken, self._ages = self._ages, []
        return sorted(taken)
