"""The real-time worker: reads every partition, shows each event within milliseconds, at least once.

It has its own group and, like the OLAP side, assigned partitions: no rebalance can hold it up. Offsets are
committed after the sinks have flushed, so that a crash repeats events and never skips one. Records that
cannot be decoded are counted and left to the OLAP side, which puts them into the dead letters.

So are records that kill workers: this one runs the same pipeline and dies of them, too. What it had in hand
is still on the board when its successor opens, which takes those records one at a time; a single record that
was in hand at enough deaths is gone past.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from supervisor.contract.board import Board, RealtimePartition, Stage, WorkerSlot
from supervisor.contract.messages import Suspect
from supervisor.contract.settings import Settings
from workers.decode import BadRecord, Batch, Processor
from workers.kafka import client
from workers.kafka.messages import offset_of, partition_of
from workers.pipeline import Pipeline
from workers.sinks import Sink, SinkClosed, SinkUnavailable

__all__ = ["RealtimeWorker"]

_log = logging.getLogger("realtime")
_BATCH_EVENTS = 1_000
_HELD_UP_S = 0.05
_LOOKUP_TIMEOUT_S = 15.0


class RealtimeWorker:
    """Consumes, enriches, shows, commits."""

    rest_s = 0.0

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        board: Board,
        slot: WorkerSlot,
        partitions: Sequence[int],
        sinks: Sequence[Sink],
    ) -> None:
        self._settings = settings
        self._topic = settings.topics.input.name
        self._records = {partition: board.realtime(partition) for partition in partitions}
        self._suspects: dict[int, Suspect] = {}
        self._slot = slot
        self._latency = slot.latency
        self._processor = Processor(pipeline)
        self._sinks = list(sinks)
        self._held_up = False
        self._told = False
        self._refused: KafkaError | None = None
        self._interval_s = settings.realtime.commit_interval_ms / 1000
        config = {**client.realtime_consumer(settings), "on_commit": self._on_commit}
        self._consumer = client.make(Consumer, config)
        self._uncommitted: dict[int, int] = {}
        self._due = 0.0

    def open(self) -> None:
        """Find the offsets and begin to fetch."""
        self._slot.enter(Stage.RESTORING)
        where = [TopicPartition(self._topic, partition) for partition in self._records]
        try:
            self._consumer.list_topics(self._topic, timeout=_LOOKUP_TIMEOUT_S)
            if self._settings.realtime.start == "latest":
                for place in where:
                    place.offset = OFFSET_END
            else:
                committed = client.committed_offsets(self._consumer, where, _LOOKUP_TIMEOUT_S)
                for place in where:
                    offset = committed[place.partition]
                    place.offset = OFFSET_BEGINNING if offset is None else offset
        except KafkaException as error:
            raise client.lookup_failed(error, "real time") from error
        self._consumer.assign(where)
        for place in where:
            record = self._records[place.partition]
            record.position = record.committed = max(0, place.offset)
            self._suspect(place.partition, record)
            record.in_hand = record.in_hand_end = record.position

    def _suspect(self, partition: int, record: RealtimePartition) -> None:
        """Suspect what a predecessor had in hand as it died, until more than that is committed.

        A piece that killed is narrowed down: the next death inside it names one record. Any other range is a
        new one, with which counting begins again.
        """
        if record.in_hand < record.in_hand_end:
            narrowed = record.suspect <= record.in_hand and record.in_hand_end <= record.suspect_end
            record.deaths = record.deaths + 1 if narrowed else 1
            record.suspect, record.suspect_end = record.in_hand, record.in_hand_end
        if record.suspect_end > record.committed:
            alone = record.suspect_end - record.suspect == 1
            guilty = alone and record.deaths >= self._settings.dlq.poison_deaths
            self._suspects[partition] = Suspect(
                partition, record.suspect, record.suspect_end, record.deaths, guilty, "", ""
            )

    def step(self) -> None:
        """Wait for an event, take what has come with it, and show all of it."""
        self._slot.enter(Stage.CONSUMING)
        if self._held_up and not self._flush():
            self._poll_sinks()
            time.sleep(_HELD_UP_S)
            return
        # poll() returns with the first event; consume() would wait for a full batch.
        first = self._consumer.poll(0.1)
        if first is not None:
            batch = [first, *self._consumer.consume(_BATCH_EVENTS, 0)]
            self._show([message for message in batch if self._is_record(message)])
        self._poll_sinks()
        if self._uncommitted and time.monotonic() >= self._due:
            self._commit()
        if self._refused is not None:
            group = f"{self._settings.app.name}.realtime"
            raise client.failed(self._refused, f"real time: offsets of the group {group} cannot be committed")

    def _is_record(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.code() == KafkaError._PARTITION_EOF:
            # Markers of transactions take offsets, too: behind them there is nothing to show, and no lag.
            record = self._records[message.partition() or 0]
            record.position = max(record.position, message.offset() or 0)
            return False
        if not client.passes(error):
            raise client.failed(error, "real time: cannot consume")
        return False

    def _show(self, messages: list[Message]) -> None:
        if not messages:
            return
        self._slot.enter(Stage.PROCESSING)
        if not self._uncommitted:
            self._due = time.monotonic() + self._interval_s
        for piece, quarantined in self._pieces(messages):
            self._show_piece(piece, quarantined=quarantined)
            if quarantined:
                # Before anything behind it is touched: were the next one to kill as well, what is known of
                # this one would be lost, and a successor that began before both would never get past.
                self._commit_and_wait()

    def _pieces(self, messages: list[Message]) -> Iterator[tuple[list[Message], bool]]:
        """What to process at once, and whether it is a record to go past untouched. A suspect is alone, so
        that a death by it is no other record's."""
        if not self._suspects:
            yield messages, False
            return
        plain: list[Message] = []
        for message in messages:
            suspect, offset = self._suspects.get(partition_of(message)), offset_of(message)
            if suspect is None or offset < suspect.offset:
                plain.append(message)
            elif offset >= suspect.end:
                del self._suspects[suspect.partition]
                plain.append(message)
            else:
                if plain:
                    yield plain, False
                    plain = []
                yield [message], suspect.quarantine and offset == suspect.offset
        if plain:
            yield plain, False

    def _show_piece(self, messages: list[Message], *, quarantined: bool) -> None:
        ends = self._take_in_hand(messages)
        if quarantined:
            # Its dead letter comes from the OLAP side, where it kills as well.
            _log.warning("real time: a record that killed its workers is not shown: offsets %s", ends)
            batch = Batch([], (), [], [BadRecord(0, "Poison", "")])
        else:
            batch = self._processor.process([message.value() for message in messages])
        for partition, end in ends.items():
            self._records[partition].in_hand = end
        if batch.payloads:
            self._each_sink(lambda sink: sink.write(batch.payloads))
        now_ms = int(time.time() * 1000)
        self._latency.add(now_ms - message.timestamp()[1] for message in messages)
        for partition, end in ends.items():
            self._uncommitted[partition] = end
            record = self._records[partition]
            record.position = max(record.position, end)
        self._slot.events += len(messages)
        self._slot.bad += len(batch.bad)
        self._slot.shown += len(batch.payloads)

    def _take_in_hand(self, messages: list[Message]) -> dict[int, int]:
        """Write down what is about to be processed, since a crash cannot say so; returns the offset behind it
        for each of its partitions."""
        begins: dict[int, int] = {}
        ends: dict[int, int] = {}
        for message in messages:
            partition, offset = partition_of(message), offset_of(message)
            begins.setdefault(partition, offset)
            ends[partition] = offset + 1
        for partition, end in ends.items():
            record = self._records[partition]
            record.in_hand = begins[partition]
            record.in_hand_end = end
        return ends

    def _poll_sinks(self) -> None:
        for sink in self._sinks:
            sink.poll()

    def _each_sink(self, act: Callable[[Sink], None]) -> None:
        """Do ``act`` with every sink; one whose reader has gone for good is dropped.

        A sink that lost lines raises, which ends the worker: its successor begins at the committed offset.
        """
        for sink in list(self._sinks):
            try:
                act(sink)
            except SinkUnavailable as fault:
                if not self._told:
                    _log.warning("held up: %s", fault.cause)
                self._held_up = self._told = True
            except SinkClosed as fault:
                _log.warning("sink %s dropped: %s", sink.name, fault.cause)
                self._sinks.remove(sink)
                sink.close()

    def _flush(self) -> bool:
        """Whether every sink has put out what it was given. Until it has, nothing more is consumed."""
        self._held_up = False
        self._each_sink(lambda sink: sink.flush())
        if self._told and not self._held_up:
            self._told = False
            _log.info("sinks take events again")
        return not self._held_up

    def _commit(self) -> None:
        if self._flush():
            self._consumer.commit(offsets=self._take_uncommitted(), asynchronous=True)

    def _commit_and_wait(self) -> None:
        if self._uncommitted and self._flush():
            try:
                self._on_commit(
                    None, self._consumer.commit(offsets=self._take_uncommitted(), asynchronous=False)
                )
            except KafkaException as error:
                raise client.lookup_failed(error, "real time") from error

    def _take_uncommitted(self) -> list[TopicPartition]:
        offsets = [TopicPartition(self._topic, p, offset) for p, offset in self._uncommitted.items()]
        self._uncommitted.clear()
        return offsets

    def _on_commit(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        """What became of a commit, told by librdkafka while the consumer polls."""
        for place in offsets:
            failed = place.error or error
            if failed is None:
                self._records[place.partition].committed = place.offset
            elif client.passes(failed):
                # It is tried again, with all that has been shown by now: of two commits under way the
                # earlier one may fail last, and must not set the group back.
                self._uncommitted[place.partition] = self._records[place.partition].position
                self._due = time.monotonic() + self._interval_s
            else:
                self._refused = failed

    def reopen(self) -> None:
        self._each_sink(lambda sink: sink.reopen())

    def drain(self) -> None:
        """Flush the sinks, commit, give everything back."""
        self._commit_and_wait()
        self.close()

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()
        self._consumer.close()
