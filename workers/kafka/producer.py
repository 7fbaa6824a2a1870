"""A transactional producer over librdkafka's C interface, whose records go in by the batch.

Why not ``confluent_kafka.Producer``: there a record is a dict that is made, looked into six times and freed,
and what becomes of it is reported back to Python one by one, although inside a transaction it is the commit
that says so. Here the records of a batch are one block of memory and an array of pointers into it, and
nothing is reported: docs/architecture.md has what that saves.
"""

from __future__ import annotations

import ctypes
import logging
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from workers.kafka.librdkafka import LOG_CALLBACK, NOTHING, api, check, configuration, setting
from workers.kafka.records import COPY, Headers, Records, single

__all__ = ["Producer"]

_PRODUCER = 0  # RD_KAFKA_PRODUCER
_TEXT_SIZE = 512
_ALMOST = 0.9
# syslog's eight levels
_LEVELS = (50, 50, 50, logging.ERROR, logging.WARNING, logging.INFO, logging.INFO, logging.DEBUG)


class Producer:
    """One transactional id. Raises ``KafkaException``, but for :meth:`poll`, :meth:`settle`, :meth:`flush`
    and :meth:`reach`.

    Times are seconds. To be used by one thread at a time, :meth:`settle`, :meth:`flush` and :meth:`reach`
    apart. Destroyed with the object; what is not flushed by then is dropped.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        """``config`` is librdkafka's; ``logger`` is where its log goes, whenever :meth:`poll` is called."""
        settings = dict(config)
        logger = settings.pop("logger", None) or logging.getLogger("kafka")
        conf = configuration({**settings, "log.queue": True})
        log = _log_callback(logger)
        api.rd_kafka_conf_set_log_cb(conf, log)
        # Delivery reports, to nobody: they wake who waits in flush(), which otherwise looks each 10 ms only.
        api.rd_kafka_conf_set_dr_msg_cb(conf, NOTHING)
        # What goes to an error callback is in the log already, and would be there a second time without one.
        api.rd_kafka_conf_set_error_cb(conf, NOTHING)
        self._batch_bytes = int(setting(conf, "batch.size"))
        self._batch_records = int(setting(conf, "batch.num.messages"))
        text = ctypes.create_string_buffer(_TEXT_SIZE)
        self._client = api.rd_kafka_new(_PRODUCER, conf, text, _TEXT_SIZE)
        if self._client is None:
            code = api.rd_kafka_last_error()
            api.rd_kafka_conf_destroy(conf)
            raise KafkaException(KafkaError(code, text.value.decode("utf-8", "replace")))
        api.rd_kafka_set_log_queue(self._client, None)  # its own, which poll() serves
        self._topics: dict[str, int] = {}
        self._records = Records()
        self._count = self._bytes = 0
        # Not at the interpreter's end: a process that ends has nobody to wait for.
        weakref.finalize(self, _destroy, self._client, self._topics, log).atexit = False

    def connect(self, topics: Iterable[str], timeout_s: float) -> None:
        """Return when a broker has said where the partitions of ``topics`` are."""
        for topic in topics:
            self._topic(topic)
        metadata = ctypes.c_void_p()
        code = api.rd_kafka_metadata(self._client, 0, None, ctypes.byref(metadata), _ms(timeout_s))
        if code:
            raise KafkaException(KafkaError(code))
        api.rd_kafka_metadata_destroy(metadata)

    def reach(self, topic: str, partition: int, timeout_s: float) -> None:
        """Be connected to the leader of a partition; nothing where it does not answer.

        librdkafka connects to brokers when it has something for them, and has no call for that alone: the
        leader is asked where the partition ends. May run beside everything else.
        """
        low, high = ctypes.c_int64(), ctypes.c_int64()
        api.rd_kafka_query_watermark_offsets(
            self._client,
            topic.encode(),
            partition,
            ctypes.addressof(low),
            ctypes.addressof(high),
            _ms(timeout_s),
        )

    def poll(self, timeout_s: float) -> None:
        """Log what librdkafka has to say, and let go of records that are written; wait for either."""
        api.rd_kafka_poll(self._client, _ms(timeout_s))

    def flush(self, timeout_s: float) -> bool:
        """Send what lingers, and wait until it is written; returns whether nothing is left to be."""
        return not api.rd_kafka_flush(self._client, _ms(timeout_s))

    def settle(self, patience_s: float) -> None:
        """Wait until what is left to be written is less than a full request, or nothing was for so long.

        To be called before a flush that may find more than that. An idempotent producer has one request to a
        partition under way at a time. Records that are due, by lingering or by a flush, and have to wait for
        it have librdkafka's thread turn without a rest until it is answered (rd_kafka_toppar_producer_serve:
        it is to wake up when they are due, and that has passed). A full request goes out without being due.
        """
        left, moved_s = self._left(), time.monotonic()
        while left >= self._full() and (rest_s := moved_s + patience_s - time.monotonic()) > 0:
            self.poll(rest_s)
            if (now_left := self._left()) != left:
                left, moved_s = now_left, time.monotonic()

    def _left(self) -> int:
        """How many records are not written yet."""
        return int(api.rd_kafka_outq_len(self._client))

    def _full(self) -> float:
        """How many records fill a request; about nine tenths, since its frame is counted, too."""
        mean = max(1.0, self._bytes / max(1, self._count))
        return _ALMOST * min(self._batch_records, self._batch_bytes / mean)

    def init_transactions(self, timeout_s: float) -> None:
        check(api.rd_kafka_init_transactions(self._client, _ms(timeout_s)))

    def begin_transaction(self) -> None:
        check(api.rd_kafka_begin_transaction(self._client))

    def commit_transaction(self, timeout_s: float) -> None:
        """Flush and commit."""
        check(api.rd_kafka_commit_transaction(self._client, _ms(timeout_s)))

    def abort_transaction(self, timeout_s: float) -> None:
        check(api.rd_kafka_abort_transaction(self._client, _ms(timeout_s)))

    def send_offsets(self, group: str, topic: str, partition: int, offset: int, timeout_s: float) -> None:
        """Put the group's offset into the transaction, for a group that nobody is a member of."""
        metadata = api.rd_kafka_consumer_group_metadata_new(group.encode())
        offsets = api.rd_kafka_topic_partition_list_new(1)
        try:
            name = topic.encode()
            api.rd_kafka_topic_partition_list_add(offsets, name, partition)
            api.rd_kafka_topic_partition_list_set_offset(offsets, name, partition, offset)
            check(api.rd_kafka_send_offsets_to_transaction(self._client, offsets, metadata, _ms(timeout_s)))
        finally:
            api.rd_kafka_topic_partition_list_destroy(offsets)
            api.rd_kafka_consumer_group_metadata_destroy(metadata)

    def produce_batch(
        self,
        topic: str,
        partition: int,
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None],
    ) -> list[tuple[int, int]]:
        """Add records to the transaction, in order; a value or key of ``None`` is null.

        Returns the places of those that were not taken, each with the code of ``KafkaError`` that says why.
        """
        count = len(values)
        # What the pointers point into; librdkafka has copied it when the call returns.
        held = self._records.fill(values, keys)
        taken = api.rd_kafka_produce_batch(self._topic(topic), partition, COPY, self._records.address, count)
        self._count += count
        self._bytes += sum(map(len, held))
        del held
        return [] if taken == count else self._records.refused(count)

    def produce(
        self, topic: str, partition: int, value: bytes | None, key: bytes | None, headers: Headers
    ) -> None:
        """Add one record, which may have headers, to the transaction."""
        with single(self._topic(topic), partition, value, key, headers) as (parts, count):
            check(api.rd_kafka_produceva(self._client, parts, count))

    def _topic(self, name: str) -> int:
        found = self._topics.get(name)
        if found is None:
            found = api.rd_kafka_topic_new(self._client, name.encode(), None)
            if found is None:
                # Of settings that do not go together, librdkafka tells some only here.
                text = f"no handle for {name}: linger.ms is to be below transaction.timeout.ms"
                raise KafkaException(KafkaError(KafkaError._INVALID_ARG, text))
            self._topics[name] = found
        return int(found)


def _destroy(client: int, topics: dict[str, int], _log: object) -> None:
    """``_log`` is only to live as long as the client."""
    for topic in topics.values():
        api.rd_kafka_topic_destroy(topic)
    api.rd_kafka_destroy(client)


def _log_callback(logger: logging.Logger) -> Any:
    def log(client: int, level: int, facility: bytes, text: bytes) -> None:
        name = api.rd_kafka_name(client).decode()
        logger.log(_LEVELS[level & 7], "%s [%s] %s", facility.decode(), name, text.decode("utf-8", "replace"))

    return LOG_CALLBACK(log)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
