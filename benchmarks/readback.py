"""Reads the output of marked events back: what is lost, what is there twice, what is wrong.

Memory is one byte an event, however many there are.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from benchmarks.numbered import Numbered, mark_of

__all__ = ["Account", "Ends", "read_back"]

_SAMPLED = 101
"""One in so many is compared field by field."""
_SILENCE_S = 60.0
_TIMEOUT_S = 30


class Account:
    """Which events have an output; ``sent`` is how many there were of each partition."""

    def __init__(self, sent: Sequence[int], events: Numbered) -> None:
        self._seen = [bytearray(count) for count in sent]
        self._events = events
        self.outputs = self.duplicated = self.compared = self.wrong = 0

    def add(self, value: bytes) -> None:
        self.outputs += 1
        mark = mark_of(value)
        if mark is None or mark.partition >= len(self._seen):
            self.wrong += 1
            return
        seen, number = self._seen[mark.partition], mark.number
        if number >= len(seen):
            self.wrong += 1
            return
        if seen[number]:
            self.duplicated += 1
        seen[number] = 1
        if number % _SAMPLED == 0:
            self.compared += 1
            self.wrong += msgspec.json.decode(value) != self._events.output(mark)

    @property
    def lost(self) -> int:
        return sum(seen.count(0) for seen in self._seen)

    def told(self) -> dict[str, int]:
        return {
            "events": sum(map(len, self._seen)),
            "outputs": self.outputs,
            "lost": self.lost,
            "duplicated": self.duplicated,
            "compared": self.compared,
            "wrong": self.wrong,
        }


def read_back(servers: str, topic: str, partitions: int, account: Account) -> None:
    """Everything that a ``read_committed`` reader sees now goes into the account.

    Raises ``RuntimeError`` where brokers say nothing for a minute.
    """
    consumer = _consumer(servers, f"{topic}-readback")
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    left, heard = set(range(partitions)), time.monotonic()
    try:
        while left:
            messages = consumer.consume(10_000, 0.1)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > _SILENCE_S:
                raise RuntimeError(f"{topic} could not be read to its end")
            for message in messages:
                error = message.error()
                if error is None:
                    account.add(message.value() or b"")
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()


class Ends:
    """The end offset of each partition; of a topic without transactions it is the number of its records."""

    def __init__(self, servers: str, topic: str, partitions: int) -> None:
        self._consumer = _consumer(servers, f"{topic}-ends")
        self._places = [TopicPartition(topic, partition) for partition in range(partitions)]

    def now(self) -> list[int]:
        return [self._consumer.get_watermark_offsets(place, _TIMEOUT_S)[1] for place in self._places]

    def close(self) -> None:
        self._consumer.close()


def _consumer(servers: str, group: str) -> Consumer:
    settings: dict[str, Any] = {
        "bootstrap.servers": servers,
        "group.id": group,
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        # What stands at an end may be a marker, which is not shown: this is how its end is known.
        "enable.partition.eof": True,
        "fetch.queue.backoff.ms": 20,
    }
    return Consumer(settings)
