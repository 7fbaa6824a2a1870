"""Reads every topic back, as a reader of committed transactions, and says what is lost, duplicated or wrong.

No counter of any process is believed: the input is processed anew, record by record, and compared with what
stands in the output and dead-letter topics; the aggregates are compared with a recount of the output.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from supervisor.contract.faults import BrokersUnreachable, Fault
from supervisor.contract.settings import Settings
from supervisor.demo.comparison import Comparison, Record
from supervisor.demo.findings import Audit
from supervisor.demo.recount import Recount
from workers import pipeline
from workers.aggregates import Aggregates
from workers.decode import Processor

__all__ = ["Audit", "audit"]

_PATIENCE_S = 30.0
_BATCH = 2_000
_POLL_S = 0.05


def _nothing() -> None:
    return


def audit(settings: Settings, partitions: int, tick: Callable[[], None] = _nothing) -> Audit:
    """Audit all that stands in the topics of ``settings``, partition by partition, so that memory holds one.

    To be called once everything is processed: an event that is still to come counts as lost. ``tick`` is
    called several times a second, and may raise to end it. Raises :class:`BrokersUnreachable` where nothing
    can be read for half a minute, and :class:`Fault` where retention has removed records already.
    """
    loaded = pipeline.load(settings.app.pipeline)
    processor = Processor(loaded)
    dimensions = loaded.dimensions if settings.olap.aggregates else ()
    recount = Recount(dimensions, settings.olap.window_retention_s) if dimensions else None
    result = Audit()
    reader = _Reader(settings, tick)
    try:
        for partition in range(partitions):
            comparison = Comparison(processor, settings.topics.input.name, partition, result)
            for record in reader.records(settings.topics.input.name, partition):
                comparison.take_input(record)
            for record in reader.records(settings.topics.output.name, partition):
                comparison.take_output(record)
                if recount is not None and record.value is not None:
                    recount.take(partition, record.value, record.timestamp_ms)
            for record in reader.records(settings.topics.dlq.name, partition):
                comparison.take_dead_letter(record)
            comparison.end()
    finally:
        reader.close()
    if recount is not None:
        result.wrong_counts = recount.compare(_aggregates(settings, partitions))
    return result


def _aggregates(settings: Settings, partitions: int) -> dict[str, Any]:
    aggregates = Aggregates(settings, partitions)
    try:
        aggregates.read_to_end(_PATIENCE_S)
        return {window: aggregates.counts(window) for window in aggregates.windows()}
    except TimeoutError as error:
        raise BrokersUnreachable(str(error), "see that the brokers run, and try again") from error
    finally:
        aggregates.close()


class _Reader:
    """Whole partitions, one after the other."""

    def __init__(self, settings: Settings, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._consumer = Consumer(
            {
                **settings.kafka.client,
                "bootstrap.servers": settings.kafka.bootstrap_servers,
                "group.id": f"{settings.app.name}.audit",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                # Each partition is begun anew, and would wait for a look-up of its leader otherwise.
                "topic.metadata.refresh.fast.interval.ms": 10,
                "fetch.wait.max.ms": 50,
            }
        )

    def records(self, topic: str, partition: int) -> Iterator[Record]:
        """Every committed record from the first to the end as it is now."""
        self._require_complete(topic, partition)
        self._consumer.assign([TopicPartition(topic, partition, 0)])
        heard = time.monotonic()
        while True:
            messages = self._consumer.consume(_BATCH, _POLL_S)
            self._tick()
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > _PATIENCE_S:
                raise BrokersUnreachable(
                    f"{topic} partition {partition} could not be read for {_PATIENCE_S:.0f} s",
                    "see that the brokers run, and try again",
                )
            for message in messages:
                error = message.error()
                if error is None:
                    yield _record(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    return
                elif error.fatal() or not (error.retriable() or error.code() in _PASSING):
                    raise Fault(f"{topic} partition {partition} cannot be read: {error.str()}")

    def _require_complete(self, topic: str, partition: int) -> None:
        where = TopicPartition(topic, partition)
        try:
            # Fills the metadata that assign() needs; without it the first fetch waits a second for a refresh.
            self._consumer.list_topics(topic, timeout=_PATIENCE_S)
            low, _ = self._consumer.get_watermark_offsets(where, _PATIENCE_S, cached=False)
        except KafkaException as error:
            raise BrokersUnreachable(
                f"{topic} partition {partition} does not answer: {error.args[0].str()}",
                "see that the brokers run, and try again",
            ) from error
        if low > 0:
            raise Fault(
                f"{topic} partition {partition} begins at offset {low}: what came before was removed by "
                "retention, and cannot be audited"
            )

    def close(self) -> None:
        self._consumer.close()


_PASSING = (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT)


def _record(message: Any) -> Record:
    return Record(
        message.offset(), message.key(), message.value(), message.headers() or [], message.timestamp()[1]
    )
