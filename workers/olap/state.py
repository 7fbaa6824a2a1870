"""State that survives: the changelog topic of one partition, written in the transaction it belongs to.

Records of the changelog, compacted by key:

=======================  ====================================================================
key                      value
=======================  ====================================================================
``offset``               ``{"next_offset":1234,"dimensions":["region","time_flg"],"topic_id":"…"}``,
                         in every transaction
``[null,"East",1]``      a count of the total, by its dimensions
``[29841125,"East",1]``  a count of one minute window; no value once the window is closed
=======================  ====================================================================

``next_offset`` says which input offset the state belongs to. It outlives the consumer group's offsets, which
brokers drop a week after the last commit (``offsets.retention.minutes``), and shows when somebody moved them.
``topic_id`` is the input's: another topic of the same name has other records at these offsets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from supervisor.contract.settings import Olap
from workers.errors import BrokersAway, StateMismatch
from workers.kafka import client
from workers.olap.windows import Dimensions, Window, WindowedCounts

__all__ = [
    "OFFSET_KEY",
    "Changelog",
    "changes",
    "count_key",
    "encode_count",
    "encode_offset",
    "require_topic",
    "start_offset",
]

OFFSET_KEY = b"offset"
_LOOKUP_TIMEOUT_S = 10.0
_STEP_S = 0.05
_PATIENCE_S = 60.0


class _Offset(msgspec.Struct, omit_defaults=True):
    next_offset: int
    dimensions: list[str]
    topic_id: str = ""


_encode = msgspec.json.Encoder().encode
_decode_offset = msgspec.json.Decoder(_Offset).decode
_decode_count = msgspec.json.Decoder(int).decode


def count_key(window: Window, dimensions: Dimensions) -> bytes:
    """The changelog key of one count."""
    return _encode((window, *dimensions))


def _key_decoder(dimensions: int) -> Callable[[bytes], tuple[Any, ...]]:
    key: Any = tuple[(Window, *[Any] * dimensions)]  # type: ignore[misc]
    return msgspec.json.Decoder(key).decode


def encode_count(count: int) -> bytes:
    return _encode(count)


def encode_offset(next_offset: int, dimensions: Sequence[str], topic_id: str = "") -> bytes:
    return _encode(_Offset(next_offset, list(dimensions), topic_id))


def changes(
    counts: WindowedCounts, next_offset: int, dimensions: Sequence[str], topic_id: str = ""
) -> list[tuple[bytes, bytes | None]]:
    """Keys and values of what a transaction adds to the changelog: the counts that have changed, which are
    taken for written from then on, the end of those that are closed, and the offset they belong to."""
    found: list[tuple[bytes, bytes | None]] = [
        (count_key(window, values), encode_count(count)) for window, values, count in counts.changed()
    ]
    counts.written()
    found += [(count_key(window, values), None) for window, values in counts.close_old()]
    found.append((OFFSET_KEY, encode_offset(next_offset, dimensions, topic_id)))
    return found


class Changelog:
    """One partition of the changelog, read to its end: once before the former owner is fenced, which may take
    a while if there is much, and once more behind that for what it had still committed.

    The consumer is its own from here on.
    """

    def __init__(self, consumer: Consumer, topic: str, partition: int) -> None:
        self._consumer = consumer
        self._topic = topic
        self._partition = partition
        self._latest: dict[bytes, bytes | None] = {}
        self._position: int | None = None

    def read_on(self, beat: Callable[[], None] = lambda: None) -> None:
        """Read everything up to the last stable offset as it is now.

        ``beat`` is called all the while: a large changelog takes its time, and that is no hang. Raises what
        it raises, and :class:`BrokersAway` if the brokers stop answering for a minute. What was read by then
        is not read again.
        """
        low, high = _watermarks(self._consumer, self._topic, self._partition)
        self._fetch(low, high)
        heard = time.monotonic()
        while self._position is not None and self._position < high:
            beat()
            # consume() waits for as many as are asked for: for one of them, then whatever else is there.
            for message in self._consumer.consume(1, _STEP_S) + self._consumer.consume(10_000, 0):
                error = message.error()
                if error is None:
                    heard = time.monotonic()
                    key = message.key()
                    if key is not None:
                        self._latest[key] = message.value()
                elif error.code() == KafkaError._PARTITION_EOF:
                    # A follower's end may be behind the leader's, which is what counts; then it comes again.
                    self._position = message.offset() or 0
                elif not client.passes(error):
                    raise KafkaException(error)
            if time.monotonic() - heard > _PATIENCE_S:
                raise BrokersAway(
                    f"partition {self._partition}: the changelog {self._topic} could not be read for a minute"
                )

    def _fetch(self, low: int, high: int) -> None:
        """Go on where we were; or begin."""
        if self._position is None or not low <= self._position <= high:
            # The first time; or it was emptied, or made anew, and what was read before stands there no more.
            self._latest.clear()
            self._position = None
            if low < high:
                self._consumer.assign([TopicPartition(self._topic, self._partition, low)])
                self._position = low

    def restore(self, dimensions: Sequence[str], counts: WindowedCounts, topic_id: str = "") -> int | None:
        """Put what was read into ``counts``, and forget it; returns the input offset it belongs to, if any.

        Raises :class:`StateMismatch` if what stands there is not our state, or not of the input ``topic_id``.
        """
        latest, self._latest = self._latest, {}
        return _restore(latest, self._topic, self._partition, dimensions, counts, topic_id)

    def close(self) -> None:
        self._latest = {}
        self._consumer.close()


def _restore(
    latest: dict[bytes, bytes | None],
    topic: str,
    partition: int,
    dimensions: Sequence[str],
    counts: WindowedCounts,
    topic_id: str,
) -> int | None:
    value = latest.pop(OFFSET_KEY, None)
    if value is None and not latest:
        return None
    try:
        offset = _decode_offset(value or b"")
        if offset.dimensions != list(dimensions):
            raise StateMismatch(
                f"partition {partition}: {topic} holds counts by {_listed(offset.dimensions)}, "
                f"the pipeline counts by {_listed(dimensions)}",
                "counting by something else begins anew: give topics.changelog.name and "
                'topics.aggregates.name new names and set olap.on_lost_state = "restart" for one start',
            )
        require_topic(partition, offset.topic_id, topic_id)
        decode_key = _key_decoder(len(dimensions))
        for key, count in latest.items():
            if count is not None:
                window, *values = decode_key(key)
                counts.restore(window, tuple(values), _decode_count(count))
    except (msgspec.DecodeError, ValueError, TypeError) as error:
        raise StateMismatch(
            f"partition {partition}: {topic} holds records that are not ours: {error}",
            "give topics.changelog.name a topic that nobody else writes to",
        ) from error
    return offset.next_offset


def _listed(dimensions: Sequence[str]) -> str:
    return ", ".join(dimensions) or "nothing"


def _watermarks(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    try:
        found: tuple[int, int] = consumer.get_watermark_offsets(
            TopicPartition(topic, partition), _LOOKUP_TIMEOUT_S, cached=False
        )
    except KafkaException as error:
        raise client.lookup_failed(error, f"partition {partition}: the changelog {topic}") from error
    return found


def require_topic(partition: int, written: str, found: str) -> None:
    """The state must belong to the input that there is, as far as both are known.

    Raises :class:`StateMismatch` where that was deleted and made anew: the offset would be one of records
    that are gone, and those of the new topic before it would be skipped.
    """
    if written and found and written != found:
        raise StateMismatch(
            f"partition {partition}: the input was deleted and made anew, or this is another cluster: "
            f"its id is {found}, and the state is of {written}",
            "give the app another name (app.name), or delete the changelog topic and the consumer group; if "
            "offsets are as they were, as in a cluster that was moved, delete the changelog topic alone, and "
            'set olap.on_lost_state = "restart" for one start',
        )


def start_offset(
    *,
    partition: int,
    committed: int | None,
    state: int | None,
    low: int,
    high: int,
    counting: bool,
    olap: Olap,
) -> tuple[int, int]:
    """Where to begin, and how many records were lost to retention: the one decision, pure.

    ``committed`` is the consumer group's offset and ``state`` the changelog's, ``None`` where there is none;
    ``low`` and ``high`` are the input's first offset and the one after its last; ``counting`` is whether
    there are aggregates to be right.

    Raises :class:`StateMismatch` where going on would count events twice or lose them unseen.
    """
    if committed is not None and state is not None and committed < state:
        raise StateMismatch(
            f"partition {partition}: the consumer group's offset was set back to {committed}, "
            f"but the aggregates already count everything up to {state}",
            "to process the input again give the app another name (app.name) and other output topics; "
            f"to go on, set the group's offset of partition {partition} to {state}",
        )
    stateless = state is None and committed is not None and committed > 0
    if stateless and counting and olap.on_lost_state == "fail":
        raise StateMismatch(
            f"partition {partition}: the consumer group is at offset {committed}, but there is no state: "
            "the changelog topic was emptied, deleted or renamed, and counts would begin at zero",
            'restore the topic; or accept that with olap.on_lost_state = "restart" for one start',
        )
    begin = committed if committed is not None else state
    if begin is None:
        return low, 0
    if begin > high:
        raise StateMismatch(
            f"partition {partition}: the next offset is {begin}, but the input ends at {high}: "
            "the topic was deleted and made anew, or this is another cluster",
            "give the app another name (app.name), or delete the changelog topic and the consumer group",
        )
    if begin >= low:
        return begin, 0
    if olap.on_lost_offsets == "earliest":
        return low, low - begin
    raise StateMismatch(
        f"partition {partition}: {low - begin} records from offset {begin} on were removed by retention "
        f"before they were processed; the input now begins at {low}",
        'accept the loss with olap.on_lost_offsets = "earliest"; '
        "raise the input's retention_ms so that it cannot happen again",
    )
