"""Reads the output of a run back: whether it is all there, what is in it, and when brokers got it."""

from __future__ import annotations

import array
import time

import msgspec
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from benchmarks.backlog import Backlog, canonical, number_of, wait_for_leaders

__all__ = ["Account", "Output", "WrongOutput"]

_SAMPLED = 101
"""One in so many is compared field by field."""
_PATIENCE_S = 120
_TIMEOUT_S = 30


class WrongOutput(Exception):
    """An output is not what the pipeline has to make of its event."""


class Account:
    """Which events have an output."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._seen = bytearray(backlog.count)
        self._distinct = self._anonymous = 0
        self._outputs_without_number: set[str] = set()
        self.records = 0

    def add(self, value: bytes) -> None:
        """Raises :class:`WrongOutput`."""
        self.records += 1
        number = number_of(value)
        if number is None:
            self._anonymous += 1
            self._check_anonymous(value)
            return
        if number >= self._backlog.count:
            raise WrongOutput(f"of an event that was never sent: {value!r}")
        if not self._seen[number]:
            self._seen[number] = 1
            self._distinct += 1
        if number % _SAMPLED == 0 and msgspec.json.decode(value) != self._backlog.output(number):
            raise WrongOutput(f"{value!r} where {self._backlog.output(number)} was expected")

    def _check_anonymous(self, value: bytes) -> None:
        expected = self._outputs_without_number = (
            self._outputs_without_number or self._backlog.outputs_without_number()
        )
        if canonical(msgspec.json.decode(value)) not in expected:
            raise WrongOutput(f"of no event that was sent: {value!r}")

    @property
    def missing(self) -> int:
        """Events without an output. Those without a number can only be counted."""
        numbered = self._backlog.count - self._backlog.anonymous
        return numbered - self._distinct + max(0, self._backlog.anonymous - self._anonymous)

    @property
    def repeated(self) -> int:
        """Outputs beyond one an event."""
        return self.records + self.missing - self._backlog.count


class Output:
    """What a ``read_committed`` reader sees of a topic. May be read on when there is more.

    Raises ``NoLeaders`` when it is made, where nobody leads the topic's partitions.
    """

    def __init__(self, servers: str, topic: str, partitions: int, backlog: Backlog) -> None:
        self.account = Account(backlog)
        self.moments = array.array("q")
        """When brokers appended each record, epoch milliseconds."""
        self._servers, self._topic = servers, topic
        self._positions = dict.fromkeys(range(partitions), 0)
        self._admin = AdminClient({"bootstrap.servers": servers})
        # list_offsets() answers from the metadata that this client has, which says nothing of the topic yet.
        wait_for_leaders(self._admin, topic, partitions)

    def ends(self) -> dict[int, int]:
        """The end of each partition, as far as it is committed; markers of transactions take offsets, too."""
        wanted = {TopicPartition(self._topic, one): OffsetSpec.latest() for one in self._positions}
        found = self._admin.list_offsets(
            wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_TIMEOUT_S
        )
        return {where.partition: future.result().offset for where, future in found.items()}

    def read(self) -> None:
        """Read on to what is the end now. Raises :class:`WrongOutput`."""
        ends = self.ends()
        left = {partition for partition, end in ends.items() if end > self._positions[partition]}
        consumer = Consumer(
            {
                "bootstrap.servers": self._servers,
                "group.id": f"{self._topic}-reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                # What stands at an end may be a marker, which is not shown: this is how its end is known.
                "enable.partition.eof": True,
                "fetch.queue.backoff.ms": 20,
            }
        )
        consumer.assign([TopicPartition(self._topic, one, self._positions[one]) for one in sorted(left)])
        try:
            self._consume(consumer, left, ends)
        finally:
            consumer.close()

    def _consume(self, consumer: Consumer, left: set[int], ends: dict[int, int]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while left:
            if time.monotonic() > deadline:
                raise WrongOutput(f"{self._topic} could not be read to its end within {_PATIENCE_S} s")
            for message in consumer.consume(10_000, 0.2):
                partition, offset = message.partition() or 0, message.offset() or 0
                error = message.error()
                if error is None:
                    self.account.add(message.value() or b"")
                    self.moments.append(message.timestamp()[1])
                    offset += 1
                elif error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                self._positions[partition] = max(self._positions[partition], offset)
                if offset >= ends[partition]:
                    left.discard(partition)
