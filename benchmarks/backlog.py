"""The input of the throughput benchmark: login events the same in every run, each to be told apart."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from supervisor.generate.events import events
from workers.logins import Event, enrich

__all__ = [
    "Backlog",
    "NoLeaders",
    "canonical",
    "create_topic",
    "delete_topics",
    "number_of",
    "wait_for_leaders",
]

_SEED = 1
_DISTINCT = 50_000
_START = 1_760_000_000
_PER_SECOND = 500
"""How fast users logged in, by the events' own time."""
_CHUNK = 1_000
"""This many events in a row go to one partition, then the next one gets as many."""
_DEVICE = b'"device_id":"'
_NUMBERED = re.compile(rb'"device_id": ?"00000000-0000-4000-8000-(\d{12})"')
_FLUSH_S = 300
_READY_S = 30


class NoLeaders(RuntimeError):
    """Brokers have not agreed on who leads a topic's partitions."""


class Backlog:
    """``count`` login events. The n-th has n in its device id, unless it is one of the few without."""

    def __init__(self, count: int) -> None:
        self.count = count
        tick = itertools.count()
        drawn = events(_SEED, clock=lambda: _START + next(tick) // _PER_SECOND)
        self._parts = [_split(value or b"") for _, value in islice(drawn, _DISTINCT)]
        self._anonymous = [number for number, (_, tail) in enumerate(self._parts) if tail is None]
        whole, rest = divmod(count, _DISTINCT)
        self.anonymous = whole * len(self._anonymous) + sum(number < rest for number in self._anonymous)
        """How many have no device id to be told apart by."""

    def value(self, number: int) -> bytes:
        head, tail = self._parts[number % _DISTINCT]
        return head if tail is None else b"%b00000000-0000-4000-8000-%012d%b" % (head, number, tail)

    def output(self, number: int) -> dict[str, Any]:
        """What the login pipeline has to make of it."""
        return _processed(self.value(number))

    def outputs_without_number(self) -> set[str]:
        """Of all that have no device id, as :func:`canonical` writes them."""
        return {canonical(self.output(number)) for number in self._anonymous if number < self.count}

    def mean_bytes(self) -> float:
        some = min(self.count, _DISTINCT)
        return sum(len(self.value(number)) for number in range(some)) / some

    def load(self, servers: str, topic: str, partitions: int) -> None:
        """Create the topic and send everything. Raises ``RuntimeError`` where brokers do not take it."""
        create_topic(servers, topic, partitions)
        producer = Producer(
            {
                "bootstrap.servers": servers,
                "enable.idempotence": True,
                "linger.ms": 50,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        for number, chunk in enumerate(self._chunks()):
            producer.poll(0)
            while chunk:
                producer.produce_batch(topic, chunk, partition=number % partitions)
                chunk = [{"value": record["value"]} for record in chunk if "_error" in record]
                producer.poll(0.1 if chunk else 0)
        if producer.flush(_FLUSH_S):
            raise RuntimeError(f"{topic} could not be filled within {_FLUSH_S} s")

    def _chunks(self) -> Iterator[list[dict[str, Any]]]:
        for start in range(0, self.count, _CHUNK):
            end = min(self.count, start + _CHUNK)
            yield [{"value": self.value(number)} for number in range(start, end)]


def number_of(output: bytes) -> int | None:
    """The number of the event that an output was made of, if it has one."""
    found = _NUMBERED.search(output)
    return int(found[1]) if found else None


def canonical(output: dict[str, Any]) -> str:
    return json.dumps(output, sort_keys=True)


def _split(value: bytes) -> tuple[bytes, bytes | None]:
    """What stands before and behind the value of the device id; the whole and nothing where it has none."""
    start = value.find(_DEVICE)
    if start < 0:
        return value, None
    start += len(_DEVICE)
    return value[:start], value[value.index(b'"', start) :]


def _processed(value: bytes) -> dict[str, Any]:
    output, _ = enrich(msgspec.json.decode(value, type=Event))
    return dict(msgspec.json.decode(msgspec.json.encode(output)))


def create_topic(servers: str, topic: str, partitions: int, **config: str) -> None:
    """Three copies, of which two must have a record; returns when each partition has a leader."""
    admin = AdminClient({"bootstrap.servers": servers})
    settings = {"min.insync.replicas": "2", "file.delete.delay.ms": "1000", **config}
    admin.create_topics([NewTopic(topic, partitions, 3, config=settings)])[topic].result()
    wait_for_leaders(admin, topic, partitions)


def delete_topics(servers: str, prefix: str) -> None:
    """Delete the topics of a run, whose names begin so. What stays costs those who come later: followers ask
    for all of a broker's partitions at once, and three brokers of 500 events/s took 0.45 CPUs alone, and 0.75
    beside 160 partitions without a record."""
    admin = AdminClient({"bootstrap.servers": servers})
    names = [name for name in admin.list_topics(timeout=_READY_S).topics if name.startswith(prefix)]
    for future in admin.delete_topics(names).values() if names else ():
        future.result()


def wait_for_leaders(admin: AdminClient, topic: str, partitions: int) -> None:
    """Return when ``admin`` knows a leader of each partition, and each says that it is. A broker may name a
    leader that has not heard of it yet. Raises :class:`NoLeaders`."""
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        found = admin.list_topics(topic, timeout=_READY_S).topics[topic].partitions
        known = len(found) == partitions and all(one.leader >= 0 for one in found.values())
        if known and _lead(admin, topic, partitions):
            return
        time.sleep(0.05)
    raise NoLeaders(f"{topic} has no leaders after {_READY_S} s")


def _lead(admin: AdminClient, topic: str, partitions: int) -> bool:
    asked = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in range(partitions)}
    answers = admin.list_offsets(asked, request_timeout=_READY_S).values()
    return all(answer.exception() is None for answer in answers)
