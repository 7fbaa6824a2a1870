"""One partition on the OLAP side: consumed, processed and committed exactly once.

One turn: consume a batch; decode, enrich, encode; add output, dead letters, aggregates and
state to the transaction; when it is due, add the input's offset and commit. A crash at any point leaves a
transaction that the successor ends by fencing, and an offset from which it begins again.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from supervisor.contract.board import OlapPartition, Stage, WorkerSlot
from supervisor.contract.exits import WorkerExit
from supervisor.contract.messages import Suspect
from supervisor.contract.settings import Settings
from workers import aggregates
from workers.decode import BadRecord, Batch, Processor
from workers.errors import DlqLimitReached, WorkerError
from workers.kafka import client
from workers.kafka.messages import offset_of
from workers.olap import careful, deadletter, state
from workers.olap.cadence import Cadence
from workers.olap.ledger import Ledger
from workers.olap.preparation import PreparedPartition
from workers.olap.takeover import Takeover, together
from workers.olap.throttle import Throttle
from workers.olap.transaction import Transaction
from workers.olap.warmth import WarmClients, close_beside
from workers.olap.windows import LONGEST, WindowedCounts, too_long
from workers.pipeline import Key, Pipeline

__all__ = ["DEAF_S", "PartitionWork", "changelog", "transaction"]

DEAF_S = 0.2
"""The longest that a worker waits for records: meanwhile it does not hear that it is to stop."""

_log = logging.getLogger("olap")
_EAGER_S = 1.0
_EAGER_WAIT_S = 0.02
_TEXT_LIMIT = 200
_UNKNOWN = -1
_MARKERS_S = 10.0


def transaction(settings: Settings, pipeline: Pipeline, partition: int) -> Transaction:
    """The one of a partition, neither connected nor open."""
    counting = [settings.topics.aggregates.name] if _dimensions(settings, pipeline) else []
    return Transaction(
        client.olap_producer(settings, partition),
        partition,
        client.olap_group(settings),
        [settings.topics.output.name, settings.topics.changelog.name, *counting],
    )


def changelog(settings: Settings, partition: int, consumer: Consumer | None = None) -> state.Changelog:
    """The one of a partition, not yet read; by ``consumer`` if there is one that is connected."""
    consumer = consumer or client.make(Consumer, client.changelog_consumer(settings))
    return state.Changelog(consumer, settings.topics.changelog.name, partition)


def _dimensions(settings: Settings, pipeline: Pipeline) -> tuple[str, ...]:
    """What is counted by; nothing is counted where there are none."""
    return pipeline.dimensions if settings.olap.aggregates else ()


class PartitionWork:
    """One partition: its consumer, its transaction and its state."""

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        partition: int,
        slot: WorkerSlot,
        record: OlapPartition,
        suspect: Suspect | None = None,
        warm: WarmClients | None = None,
        rate: Callable[[], int] = lambda: 0,
        prepared: PreparedPartition | None = None,
        topic_id: str = "",
    ) -> None:
        self.partition = partition
        self._topic_id = topic_id
        self._settings = settings
        self._topics = settings.topics
        self._dimensions = _dimensions(settings, pipeline)
        self._processor = Processor(pipeline)
        self._counts = WindowedCounts(settings.olap.window_retention_s)
        self._place = TopicPartition(settings.topics.input.name, partition)
        self._cadence = Cadence(settings.olap)
        self._slot = slot
        self._suspect = suspect
        self._ledger = Ledger(settings.dlq, slot, record)
        # Whatever is not connected yet connects in the background while the transactional id is taken over.
        self.consumer, reader = warm or (client.make(Consumer, client.olap_consumer(settings)), None)
        self._transaction, self._changelog = prepared or (
            transaction(settings, pipeline, partition),
            changelog(settings, partition, reader),
        )
        self._unneeded = [reader] if prepared is not None and reader is not None else []
        self._next_offset = _UNKNOWN
        self._eager_until = 0.0
        self._markers_s: float | None = None
        """Since when the end of the partition lies behind what is committed, with no record between."""
        self._rate = rate
        self._throttle = Throttle(time.monotonic())

    @property
    def behind(self) -> bool:
        """Whether it works off a backlog, and nobody waits for its first commit."""
        return self._cadence.behind and time.monotonic() >= self._eager_until

    def committed_by_us(self) -> int | None:
        """What this supervisor may have committed of the partition; ``None`` if it has never owned it."""
        return self._ledger.committed_at_most

    def open(self) -> None:
        """Take the partition over (``workers/olap/takeover.py``) and begin to fetch."""
        self._slot.enter(Stage.FENCING)
        self._ledger.nothing_in_hand()
        takeover = Takeover(
            self._settings,
            self.partition,
            self.consumer,
            self._changelog,
            lambda: self._slot.enter(Stage.RESTORING),
        )
        together(self._transaction.open, lambda: takeover.prepare(self._ledger.committed))
        self._ledger.fenced()
        self._slot.enter(Stage.RESTORING)
        begin, lost = takeover.finish(self._dimensions, self._counts, self._topic_id)
        close_beside(self._changelog, *self._unneeded)
        self._unneeded = []
        self._next_offset = begin
        # Whoever waits for this partition has waited through a start or a restart already: its first records
        # are committed at once, and no others are waited for.
        self._eager_until = time.monotonic() + _EAGER_S
        self._ledger.owned(begin, lost)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Around everything that is done for the partition. The board names it meanwhile, and goes on naming
        it if that is what the worker ends of; so does the error."""
        self._slot.partition = self.partition + 1
        with self.located():
            yield
        self._slot.partition = 0

    @contextlib.contextmanager
    def located(self) -> Iterator[None]:
        """Around what is done beside the like for other partitions: the error says which one it was."""
        try:
            yield
        except WorkerError as error:
            error.locate(self.partition, None if self._next_offset == _UNKNOWN else self._next_offset)
            raise

    def turn(self, wait_s: float) -> bool:
        """Consume and process one batch, waiting for it at most ``wait_s``; commit if it is due.

        Returns whether there was anything to do.
        """
        self._slot.enter(Stage.CONSUMING)
        allowed = self._throttle.allowed(self._rate(), time.monotonic())
        if allowed == 0:
            self._commit_if_due()
            return False
        eager = time.monotonic() < self._eager_until
        if eager:
            wait_s = min(wait_s, _EAGER_WAIT_S)
        if not self._transaction.begun:
            # consume() waits until it has a full batch or its time is over, so an event may already have
            # waited for wait_s when it is returned: the interval counts from here, not from its arrival.
            interval = self._cadence.interval_s
            patience = self._cadence.window_s(wait_s if 0 < wait_s <= interval <= DEAF_S else interval)
            wait_s = min(wait_s, patience)
            self._cadence.begin(time.monotonic(), 0.0 if eager else patience)
        most = careful.batch_size(self._suspect, self._next_offset, self._settings.olap.batch_events)
        if allowed is not None:
            most = min(most, allowed)
        messages = (
            self._consume_first(most, wait_s) if eager else self.consumer.consume(most, self._wait(wait_s))
        )
        # What librdkafka reports stands among the records. It is judged behind them: the end of the partition
        # is reached when they are processed, not before.
        records = [message for message in messages if message.error() is None]
        if records:
            if eager:
                self._ledger.fetched()
            self._throttle.take(len(records))
            self._process(records)
        else:
            self._transaction.poll()
        self._cadence.behind = self._suspect is None and self._waiting() >= most
        if len(records) < len(messages):
            self._judge([message for message in messages if message.error() is not None])
        if self._markers_s is not None and time.monotonic() - self._markers_s >= _MARKERS_S:
            self._transaction.begin()
        self._commit_if_due()
        return bool(records)

    def _waiting(self) -> int:
        """How many records wait to be fetched, as far as the client has heard; it asks nobody for that."""
        _, end = self.consumer.get_watermark_offsets(self._place, cached=True)
        return end - self._next_offset

    def _commit_if_due(self) -> None:
        if self._transaction.begun and self._cadence.is_due(time.monotonic(), self._ledger.events):
            self.commit()

    def rest_s(self) -> float:
        """How long the governor leaves nothing to do: until there is something to take, or to commit."""
        return min(self._throttle.wait_s(self._rate()), self.due_s())

    def due_s(self) -> float:
        """How long until there is something to commit."""
        return self._cadence.left_s(time.monotonic()) if self._transaction.begun else math.inf

    def _consume_first(self, most: int, wait_s: float) -> list[Message]:
        """The first record as soon as it comes, and what has come with it."""
        first = self.consumer.consume(1, self._wait(wait_s))
        return [*first, *self.consumer.consume(most - 1, 0)] if first and most > 1 else first

    def _wait(self, wait_s: float) -> float:
        if not self._transaction.begun:
            return wait_s
        return min(wait_s, self._cadence.left_s(time.monotonic()))

    def _judge(self, reports: list[Message]) -> None:
        for message in reports:
            error = message.error()
            assert error is not None
            if error.code() == KafkaError._PARTITION_EOF:
                self._reached(message.offset() or 0)
            else:
                self._judge_error(error)

    def _judge_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            # Retention overtook us. How many were lost, and whether that is accepted, is decided where a
            # worker begins (state.start_offset): the successor says it, or goes on behind the gap.
            raise WorkerError(
                f"partition {self.partition}: offset {self._next_offset} is gone from the input"
            )
        if not client.passes(error):
            raise client.failed(error, f"partition {self.partition}: cannot consume")

    def _reached(self, end: int) -> None:
        """The end of the partition. Markers of transactions take offsets, too, and so does what was aborted:
        behind them there is nothing to process, and no lag.

        The end often comes a moment after the records before it are committed. What is committed must follow
        all the same, if only once nothing has come for a while: when retention has removed everything it
        would else look as if records had been removed before they were processed.
        """
        if end > self._next_offset:
            self._next_offset = end
            self._ledger.passed(end, committed=not self._transaction.begun)
            self._markers_s = self._markers_s or time.monotonic()

    def _process(self, messages: list[Message]) -> None:
        """Process a fetched batch piece by piece."""
        self._slot.enter(Stage.PROCESSING)
        if self._suspect is None:
            self._transaction.begin()
            for piece in careful.pieces(range(len(messages)), None):
                self._process_piece(messages[piece.start : piece.end])
        else:
            self._process_carefully(messages, self._suspect)

    def _process_carefully(self, messages: list[Message], suspect: Suspect) -> None:
        """The same, past records of which one may kill.

        What lies before them is committed first, so that it is done once whatever comes. Among them the usual
        interval holds: it is the board that says which one was in hand, and a commit for each would take
        seconds. A quarantined one is committed before anything behind it is touched: were the next one to
        kill as well, a successor would have to begin before both.
        """
        for piece in careful.pieces([offset_of(message) for message in messages], suspect):
            if piece.alone and self._next_offset <= suspect.offset:
                self.commit()
                self._slot.enter(Stage.PROCESSING)
            self._transaction.begin()
            self._process_piece(messages[piece.start : piece.end], quarantined=piece.quarantined)
            if piece.quarantined:
                self.commit()
        if self._next_offset >= suspect.end:
            self._suspect = None

    def _process_piece(self, messages: list[Message], *, quarantined: bool = False) -> None:
        """Process records that follow each other, with their offsets on the board: a crash cannot say which
        they were."""
        end = offset_of(messages[-1]) + 1
        self._ledger.take_in_hand(offset_of(messages[0]), end)
        batch = self._quarantine(messages[0]) if quarantined else self._transform(messages)
        self._next_offset = end
        self._ledger.account(end, len(messages), batch)
        self._ledger.let_go(end)
        exceeded = self._ledger.exceeded(len(messages), batch)
        if exceeded is not None:
            last = max(batch.bad, key=lambda bad: bad.index)
            raise self._limit_reached(exceeded, last, offset_of(messages[last.index]))

    def _transform(self, messages: list[Message]) -> Batch:
        batch = self._processor.process(list(map(Message.value, messages)))
        if not self._dimensions:
            self._produce(messages, batch)
            return batch
        counted = self._tally(batch)
        if self._produce(messages, batch):
            counted = self._counted(batch)
        self._count(messages, batch, counted)
        return batch

    def _tally(self, batch: Batch) -> Counter[Key | None]:
        """How often each key is there. Events that cannot be counted for the length of theirs are bad ones,
        and that has to be known before there is output of them."""
        counted = self._counted(batch)
        if any(map(too_long, counted)):
            places = [place for place, key in enumerate(batch.keys) if too_long(key)]
            text = f"what it is counted by has more than {LONGEST:,} characters"
            batch.reject(places, "TooLarge", text)
            counted = self._counted(batch)
        return counted

    def _counted(self, batch: Batch) -> Counter[Key | None]:
        try:
            return Counter(batch.keys)
        except TypeError as error:  # what is not hashable
            raise self._uncountable(error) from error

    def _quarantine(self, message: Message) -> Batch:
        """Send a record that killed its workers to the dead letters; its value is only copied."""
        suspect = self._suspect
        assert suspect is not None
        bad = deadletter.quarantine(self._transaction, self._topics.dlq.name, message, suspect)
        self._ledger.quarantined()
        _log.warning(
            "partition %d: the record at offset %d goes to the dead letters: %s",
            self.partition,
            suspect.offset,
            bad.error_text,
        )
        return Batch([], (), [], [bad])

    def _limit_reached(self, exceeded: str, last: BadRecord, offset: int) -> WorkerError:
        fault = DlqLimitReached(
            f"partition {self.partition}: {exceeded} (the last one at offset {offset}: "
            f"{last.error_class}: {last.error_text[:_TEXT_LIMIT]})",
            f"look at that record of {self._topics.input.name} and at {self._settings.app.pipeline}; mend "
            "what is wrong, or raise dlq.max_run or dlq.max_ratio; then "
            f"`supervisor restart olap-{self._slot.index}`",
        )
        fault.locate(self.partition, offset)
        return fault

    def _produce(self, messages: list[Message], batch: Batch) -> bool:
        """Add outputs and dead letters to the transaction; whether outputs became dead letters by that."""
        keys = list(map(Message.key, messages))
        if len(batch.payloads) < len(messages):
            keys = [keys[index] for index in batch.indexes]
        too_large = self._transaction.produce_all(self._topics.output.name, batch.payloads, keys)
        batch.reject(too_large, "TooLarge", "the enriched event is larger than a record may be")
        for bad in batch.bad:
            deadletter.send(self._transaction, self._topics.dlq.name, messages[bad.index], bad)
        return bool(too_large)

    def _count(self, messages: list[Message], batch: Batch, counted: Counter[Key | None]) -> None:
        now = int(time.time()) // 60

        def minutes() -> list[int]:
            return [_minute(messages[index], now) for index in batch.indexes]

        oldest = min(_minute(messages[0], now), _minute(messages[-1], now))
        try:
            self._counts.add(batch.keys, oldest, minutes, counted)
        except (TypeError, IndexError) as error:
            raise self._uncountable(error) from error

    def _uncountable(self, error: Exception | str) -> WorkerError:
        return WorkerError(
            f"partition {self.partition}: enrich() of {self._settings.app.pipeline} returned a key that "
            f"cannot be counted: {error}",
            "a key is a tuple: the epoch minute or None, then a string, an integer or None for each of "
            f"DIMENSIONS ({', '.join(self._dimensions)})",
            WorkerExit.CONFIGURATION,
        )

    def commit(self) -> None:
        """Add state and offset to the transaction and commit it."""
        if not self._transaction.begun:
            return
        self._markers_s = None
        began = time.monotonic()
        self._write_state()
        self._slot.enter(Stage.SENDING_OFFSETS)
        self._transaction.send_offsets(self._topics.input.name, self._next_offset)
        self._slot.enter(Stage.COMMITTING)
        self._ledger.committing(self._next_offset)
        self._transaction.commit()
        self._cadence.committed(time.monotonic() - began)
        if self._ledger.events:
            self._eager_until = 0.0
        self._ledger.commit(self._next_offset, self._counts.late)
        self._counts.late = 0

    def _write_state(self) -> None:
        try:
            partials = list(aggregates.records(self._counts, self.partition, self._dimensions))
        except (TypeError, ValueError) as error:  # a dimension too many or too few, or not for JSON
            raise self._uncountable(error) from error
        self._write(self._topics.aggregates.name, partials)
        changes = state.changes(self._counts, self._next_offset, self._dimensions, self._topic_id)
        self._write(self._topics.changelog.name, changes)

    def _write(self, topic: str, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Produce records of keys and values of our own making."""
        keys, values = [key for key, _ in records], [value for _, value in records]
        if self._transaction.produce_all(topic, values, keys):
            raise self._uncountable("it is larger than a record may be")

    def drain(self) -> None:
        """Commit what is left, if only that there was nothing at the end."""
        if self._markers_s is not None:
            self._transaction.begin()
        self.commit()

    def close(self) -> None:
        """Give the partition back. What is not committed is dropped; the next owner processes it again."""
        self._transaction.abort()
        self.consumer.close()


def _minute(message: Message, now: int) -> int:
    """When the record was made, as far as that is to be believed. It may have no time at all."""
    stamp = message.timestamp()[1]
    return min(stamp // 60_000, now) if stamp >= 0 else now
