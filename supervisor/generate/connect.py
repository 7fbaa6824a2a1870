"""A producer that is known to reach its topic."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from threading import Event
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from supervisor.config.refused import REFUSALS, refused
from supervisor.contract.faults import BrokersUnreachable, ConfigurationFault, Fault
from supervisor.contract.settings import Scalar

__all__ = ["connect", "partitions_of"]

_ATTEMPT_S = 3.0
# A topic that was just created is not known to every broker at once.
_NEW_TOPIC_S = 3.0
_DEFAULTS: dict[str, Scalar] = {
    "client.id": "supervisor-generate",
    "linger.ms": 10,
    "compression.type": "lz4",
    # A broker's restart takes half a minute, an election after a lost machine longer.
    "delivery.timeout.ms": 120_000,
    "queue.buffering.max.kbytes": 131_072,
    "reconnect.backoff.max.ms": 1_000,
    # The partition that the Java client would choose for the same key.
    "partitioner": "murmur2_random",
}
_REQUIRED: dict[str, Scalar] = {"enable.idempotence": True, "acks": "all", "delivery.report.only.error": True}
# librdkafka's own lines repeat each failed connection many times a second; what matters comes by error_cb.
_log = logging.getLogger("kafka.generate")
_log.addHandler(logging.NullHandler())


def connect(
    client: Mapping[str, Scalar],
    topic: str,
    timeout_s: float,
    stop: Event,
    on_error: Callable[[KafkaError], None],
    on_failed: Callable[[KafkaError, Any], None],
) -> tuple[Any, int]:
    """An idempotent producer, and the number of partitions of ``topic``; 0 if ``stop`` came first.

    Raises :class:`BrokersUnreachable` after ``timeout_s``, :class:`ConfigurationFault` for settings or
    credentials that are refused, :class:`Fault` if the topic does not exist.
    """
    servers = client.get("bootstrap.servers", "")
    errors: deque[KafkaError] = deque(maxlen=20)

    def heard(error: KafkaError) -> None:
        errors.append(error)
        on_error(error)

    producer = _producer(client, heard, on_failed)
    began = time.monotonic()
    while not stop.is_set():
        left_s = began + timeout_s - time.monotonic()
        try:
            # All topics: asking for one by name can create it.
            topics = producer.list_topics(timeout=max(0.1, min(_ATTEMPT_S, left_s))).topics
        except KafkaException as error:
            producer.poll(0)
            _refuse_login(errors)
            if left_s <= 0:
                raise _unreachable(servers, timeout_s, errors, error) from None
            continue
        if topic in topics and topics[topic].partitions:
            return producer, len(topics[topic].partitions)
        if time.monotonic() - began > _NEW_TOPIC_S:
            raise Fault(f"topic {topic} does not exist at {servers}", "supervisor topics apply")
        stop.wait(0.1)
    return producer, 0


def partitions_of(producer: Any, topic: str, known: int) -> int:
    """The topic's number of partitions now; ``known`` if the brokers do not say within half a second."""
    try:
        return len(producer.list_topics(topic, timeout=0.5).topics[topic].partitions) or known
    except (KafkaException, KeyError):
        return known


def _producer(
    client: Mapping[str, Scalar],
    on_error: Callable[[KafkaError], None],
    on_failed: Callable[[KafkaError, Any], None],
) -> Any:
    # delivery.timeout.ms is another name of message.timeout.ms, and librdkafka takes the last one set.
    config: dict[str, Any] = {**_DEFAULTS, **client, **_REQUIRED}
    try:
        return Producer({**config, "error_cb": on_error, "on_delivery": on_failed}, logger=_log)
    except REFUSALS as error:
        raise ConfigurationFault(refused(error, config), "correct kafka.client") from None


def _refuse_login(errors: Iterable[KafkaError]) -> None:
    for error in errors:
        if error.code() == KafkaError._AUTHENTICATION:
            raise ConfigurationFault(
                f"the brokers refused the login: {error.str()}", "correct the sasl.* settings in kafka.client"
            )


def _unreachable(
    servers: Scalar, timeout_s: float, errors: Iterable[KafkaError], last: KafkaException
) -> BrokersUnreachable:
    told = [error for error in errors if error.code() != KafkaError._ALL_BROKERS_DOWN]
    reason = told[-1] if told else last.args[0]
    return BrokersUnreachable(
        f"no answer from the brokers at {servers} within {timeout_s:g} s: {reason.str()}",
        "check kafka.bootstrap_servers and that the brokers run",
    )
