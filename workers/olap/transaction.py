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

import contextlib
import threading
import time
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from supervisor.contract.exits import WorkerExit
from workers.errors import BrokersAway, Doubt, Fenced, WorkerError
from workers.kafka import client
from workers.kafka.producer import Producer
from workers.kafka.records import Headers

__all__ = ["TooLarge", "Transaction"]

_OPEN_TIMEOUT_S = 30.0
_COMMIT_TIMEOUT_S = 30.0
_FIRST_LOOK_S = 0.01
_LONGEST_LOOK_S = 0.5
_ROOM_S = 0.01
_FLUSH_SLICE_S = 0.02
_SETTLE_S = 0.2


class TooLarge(Exception):
    """A record is larger than the producer may send; nothing of it was sent."""


class Transaction:
    """See the module. Not open, until :meth:`open`; then begun by the first record and ended by
    :meth:`commit`, again and again."""

    def __init__(
        self, config: dict[str, Any], partition: int, group: str, topics: Collection[str] = ()
    ) -> None:
        """``group`` is the consumer group whose offset of ``partition`` is committed; ``topics`` are those
        that every transaction writes to."""
        self._producer = client.make(Producer, config)
        self._partition = partition
        self._group = group
        self._topics = topics
        self._connected = False
        self._begun = False

    @property
    def begun(self) -> bool:
        return self._begun

    def connect(self) -> None:
        """Connect to the brokers that :meth:`open` will need, which does so itself if nobody has before.

        It changes nothing there: as long as it is not open, whoever has the transactional id goes on.
        """
        try:
            # Without a connection the first look for the coordinator finds nobody to ask, and the next one
            # comes half a second later.
            self._producer.connect(self._topics, _OPEN_TIMEOUT_S)
        except KafkaException as error:
            raise self._verdict(error, "cannot connect") from error
        self._reach_leaders()
        self._connected = True

    def open(self) -> None:
        """Own the transactional id: fence its former owner and end the transaction that one left open."""
        if not self._connected:
            self.connect()
        try:
            self._take_over()
        except KafkaException as error:
            raise self._verdict(error, "cannot take over the transactional id") from error

    def _reach_leaders(self) -> None:
        """Connect to those who will be written to, beside the fence: else the first commit waits for it.

        Nobody waits for these threads. One that does not get through has changed nothing.
        """
        for topic in self._topics:
            act = partial(self._producer.reach, topic, self._partition, _OPEN_TIMEOUT_S)
            with contextlib.suppress(RuntimeError):  # no thread can be had
                threading.Thread(target=act, daemon=True).start()

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
            self.poll()
            try:
                self._producer.init_transactions(max(0.001, min(step, left)))
            except KafkaException as error:
                if left <= step or not client.passes(error.args[0]):
                    raise
                step = min(_LONGEST_LOOK_S, step * 1.3)
            else:
                return

    def poll(self) -> None:
        """Log what librdkafka has to say. To be called now and then where nothing is begun for long."""
        self._producer.poll(0)

    def begin(self) -> None:
        """Begin, unless begun already."""
        if not self._begun:
            try:
                self.poll()
                self._producer.begin_transaction()
            except KafkaException as error:
                raise self._verdict(error, "cannot begin") from error
            self._begun = True

    def produce_all(
        self, topic: str, values: Sequence[bytes | None], keys: Sequence[bytes | None]
    ) -> list[int]:
        """Produce records, without headers, to our partition of ``topic``, waiting while the queue is full.

        Returns the places of those that are too large; the others are in the transaction, in their order.
        """
        too_large: list[int] = []
        begin, moved_s = 0, time.monotonic()
        while True:
            part = slice(begin, None) if begin else slice(None)
            refused = self._producer.produce_batch(topic, self._partition, values[part], keys[part])
            end = self._first_to_repeat(begin, len(values), refused, too_large)
            if end == len(values):
                return too_large
            if end > begin:
                begin, moved_s = end, time.monotonic()
            self._wait_for_room(moved_s)

    def _wait_for_room(self, since_s: float) -> None:
        """Wait a moment for a full queue.

        Raises :class:`BrokersAway` if nobody has taken anything from it for as long as a commit may take:
        else the worker would be taken for one that hangs, with records in hand that are not to blame.
        """
        if time.monotonic() - since_s > _COMMIT_TIMEOUT_S:
            raise BrokersAway(f"partition {self._partition}: the queue is full, and no broker takes from it")
        self._producer.poll(_ROOM_S)

    def _first_to_repeat(
        self, begin: int, end: int, refused: list[tuple[int, int]], too_large: list[int]
    ) -> int:
        """Where to go on with a batch of which some were refused: with the first one that found the queue
        full, since then all behind it did."""
        for place, code in refused:
            if code == KafkaError.MSG_SIZE_TOO_LARGE:
                too_large.append(begin + place)
            elif code == KafkaError._QUEUE_FULL:
                return begin + place
            else:
                raise self._verdict(KafkaException(KafkaError(code)), "cannot produce")
        return end

    def produce(
        self, topic: str, value: bytes | None, key: bytes | None, headers: Headers | None = None
    ) -> None:
        """Produce one record to our partition of ``topic``, waiting while the queue is full.

        Raises :class:`TooLarge`.
        """
        since_s = time.monotonic()
        while True:
            try:
                self._producer.produce(topic, self._partition, value, key, headers or [])
            except KafkaException as error:
                code = error.args[0].code()
                if code == KafkaError.MSG_SIZE_TOO_LARGE:
                    raise TooLarge from error
                if code != KafkaError._QUEUE_FULL:
                    raise self._verdict(error, "cannot produce") from error
                self._wait_for_room(since_s)
            else:
                return

    def send_offsets(self, topic: str, next_offset: int) -> None:
        """Put the input's offset into the transaction, and meanwhile send what lingers.

        Two round trips for the offset and two for records of a new partition: side by side, not one behind
        the other. Whether they were written is what :meth:`commit` says.
        """
        sent = threading.Event()

        def flush() -> None:
            self._producer.settle(_SETTLE_S)
            # In slices: with an error that only an abort clears, records would wait for a long time.
            while not sent.is_set() and not self._producer.flush(_FLUSH_SLICE_S):
                pass

        beside = threading.Thread(target=flush, daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread can be had; then the commit flushes
            beside.start()
        try:
            self._producer.send_offsets(self._group, topic, self._partition, next_offset, _COMMIT_TIMEOUT_S)
        except KafkaException as error:
            raise self._verdict(error, "cannot send offsets") from error
        finally:
            sent.set()
            if beside.ident is not None:
                beside.join()

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
        self.poll()
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
    if code == KafkaError._INVALID_ARG:
        return WorkerError(cause, "correct kafka.client", WorkerExit.CONFIGURATION)
    if (refused := client.refusal(kafka_error, cause)) is not None:
        return refused
    if client.passes(kafka_error) or code == KafkaError._MSG_TIMED_OUT:
        # In doubt as well, and settled in the same way; but it was the brokers who did not answer, and no
        # worker is to be blamed for that.
        return BrokersAway(cause)
    return Doubt(cause)
