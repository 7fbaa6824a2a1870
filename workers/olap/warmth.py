"""Clients that are connected before there is a role: what a replacement would else wait for.

A new consumer has to find its brokers, the group's coordinator and the leaders of the partitions, and
connects to each: half a second and more, and Kafka's whole part of a restart waits for it. So a process
without a role does this at leisure. A consumer can do it, since all partitions share one group; a producer
cannot, since its transactional id is that of a partition (``workers/olap/preparation.py``).

It is done by a thread, which holds no lock and shares nothing but what it hands over in one assignment: a
role is taken at once, whatever the thread is doing. What goes wrong in it is of no interest. The topics may
not be there yet, the brokers may be away: then nothing is warm, and the role opens its clients as it would
have without.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import NamedTuple, Protocol

from confluent_kafka import Consumer, KafkaException, TopicPartition

from supervisor.contract.settings import Settings
from workers.errors import WorkerError
from workers.kafka import client

__all__ = ["WarmClients", "Warmth", "close_beside"]

_log = logging.getLogger("kafka")
_FIRST_PAUSE_S = 0.1
_RETRY_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
# Brokers hang up on whom they have not heard for ten minutes (connections.max.idle.ms).
_KEEP_ALIVE_S = 120.0
_TIMEOUT_S = 5.0


class WarmClients(NamedTuple):
    """Connected, and assigned to nothing."""

    consumer: Consumer
    """For the input."""
    changelog: Consumer
    """For the changelog."""


class Warmth:
    """Connects clients while the process waits for its role."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ended = threading.Event()
        self._clients: WarmClients | None = None
        with contextlib.suppress(RuntimeError):  # no thread can be had; then nothing is warm
            threading.Thread(target=self._run, name="warmth", daemon=True).start()

    @property
    def ready(self) -> bool:
        """Whether there is something to be taken."""
        return self._clients is not None

    def take(self) -> WarmClients | None:
        """What is connected by now, if anything; never waits. Nothing more is connected after that.

        The thread may be asking the same clients something at this moment, which they bear.
        """
        self._ended.set()
        clients, self._clients = self._clients, None
        return clients

    def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        failures = 0
        while not self._ended.wait(pause):
            clients = self._clients or self._create()
            if clients is not None and self._connect(clients):
                failures, pause = 0, _KEEP_ALIVE_S
                if self._clients is None and not self._ended.is_set():
                    # Were they taken in this very moment, nobody would have them: they end with the process.
                    self._clients = clients
                continue
            self._clients = None  # connections may be lost, or lead to brokers that have moved
            del clients
            pause = min(_LONGEST_PAUSE_S, _RETRY_PAUSE_S * 2**failures)
            failures = min(failures + 1, 10)

    def _create(self) -> WarmClients | None:
        """``None`` where the settings are refused: the role says so, to somebody who hears it."""
        try:
            return WarmClients(
                client.make(Consumer, client.olap_consumer(self._settings)),
                client.make(Consumer, client.changelog_consumer(self._settings)),
            )
        except WorkerError as error:
            _log.debug("nothing is connected ahead: %s", error)
            return None

    def _connect(self, clients: WarmClients) -> bool:
        """Ask the clients what their roles will ask them; whether all of it was answered."""
        topics = self._settings.topics
        try:
            for consumer, topic in (
                (clients.consumer, topics.input.name),
                (clients.changelog, topics.changelog.name),
            ):
                leaders = _leaders(consumer, topic)
                if not leaders:
                    return False
                for partition in _one_of_each(leaders):
                    if self._ended.is_set():
                        return True
                    where = TopicPartition(topic, partition)
                    consumer.get_watermark_offsets(where, _TIMEOUT_S, cached=False)
            # The way to the group's coordinator.
            clients.consumer.committed([TopicPartition(topics.input.name, 0)], timeout=_TIMEOUT_S)
        except (KafkaException, RuntimeError) as error:  # RuntimeError: taken, used and closed already
            _log.debug("nothing is connected ahead: %s", error)
            return False
        return True


class _Closable(Protocol):
    def close(self) -> None: ...


def close_beside(*clients: _Closable) -> None:
    """Close consumers, or what has one, in a thread of their own."""
    if not clients:
        return

    def close() -> None:
        for one in clients:
            one.close()

    with contextlib.suppress(RuntimeError):  # no thread can be had; then they end with the process
        threading.Thread(target=close, name="close", daemon=True).start()


def _leaders(consumer: Consumer, topic: str) -> dict[int, int]:
    """The leader of each partition, and none where the topic is not there (yet)."""
    found = consumer.list_topics(topic, timeout=_TIMEOUT_S).topics.get(topic)
    if found is None or found.error is not None:
        return {}
    return {number: partition.leader for number, partition in found.partitions.items()}


def _one_of_each(leaders: dict[int, int]) -> list[int]:
    return list({leader: partition for partition, leader in leaders.items() if leader >= 0}.values())
