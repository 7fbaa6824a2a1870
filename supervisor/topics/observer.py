"""The cluster as structs: what the brokers together say of topics, and what each knows for itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial
from threading import Semaphore, Thread
from typing import Any, TypeVar

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]

from supervisor.topics.connection import POLL_S, Connection, Deadline, Unsettled, error_of
from supervisor.topics.model import Broker, BrokerView, Observed, ObservedTopic, Partition, TopicView

__all__ = ["Observer"]

_VIEWS_AT_ONCE = 8

_T = TypeVar("_T")


class Observer:
    """Looks at topics."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def observe(self, topics: Sequence[str], deadline: Deadline) -> Observed:
        """The live brokers, and those of ``topics`` that exist. Asks again until the deadline."""
        while True:
            try:
                return self._observe(topics, deadline)
            except Unsettled as unsettled:
                if deadline.passed():
                    raise self._connection.unreachable(deadline, str(unsettled)) from None
            self._connection.begin_again(deadline)

    def views(
        self, topics: Sequence[str], brokers: Sequence[Broker], deadline: Deadline
    ) -> list[BrokerView | None]:
        """Ask every broker for itself what it knows of ``topics``; None for one that does not answer."""
        timeout_s = self._connection.allowed_s(deadline)
        turn = Semaphore(_VIEWS_AT_ONCE)

        def view(broker: Broker) -> BrokerView | None:
            with turn:
                return self._view(broker, topics, timeout_s)

        views = [_beside(partial(view, broker)) for broker in brokers]
        self._connection.heed()
        while wait(views, timeout=POLL_S).not_done:
            self._connection.heed()
        return [future.result() for future in views]

    def _observe(self, topics: Sequence[str], deadline: Deadline) -> Observed:
        self._connection.heed()
        self._connection.forget_errors()
        limits = {"request_timeout": self._connection.allowed_s(deadline)}
        resources = {ConfigResource(ResourceType.TOPIC, name): name for name in topics}
        client = self._connection.client
        cluster = client.describe_cluster(**limits)
        described: dict[str, Future[Any]] = {}
        configs: dict[ConfigResource, Future[Any]] = {}
        if topics:
            described = client.describe_topics(TopicCollection(list(topics)), **limits)
            configs = client.describe_configs(list(resources), **limits)
        self._connection.until_done([cluster, *described.values(), *configs.values()])
        nodes = self._connection.result(cluster, "cannot describe the cluster")
        found = {
            name: self._connection.existing(future, f"cannot describe topic {name}")
            for name, future in described.items()
        }
        values = {
            resources[resource]: self._connection.existing(
                future, f"cannot read the configuration of {resources[resource]}"
            )
            for resource, future in configs.items()
        }
        return Observed(
            cluster_id=nodes.cluster_id or "",
            brokers=tuple(
                sorted((Broker(n.id, n.host, n.port) for n in nodes.nodes), key=lambda broker: broker.id)
            ),
            topics=_existing_topics(found, values),
        )

    def _view(self, broker: Broker, topics: Sequence[str], timeout_s: float) -> BrokerView | None:
        """A client that starts at one broker may be answered by another as soon as it has learnt of it, so
        the answer's origin is compared; such a client has done its duty after one answer."""
        deadline = Deadline(timeout_s)
        address = f"{broker.host}:{broker.port}"
        while not deadline.passed():
            client = self._connection.connect(address)
            try:
                seen = client.list_topics(timeout=max(deadline.left_s(), POLL_S))
            except KafkaException:
                return None
            self._connection.note_answer()
            if seen.orig_broker_id == broker.id or _address(seen.orig_broker_name) == _plain(address):
                known = [name for name in topics if name in seen.topics]
                values = _configs_at(client, broker, known, timeout_s)
                return {
                    name: TopicView(sum(p.leader >= 0 for p in seen.topics[name].partitions.values()), config)
                    for name, config in values.items()
                }
        return None


def _beside(act: Callable[[], _T]) -> Future[_T]:
    """What ``act`` returns or raises, from a thread that nobody has to wait for.

    Not from an executor's: a program waits for these at its end, and a broker that hangs may keep one long.
    """
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(act())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def _configs_at(
    client: Any, broker: Broker, topics: Sequence[str], timeout_s: float
) -> dict[str, dict[str, str | None]]:
    """Values in force as this broker knows them; topics that it cannot tell about are left out."""
    resources = {ConfigResource(ResourceType.TOPIC, name): name for name in topics}
    if not resources:
        return {}
    answers = client.describe_configs(list(resources), broker=broker.id, request_timeout=timeout_s)
    return {
        resources[resource]: _values(future.result())
        for resource, future in answers.items()
        if error_of(future) is None
    }


def _values(entries: Mapping[str, Any]) -> dict[str, str | None]:
    return {key: entry.value for key, entry in entries.items()}


def _existing_topics(found: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, ObservedTopic]:
    """Two requests, answered perhaps by two brokers: one of them may not know a new topic yet."""
    topics = {}
    for name, description in found.items():
        if (description is None) != (values[name] is None):
            raise Unsettled(f"topic {name} is not known to every broker yet")
        if description is not None:
            partitions = sorted(map(_partition, description.partitions), key=lambda partition: partition.id)
            topics[name] = ObservedTopic(tuple(partitions), _values(values[name]), _topic_id(description))
    return topics


def _topic_id(description: Any) -> str:
    """Nothing for brokers that know of no ids: they have zeros."""
    found = description.topic_id
    known = found is not None and (found.get_most_significant_bits() or found.get_least_significant_bits())
    return str(found) if known else ""


def _partition(info: Any) -> Partition:
    leader = info.leader.id if info.leader is not None and info.leader.id >= 0 else None
    return Partition(info.id, leader, tuple(n.id for n in info.replicas), tuple(n.id for n in info.isr))


def _address(origin: str) -> str:
    """``sasl_ssl://host:9092/bootstrap`` names host:9092."""
    return _plain(origin.rpartition("://")[2].rpartition("/")[0])


def _plain(address: str) -> str:
    """Without the brackets that an IPv6 address may or may not bear."""
    return address.replace("[", "").replace("]", "").lower()
