"""The aggregates topic: what the workers write there, and the one reader that merges their partials.

Every OLAP worker counts its own partitions, so a number is the sum over partitions of its latest
partials. A record's key is a JSON object of partition, window and dimensions, its value the same with the
count::

    {"partition":0,"window":"2026-11-23 10:15","dimensions":{"region":"East","time_flg":1},"count":17}

``window`` is ``"total"`` or a minute of event time, UTC. Counts only grow, and each record replaces the
one of the same key: the topic is compacted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, TopicPartition

from supervisor.contract.settings import Settings
from workers.olap.windows import Dimensions, Window, WindowedCounts

__all__ = ["Aggregates", "Partial", "records", "window_name"]


class Cell(msgspec.Struct, frozen=True):
    """What a count is of."""

    partition: int
    window: str
    dimensions: dict[str, Any]


class Partial(Cell, frozen=True):
    """One partition's share of a count."""

    count: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Partial).decode


def window_name(window: Window) -> str:
    """The window as the topic names it."""
    if window is None:
        return "total"
    return datetime.fromtimestamp(window * 60, UTC).isoformat(" ", "minutes")[:16]


def records(
    counts: WindowedCounts, partition: int, dimensions: tuple[str, ...]
) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of every partial that has changed."""
    for window, values, count in counts.changed():
        name, named = window_name(window), dict(zip(dimensions, values, strict=True))
        yield _encode(Cell(partition, name, named)), _encode(Partial(partition, name, named, count))


class Aggregates:
    """Reads the aggregates topic and merges the partials of all partitions.

    ``refresh()`` takes in what is new; ``counts(window)`` answers from memory. Readers see committed
    transactions only.
    """

    def __init__(self, settings: Settings, partitions: int) -> None:
        self._topic = settings.topics.aggregates.name
        self._consumer = Consumer(
            {
                **settings.kafka.client,
                "bootstrap.servers": settings.kafka.bootstrap_servers,
                "group.id": f"{settings.app.name}.aggregates-reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
            }
        )
        self._consumer.assign([TopicPartition(self._topic, p, 0) for p in range(partitions)])
        self._partitions = partitions
        # By window, dimensions and partition. By window first: there are thousands of them.
        self._partials: dict[str, dict[Dimensions, dict[int, int]]] = {}

    def refresh(self, timeout: float = 0.0) -> int:
        """Take in what has arrived, waiting at most ``timeout`` seconds; returns the number of records."""
        messages = self._consumer.consume(10_000, timeout)
        return sum(self._take(message) for message in messages)

    def read_to_end(self, patience_s: float = 30.0) -> None:
        """Read up to the present end of every partition.

        Raises ``TimeoutError`` if that is not reached within ``patience_s``.
        """
        ended: set[int] = set()
        deadline = time.monotonic() + patience_s
        while len(ended) < self._partitions:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._topic}: not read to its end within {patience_s:g} s")
            for message in self._consumer.consume(10_000, 0.1):
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition() or 0)
                else:
                    self._take(message)

    def _take(self, message: Any) -> bool:
        if message.error() is not None or message.value() is None:
            return False
        partial = _decode(message.value())
        dimensions = tuple(sorted(partial.dimensions.items(), key=str))
        window = self._partials.setdefault(partial.window, {})
        window.setdefault(dimensions, {})[partial.partition] = partial.count
        return True

    def counts(self, window: str = "total") -> Mapping[Dimensions, int]:
        """Counts of one window by its dimensions, as ``(name, value)`` pairs, summed over partitions."""
        found = self._partials.get(window, {})
        return {dimensions: sum(partials.values()) for dimensions, partials in found.items()}

    def windows(self) -> list[str]:
        """Every window there is, the total first, then by time."""
        return sorted(self._partials, key=lambda name: (name != "total", name))

    def by(self, dimension: str, window: str = "total") -> dict[Any, int]:
        """Counts of one window by one dimension, the largest first."""
        sums: dict[Any, int] = {}
        for dimensions, count in self.counts(window).items():
            value = dict(dimensions)[dimension]
            sums[value] = sums.get(value, 0) + count
        largest_first: Callable[[tuple[Any, int]], int] = lambda item: -item[1]  # noqa: E731
        return dict(sorted(sums.items(), key=largest_first))

    def close(self) -> None:
        self._consumer.close()
