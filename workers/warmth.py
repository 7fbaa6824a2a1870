"""Clients that are connected before there is a role: what a replacement would else wait for.

A new consumer has to find its brokers, the group's coordinator and the leaders of the partitions, and
connects to each: half a second and more, and Kafka's whole part of a restart waits for it. So a process
without a role does this at leisure. A consumer can do it, since all partitions share one group; a producer
cannot, since its transactional id is that of a partition. Where it is known which partitions come next, as
in a rolling reload, theirs are connected, too, while the former owner finishes.

It is done by threads, which hold no lock and share nothing but what each hands over in one assignment: a
role is taken at once, whatever the thread is doing. What goes wrong in it is of no interest. The topics may
not be there yet, the brokers may be away: then nothing is warm, and the role opens its clients as it would
have without.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from supervisor.contract.settings import Settings
from workers import client
from workers.errors import WorkerError
from workers.transaction import Transaction

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

    def __init__(self, settings: Settings, transaction: Callable[[int], Transaction]) -> None:
        """``transaction`` makes that of a partition."""
        self._settings = settings
        self._transaction = transaction
        self._transactions: dict[int, Transaction] = {}
        self._ended = threading.Event()
        self._clients: WarmClients | None = None
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

    def take_transactions(self) -> dict[int, Transaction]:
        """Those that are connected by now, by partition; none is open. To be called behind :meth:`take`."""
        transactions, self._transactions = self._transactions, {}
        return transactions

    def prepare(self, partitions: Iterable[int]) -> None:
        """Begin to connect the transactions of these: they are likely to be the role's."""
        with contextlib.suppress(RuntimeError):  # no thread can be had; then the role connects them
            threading.Thread(target=self._prepare, args=(partitions,), name="warmth", daemon=True).start()

    def _prepare(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            try:
                transaction = self._transaction(partition)
                transaction.connect()
            except (KafkaException, WorkerError) as error:
                _log.debug("nothing is connected ahead: %s", error)
                return
            self._transactions[partition] = transaction
            # The role may have been taken meanwhile. If that was before the line above, nobody takes this one
            # any more, and it would live as long as the process.
            if self._ended.is_set():
                self._transactions.pop(partition, None)
                return

    def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        failures = 0
        while not self._ended.wait(pause):
            clients = self._clients or self._create()
            if self._connect(clients):
                failures, pause = 0, _KEEP_ALIVE_S
                if self._clients is None and not self._ended.is_set():
                    # Were they taken in this very moment, nobody would have them: they end with the process.
                    self._clients = clients
                continue
            self._clients = None  # connections may be lost, or lead to brokers that have moved
            del clients
            pause = min(_LONGEST_PAUSE_S, _RETRY_PAUSE_S * 2**failures)
            failures = min(failures + 1, 10)

    def _create(self) -> WarmClients:
        return WarmClients(
            Consumer(client.olap_consumer(self._settings)),
            Consumer(client.changelog_consumer(self._settings)),
        )

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


def close_beside(*consumers: Consumer) -> None:
    """Close consumers in a thread of their own."""

    def close() -> None:
        for consumer in consumers:
            consumer.close()

    threading.Thread(target=close, name="close", daemon=True).start()


def _leaders(consumer: Consumer, topic: str) -> dict[int, int]:
    """The leader of each partition, and none where the topic is not there (yet)."""
    found = consumer.list_topics(topic, timeout=_TIMEOUT_S).topics.get(topic)
    if found is None or found.error is not None:
        return {}
    return {number: partition.leader for number, partition in found.partitions.items()}


def _one_of_each(leaders: dict[int, int]) -> list[int]:
    return list({leader: partition for partition, leader in leaders.items() if leader >= 0}.values())
