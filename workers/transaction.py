"""One partition's transactional producer: the only place that begins, fills and commits transactions.

The rules of exactly once:

- ``open()`` fences whoever had the transactional id before and ends what it left open; only then may the
  committed offset be asked for.
- Output, state and input offset go into one transaction. No delivery callbacks: inside a transaction the
  commit fails if any record failed (librdkafka 0105, do_test_commit_after_msg_timeout).
- In doubt nothing is retried on this producer. librdkafka has no KIP-890: a delayed EndTxn could commit or
  abort a *later* transaction (librdkafka #5423). The worker ends, and its successor's epoch settles it.
"""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from supervisor.contract.exits import WorkerExit
from workers import client
from workers.errors import BrokersAway, Doubt, Fenced, WorkerError

__all__ = ["TooLarge", "Transaction"]

_OPEN_TIMEOUT_S = 30.0
_COMMIT_TIMEOUT_S = 30.0
_FIRST_LOOK_S = 0.01
_LONGEST_LOOK_S = 0.5

Headers = list[tuple[str, str | bytes | None]]


class TooLarge(Exception):
    """A record is larger than the producer may send; nothing of it was sent."""


class Transaction:
    """See the module. Not open, until :meth:`open`; then begun by the first record and ended by
    :meth:`commit`, again and again."""

    def __init__(self, config: dict[str, Any], partition: int) -> None:
        self._producer = Producer(config)
        self._partition = partition
        self._begun = False

    @property
    def begun(self) -> bool:
        return self._begun

    def open(self) -> None:
        """Own the transactional id: fence its former owner and end the transaction that one left open."""
        try:
            # Only to be connected: without a connection the first look for the coordinator finds nobody to
            # ask, and the next one comes half a second later.
            self._producer.list_topics("", timeout=_OPEN_TIMEOUT_S)
            self._take_over()
        except KafkaException as error:
            raise self._verdict(error, "cannot take over the transactional id") from error

    def _take_over(self) -> None:
        """init_transactions(), asked again and again in short steps.

        The first answer to the successor of a killed worker is CONCURRENT_TRANSACTIONS: the coordinator
        aborts what that one left open, a matter of milliseconds. librdkafka then waits half a second before
        it asks again, but asks at once when the call is repeated. It never has two of these requests under
        way (idemp_state WAIT_PID), so that none can come late and fence the producer that it was sent by, as
        could happen with a new producer for each try. The steps grow until they are librdkafka's own.
        """
        deadline = time.monotonic() + _OPEN_TIMEOUT_S
        step = _FIRST_LOOK_S
        while True:
            left = deadline - time.monotonic()
            try:
                self._producer.init_transactions(max(0.001, min(step, left)))
            except KafkaException as error:
                if left <= step or not client.passes(error.args[0]):
                    raise
                step = min(_LONGEST_LOOK_S, step * 1.3)
            else:
                return

    def begin(self) -> None:
        """Begin, unless begun already."""
        if not self._begun:
            try:
                # What librdkafka has to log waits for a poll; and there are no callbacks that would need it.
                self._producer.poll(0)
                self._producer.begin_transaction()
            except KafkaException as error:
                raise self._verdict(error, "cannot begin") from error
            self._begun = True

    def produce_all(self, topic: str, records: list[dict[str, Any]]) -> list[int]:
        """Produce dicts of ``value`` and ``key`` to our partition of ``topic``, with no headers.

        Returns the places of those that are too large; the others are in the transaction.
        """
        accepted = self._producer.produce_batch(topic, records, partition=self._partition)
        if accepted == len(records):
            return []
        too_large: list[int] = []
        again: list[tuple[int, dict[str, Any]]] = []
        for place, record in enumerate(records):
            error = record.pop("_error", None)
            if error is None:
                continue
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                too_large.append(place)
            elif error.code() == KafkaError._QUEUE_FULL:
                again.append((place, record))
            else:
                raise self._verdict(KafkaException(error), "cannot produce")
        for place, record in again:
            try:
                self.produce(topic, record["value"], record["key"])
            except TooLarge:
                too_large.append(place)
        return too_large

    def produce(
        self, topic: str, value: bytes | None, key: bytes | None, headers: Headers | None = None
    ) -> None:
        """Produce one record to our partition of ``topic``, waiting while the queue is full.

        Raises :class:`TooLarge`.
        """
        while True:
            try:
                self._producer.produce(
                    topic, value=value, key=key, partition=self._partition, headers=headers or []
                )
            except BufferError:
                self._wait_for_room()
            except KafkaException as error:
                if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    raise TooLarge from error
                raise self._verdict(error, "cannot produce") from error
            else:
                return

    def _wait_for_room(self) -> None:
        try:
            self._producer.poll(0.1)
        except KafkaException as error:  # it tells of fatal errors, too
            raise self._verdict(error, "cannot produce") from error

    def send_offsets(self, consumer: Consumer, topic: str, next_offset: int) -> None:
        """Put the input's offset into the transaction."""
        try:
            self._producer.send_offsets_to_transaction(
                [TopicPartition(topic, self._partition, next_offset)],
                consumer.consumer_group_metadata(),
                _COMMIT_TIMEOUT_S,
            )
        except KafkaException as error:
            raise self._verdict(error, "cannot send offsets") from error

    def commit(self) -> None:
        """Flush and commit. When it returns, read_committed readers can see the transaction."""
        try:
            self._producer.commit_transaction(_COMMIT_TIMEOUT_S)
        except KafkaException as error:
            raise self._verdict(error, "cannot commit") from error
        self._begun = False

    def abort(self) -> None:
        """Drop what is begun. Errors are of no interest: the successor ends it in any case."""
        if self._begun:
            try:
                self._producer.abort_transaction(5.0)
            except KafkaException:
                return
            self._begun = False

    def _verdict(self, error: KafkaException, doing: str) -> WorkerError:
        """What an error means for the worker.

        produce() says no more than that there was an error before. The reason is what matters: taken for
        doubt, two supervisors that fence each other would go on doing so. To begin fails with the reason at
        once, and could commit nothing if it did not.
        """
        if error.args[0].code() in (KafkaError._FATAL, KafkaError._STATE):
            try:
                self._producer.begin_transaction()
            except KafkaException as reason:
                error = reason
        return _verdict(error, doing, self._partition)


def _verdict(error: KafkaException, doing: str, partition: int) -> WorkerError:
    """What an error means for the worker: fenced, configuration, or doubt."""
    kafka_error: KafkaError = error.args[0]
    code = kafka_error.code()
    cause = f"partition {partition}: {doing}: {kafka_error.str()} ({kafka_error.name()})"
    if code in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH):
        return Fenced(cause)
    if code == KafkaError.INVALID_TRANSACTION_TIMEOUT:
        return WorkerError(
            cause,
            "set olap.transaction_timeout_ms to at most the brokers' transaction.max.timeout.ms",
            WorkerExit.CONFIGURATION,
        )
    if code in _REFUSED:
        return WorkerError(cause, "check the ACLs and credentials of kafka.client", WorkerExit.CONFIGURATION)
    if client.passes(kafka_error) or code == KafkaError._MSG_TIMED_OUT:
        # In doubt as well, and settled in the same way; but it was the brokers who did not answer, and no
        # worker is to be blamed for that.
        return BrokersAway(cause)
    return Doubt(cause)


_REFUSED = frozenset(
    {
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,
    }
)
