"""librdkafka settings per purpose, in one place, with the reason for each.

``kafka.client`` of the configuration passes through under all of them; what a worker's guarantees rest on
(ids, isolation, idempotence) is set last and cannot be overridden.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from supervisor.config.refused import REFUSALS, refused, said
from supervisor.contract.exits import WorkerExit
from supervisor.contract.settings import Settings
from workers.errors import BrokersAway, WorkerError

__all__ = [
    "changelog_consumer",
    "committed_offsets",
    "failed",
    "lookup_failed",
    "make",
    "olap_consumer",
    "olap_group",
    "olap_producer",
    "passes",
    "probe",
    "realtime_consumer",
    "refusal",
    "transactional_id",
]

_log = logging.getLogger("kafka")

Config = dict[str, Any]
_Client = TypeVar("_Client")

_LINGER_MS = 2_000


def _quick_connection(settings: Settings, role: str) -> Config:
    """Reconnect and look up quickly: a restart's gap is made of these waits."""
    return {
        # What brokers log, measure and limit by quotas: each role by itself.
        "client.id": f"{settings.app.name}.{role}",
        "topic.metadata.refresh.fast.interval.ms": 10,
        "reconnect.backoff.ms": 10,
        "reconnect.backoff.max.ms": 1_000,
        "retry.backoff.ms": 20,
        "retry.backoff.max.ms": 500,
        "socket.nagle.disable": True,
        # Everything it would print goes through our log instead.
        "logger": _log,
        "log.connection.close": False,
        **settings.kafka.client,
        "bootstrap.servers": settings.kafka.bootstrap_servers,
    }


def transactional_id(settings: Settings, partition: int) -> str:
    """One per partition of the input: whoever owns the partition uses it, and so fences its predecessor."""
    return f"{settings.app.name}.{settings.topics.input.name}.{partition}"


def olap_group(settings: Settings) -> str:
    """The consumer group that has the committed offsets. Nobody is ever a member of it."""
    return f"{settings.app.name}.olap"


def olap_producer(settings: Settings, partition: int) -> Config:
    return {
        **_quick_connection(settings, "olap"),
        # A transaction ends by commit, which flushes. Until then only full batches are sent: one that is due
        # while another is under way would cost a CPU (Producer.settle).
        "linger.ms": min(_LINGER_MS, settings.olap.transaction_timeout_ms // 2),
        "compression.type": "lz4",
        "batch.size": 1_000_000,
        "batch.num.messages": 20_000,
        # A whole transaction fits, so that produce_batch never finds the queue full in ordinary running.
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": 1_048_576,
        "message.max.bytes": 2_000_000,
        # Sending offsets waits for as long as a request may, whatever it is told; by default that is for as
        # long as a transaction may take.
        "socket.timeout.ms": min(30_000, max(900, settings.olap.transaction_timeout_ms - 100)),
        **settings.kafka.client,
        "bootstrap.servers": settings.kafka.bootstrap_servers,
        "enable.idempotence": True,
        "transactional.id": transactional_id(settings, partition),
        "transaction.timeout.ms": settings.olap.transaction_timeout_ms,
    }


def olap_consumer(settings: Settings) -> Config:
    return {
        **_quick_connection(settings, "olap"),
        # With one consumer a partition these are per partition. When the queue is full, librdkafka waits for
        # fetch.queue.backoff.ms, a second by default: the classic once-a-second stall (librdkafka #2879).
        "queued.min.messages": 50_000,
        "queued.max.messages.kbytes": 16_384,
        "fetch.queue.backoff.ms": 20,
        "fetch.wait.max.ms": 100,
        "fetch.message.max.bytes": 4_194_304,
        **settings.kafka.client,
        "bootstrap.servers": settings.kafka.bootstrap_servers,
        "group.id": olap_group(settings),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
        # Behind the last record there may be markers of transactions, which take offsets and are no lag; and
        # a restoring worker knows by the end of the changelog that it has read all of it.
        "enable.partition.eof": True,
    }


def changelog_consumer(settings: Settings) -> Config:
    """For the changelog alone. A broker answers the requests of one connection one after the other: behind a
    fetch that waits at the end of a partition everything else waits, too. Who reads the changelog with the
    consumer of the input gets the input's first records that much later."""
    return {
        **olap_consumer(settings),
        # It lives for moments, and only asks for more where there is more, or an end to be told.
        "fetch.wait.max.ms": 5,
    }


def realtime_consumer(settings: Settings) -> Config:
    return {
        **_quick_connection(settings, "realtime"),
        # The broker answers as soon as there is one byte; a waiting fetch costs nothing.
        "fetch.min.bytes": 1,
        "fetch.wait.max.ms": 500,
        "fetch.queue.backoff.ms": 5,
        # Little is fetched ahead: behind a long queue even the newest event would be old.
        "queued.min.messages": 5_000,
        "queued.max.messages.kbytes": 4_096,
        "fetch.message.max.bytes": 262_144,
        **settings.kafka.client,
        "bootstrap.servers": settings.kafka.bootstrap_servers,
        "group.id": f"{settings.app.name}.realtime",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
    }


def probe(settings: Settings) -> Config:
    return _quick_connection(settings, "probe")


def make(kind: Callable[[Config], _Client], config: Config) -> _Client:
    """A client of one ``kind`` with these settings.

    Raises :class:`WorkerError` where they are refused: that is the configuration's fault, and a successor
    would meet the same. Some are refused by one kind only, or beside what that one is made with.
    """
    try:
        return kind(config)
    except REFUSALS as error:
        if isinstance(error, KafkaException) and error.args[0].code() == KafkaError._CRIT_SYS_RESOURCE:
            # Threads or memory were short at this moment, which is nobody's configuration.
            raise WorkerError(f"no Kafka client can be made: {said(error)}") from error
        raise WorkerError(
            refused(error, config),
            "correct kafka.client; `supervisor config check` tries it out",
            WorkerExit.CONFIGURATION,
        ) from error


# What brokers say while they come and go. ``retriable()`` does not know: it is always False for an error that
# comes with a message or a partition. A topic that is not in the metadata for a while is among them: its
# records are still there when it is back, and if they are not, the offsets say so.
_PASSING = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._WAIT_COORD,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    }
)
_STEP_S = 0.1


def passes(error: KafkaError) -> bool:
    """Whether an error goes away by itself: the client tries again, and so may we."""
    return not error.fatal() and (error.retriable() or error.code() in _PASSING)


def committed_offsets(
    consumer: Consumer, where: list[TopicPartition], timeout_s: float
) -> dict[int, int | None]:
    """The group's offset of each partition, ``None`` where there is none.

    A coordinator that is moving is waited for: librdkafka gives its errors to the caller at once, the worker
    would end, and the next one meet the same. Raises ``KafkaException``.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            found = consumer.committed(where, timeout=timeout_s)
            for place in found:
                if place.error is not None:
                    raise KafkaException(place.error)
        except KafkaException as error:
            if not passes(error.args[0]) or time.monotonic() > deadline:
                raise
            time.sleep(_STEP_S)
        else:
            return {place.partition: place.offset if place.offset >= 0 else None for place in found}


_REFUSED = frozenset(
    {
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,
    }
)


def refusal(error: KafkaError, cause: str) -> WorkerError | None:
    """The end of a worker whose client the brokers refuse, if that is what ``error`` says."""
    if error.code() not in _REFUSED or passes(error):
        return None
    return WorkerError(cause, "check the ACLs and credentials of kafka.client", WorkerExit.CONFIGURATION)


def failed(error: KafkaError, what: str) -> WorkerError:
    """The end of a worker by an error that does not pass; ``what`` cannot be done, or whose it is."""
    cause = f"{what}: {error.str()} ({error.name()})"
    return refusal(error, cause) or WorkerError(cause)


def lookup_failed(error: KafkaException, whose: str) -> WorkerError:
    """What a failed look-up of offsets or metadata means for the worker."""
    kafka_error: KafkaError = error.args[0]
    if passes(kafka_error):
        return BrokersAway(f"{whose}: the brokers did not answer: {kafka_error.str()} ({kafka_error.name()})")
    return failed(kafka_error, whose)
