"""Where a worker begins, and the bytes in which its state is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NoReturn, cast

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from hypothesis import given
from hypothesis import strategies as st
from simulated_brokers import SimulatedBrokers

from supervisor.contract.exits import WorkerExit
from supervisor.contract.settings import Kafka, Olap, Settings
from workers.errors import StateMismatch, WorkerError
from workers.kafka import client
from workers.olap import state
from workers.olap.windows import TOTAL, WindowedCounts

OnLost = Literal["fail", "earliest"]
OnLostState = Literal["fail", "restart"]


def begin(
    committed: int | None,
    changelog: int | None,
    low: int = 0,
    high: int = 1_000,
    on_lost: OnLost = "fail",
    *,
    counting: bool = False,
    on_lost_state: OnLostState = "fail",
) -> tuple[int, int]:
    return state.start_offset(
        partition=3,
        committed=committed,
        state=changelog,
        low=low,
        high=high,
        counting=counting,
        olap=Olap(on_lost_offsets=on_lost, on_lost_state=on_lost_state),
    )


@pytest.mark.parametrize(
    ("committed", "changelog", "low", "high", "expected"),
    [
        (None, None, 0, 0, (0, 0)),
        (None, None, 500, 1_000, (500, 0)),
        (100, 100, 0, 1_000, (100, 0)),
        (None, 100, 0, 1_000, (100, 0)),
        (100, None, 0, 1_000, (100, 0)),
        (200, 100, 0, 1_000, (200, 0)),
        (0, 0, 0, 0, (0, 0)),
        (0, None, 0, 10, (0, 0)),
        (1_000, 1_000, 0, 1_000, (1_000, 0)),
        (500, 500, 500, 1_000, (500, 0)),
        (1_000, 1_000, 1_000, 1_000, (1_000, 0)),
    ],
    ids=[
        "nothing yet, empty input",
        "nothing yet, input cut by retention",
        "the ordinary restart",
        "the group's offsets expired",
        "offset given by hand, no state yet",
        "set forward by hand",
        "nothing processed of nothing",
        "an offset of zero is an offset",
        "all processed",
        "retention took exactly what was processed",
        "all processed and all removed",
    ],
)
def test_where_to_begin(
    committed: int | None, changelog: int | None, low: int, high: int, expected: tuple[int, int]
) -> None:
    assert begin(committed, changelog, low, high) == expected


def refusal(act: Callable[[], object]) -> StateMismatch:
    with pytest.raises(StateMismatch) as caught:
        act()
    assert caught.value.exit_code is WorkerExit.STATE
    assert caught.value.cause.startswith("partition 3: ")
    assert caught.value.remedy
    return caught.value


def mismatch(*arguments: int | None, on_lost: OnLost = "fail") -> StateMismatch:
    committed, changelog, low, high = arguments
    assert low is not None
    assert high is not None
    return refusal(lambda: begin(committed, changelog, low, high, on_lost))


@pytest.mark.parametrize("on_lost", ["fail", "earliest"])
def test_an_offset_set_back_behind_the_state_would_count_twice(on_lost: OnLost) -> None:
    error = mismatch(99, 100, 0, 1_000, on_lost=on_lost)
    assert "set back to 99" in error.cause
    assert "up to 100" in error.cause
    assert "partition 3 to 100" in error.remedy


@pytest.mark.parametrize("on_lost", ["fail", "earliest"])
@pytest.mark.parametrize(("committed", "changelog"), [(1_001, 1_001), (None, 1_001), (1_001, None)])
def test_an_offset_beyond_the_end_is_another_topic(
    committed: int | None, changelog: int | None, on_lost: OnLost
) -> None:
    error = mismatch(committed, changelog, 0, 1_000, on_lost=on_lost)
    assert "1001" in error.cause
    assert "ends at 1000" in error.cause


@pytest.mark.parametrize(("committed", "changelog"), [(100, 100), (None, 100), (100, None), (100, 50)])
def test_records_lost_to_retention_are_counted_and_stop_the_worker(
    committed: int | None, changelog: int | None
) -> None:
    error = mismatch(committed, changelog, 150, 1_000)
    assert "50 records from offset 100" in error.cause
    assert "begins at 150" in error.cause
    assert "olap.on_lost_offsets" in error.remedy


def test_a_loss_that_was_accepted_is_counted_and_the_rest_processed() -> None:
    assert begin(100, 100, 150, 1_000, "earliest") == (150, 50)
    assert begin(100, 100, 1_000, 1_000, "earliest") == (1_000, 900)


@pytest.mark.parametrize("low", [0, 99, 100])
@pytest.mark.parametrize("on_lost", ["fail", "earliest"])
def test_counts_are_not_begun_at_zero_where_events_were_processed_before(low: int, on_lost: OnLost) -> None:
    error = refusal(lambda: begin(100, None, low, on_lost=on_lost, counting=True))
    assert "at offset 100" in error.cause
    assert "there is no state" in error.cause
    assert 'olap.on_lost_state = "restart"' in error.remedy


def test_counts_begin_at_zero_where_that_was_accepted() -> None:
    assert begin(100, None, counting=True, on_lost_state="restart") == (100, 0)


@pytest.mark.parametrize(("committed", "low"), [(None, 0), (None, 50), (0, 0)])
def test_no_state_is_missing_where_nothing_was_processed_yet(committed: int | None, low: int) -> None:
    assert begin(committed, None, low, counting=True) == (low, 0)


def test_a_state_is_no_less_there_for_being_without_an_offset_of_the_group() -> None:
    assert begin(None, 100, counting=True) == (100, 0)
    assert begin(200, 100, counting=True) == (200, 0)


offsets = st.none() | st.integers(0, 20)


@given(
    offsets,
    offsets,
    st.integers(0, 20),
    st.integers(0, 20),
    st.sampled_from(["fail", "earliest"]),
    st.booleans(),
    st.sampled_from(["fail", "restart"]),
)
def test_no_decision_counts_twice_or_loses_unseen(
    committed: int | None,
    changelog: int | None,
    low: int,
    length: int,
    on_lost: OnLost,
    counting: bool,
    on_lost_state: OnLostState,
) -> None:
    high = low + length
    known = committed if committed is not None else changelog
    state_is_lost = counting and changelog is None and committed is not None and committed > 0
    try:
        first, lost = begin(
            committed, changelog, low, high, on_lost, counting=counting, on_lost_state=on_lost_state
        )
    except StateMismatch:
        assert known is not None
        assert known > high or known < low or known < (changelog or 0) or state_is_lost
        return
    assert not state_is_lost or on_lost_state == "restart"
    assert low <= first <= high
    assert changelog is None or first >= changelog
    assert lost >= 0
    assert first - lost == (low if known is None else known)
    assert lost == 0 or on_lost == "earliest"


windows = st.none() | st.integers(-(10**7), 10**9)
dimensions = st.tuples(
    st.sampled_from(["East", "a\nb", "", "offset"]) | st.none(), st.integers(-5, 5) | st.none()
)


@given(st.tuples(windows, dimensions), st.tuples(windows, dimensions), st.integers(1, 2**63 - 1))
def test_a_count_is_read_as_it_was_written_and_has_a_key_of_its_own(
    one: tuple[int | None, tuple[object, ...]], other: tuple[int | None, tuple[object, ...]], count: int
) -> None:
    window, *values = state._key_decoder(2)(state.count_key(*one))
    assert (window, tuple(values)) == one
    assert state._decode_count(state.encode_count(count)) == count
    assert (state.count_key(*one) == state.count_key(*other)) == (one == other)
    assert state.count_key(*one) != state.OFFSET_KEY


def test_the_changelog_is_written_as_documented() -> None:
    assert state.OFFSET_KEY == b"offset"
    assert state.encode_offset(1234, ("region", "time_flg")) == (
        b'{"next_offset":1234,"dimensions":["region","time_flg"]}'
    )
    assert state.encode_offset(1234, ("region",), "an-id") == (
        b'{"next_offset":1234,"dimensions":["region"],"topic_id":"an-id"}'
    )
    assert state.count_key(TOTAL, ("East", 1)) == b'[null,"East",1]'
    assert state.count_key(29_841_125, ("East", None)) == b'[29841125,"East",null]'
    assert state.encode_count(17) == b"17"


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{}",
        b'{"next_offset":"1","dimensions":[]}',
        b'{"next_offset":null,"dimensions":[]}',
        b'{"next_offset":1}',
        b"[]",
    ],
)
def test_a_damaged_offset_is_an_error_and_not_zero(damaged: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        state._decode_offset(damaged)


CHANGELOG, PARTITION, REGION = "changelog", 3, ("region",)
OFFSET = (state.OFFSET_KEY, state.encode_offset(7, REGION))

Write = Callable[..., None]
Restore = Callable[..., tuple[int | None, dict[int | None, dict[tuple[object, ...], int]]]]


@pytest.fixture
def write(brokers: SimulatedBrokers) -> Write:
    """Appends records, key and value, to the changelog."""
    brokers.create_topic(CHANGELOG, PARTITION + 1)
    producer = Producer({"bootstrap.servers": brokers.bootstrap, "linger.ms": 0, "log_level": 0})

    def write(*records: tuple[bytes | None, bytes | None]) -> None:
        for key, value in records:
            producer.produce(CHANGELOG, value, key, partition=PARTITION)
        producer.flush()

    return write


@pytest.fixture
def restore(brokers: SimulatedBrokers) -> Iterator[Restore]:
    """Restores the state; returns the offset and the counts."""
    settings = Settings(kafka=Kafka(bootstrap_servers=brokers.bootstrap))
    consumer = Consumer(client.olap_consumer(settings))

    def restore(by: tuple[str, ...] = REGION) -> object:
        changelog, counts = state.Changelog(consumer, CHANGELOG, PARTITION), WindowedCounts(3_600)
        changelog.read_on()
        return changelog.restore(by, counts), counts.counts()

    yield restore  # type: ignore[misc]
    consumer.close()


def test_the_latest_of_each_record_is_the_state(write: Write, restore: Restore) -> None:
    east, west, minute = (
        state.count_key(*key) for key in ((None, ("East",)), (None, ("West",)), (5, ("East",)))
    )
    write((state.OFFSET_KEY, state.encode_offset(1, REGION)), (east, b"1"), (minute, b"1"), (west, b"2"))
    write((None, b"a record without a key means nothing"))
    write((east, b"17"), (minute, None), OFFSET)
    assert restore() == (7, {None: {("East",): 17, ("West",): 2}})


def test_what_is_there_is_not_waited_upon(
    write: Write, restore: Restore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """consume() of many records waits until there are many: each takeover took as long as that wait."""
    monkeypatch.setattr(state, "_STEP_S", 30.0)
    write(OFFSET)
    began = time.monotonic()
    assert restore() == (7, {})
    assert time.monotonic() - began < 15


def test_an_empty_changelog_is_no_state(write: Write, restore: Restore) -> None:
    assert restore() == (None, {})


def test_a_state_without_counts_is_a_state(write: Write, restore: Restore) -> None:
    write((state.OFFSET_KEY, state.encode_offset(7, ())))
    assert restore(()) == (7, {})


@pytest.mark.parametrize(
    ("by", "named"),
    [
        (("time_flg",), "by time_flg"),
        (("region", "time_flg"), "by region, time_flg"),
        (("Region",), "by Region"),
        ((), "by nothing"),
    ],
)
def test_counts_by_something_else_are_refused(
    write: Write, restore: Restore, by: tuple[str, ...], named: str
) -> None:
    write((state.count_key(None, ("East",)), b"17"), OFFSET)
    error = refusal(lambda: restore(by))
    assert "changelog holds counts by region, the pipeline counts " + named in error.cause
    assert "topics.changelog.name" in error.remedy
    assert 'olap.on_lost_state = "restart"' in error.remedy


@pytest.mark.parametrize(
    "record",
    [
        (b"total", b'{"counts":[[["East"],17]]}'),
        (b"[null]", b"many"),
        (b'[null,"East"]', b"null"),
        (b'[null,"East"]', b""),
        (b'[null,"East"]', b"1.5"),
        (b"[]", b"1"),
        (b'{"minute":5}', b"1"),
        (b'[null,["East"]]', b"1"),
        (b'["5","East"]', b"1"),
        (b'["East"]', b"1"),
        (b"[null]", b"1"),
        (b'[null,"East",1]', b"1"),
        (b"\xff", b"1"),
        (b"", b"1"),
    ],
    ids=str,
)
def test_a_record_of_somebody_else_is_refused_and_never_counted(
    write: Write, restore: Restore, record: tuple[bytes, bytes]
) -> None:
    write(record, OFFSET)
    error = refusal(restore)
    assert "records that are not ours" in error.cause
    assert "topics.changelog.name" in error.remedy


@pytest.mark.parametrize(
    "records",
    [
        [(state.count_key(None, ("East",)), b"17")],
        [(b"somebody", b"else's")],
        [OFFSET, (b'[null,"East"]', b"17"), (state.OFFSET_KEY, None)],
        [(state.OFFSET_KEY, b'{"next_offset":7}')],
    ],
    ids=["counts alone", "a foreign topic", "a deleted offset", "an offset of something unknown"],
)
def test_a_changelog_without_our_offset_is_refused(
    write: Write, restore: Restore, records: list[tuple[bytes, bytes | None]]
) -> None:
    write(*records)
    assert "records that are not ours" in refusal(restore).cause


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (KafkaError._TIMED_OUT, WorkerExit.BROKERS_UNREACHABLE),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, WorkerExit.CONFIGURATION),
        (KafkaError.UNSUPPORTED_VERSION, WorkerExit.CRASH),
    ],
    ids=str,
)
def test_why_the_changelog_cannot_be_looked_up_decides_how_the_worker_ends(
    code: int, exit_code: WorkerExit
) -> None:
    class Failing:
        def get_watermark_offsets(self, *_: object, **__: object) -> NoReturn:
            raise KafkaException(KafkaError(code))

    with pytest.raises(WorkerError, match="partition 3: the changelog c") as caught:
        state.Changelog(cast(Any, Failing()), "c", 3).read_on()
    assert caught.value.exit_code is exit_code


@pytest.mark.parametrize(("written", "found"), [("", ""), ("", "b"), ("a", ""), ("a", "a")])
def test_a_state_of_this_topic_or_of_one_that_nobody_knows_is_good(written: str, found: str) -> None:
    state.require_topic(0, written, found)


def test_a_state_of_another_topic_of_the_same_name_is_refused() -> None:
    with pytest.raises(StateMismatch, match="partition 3: the input was deleted and made anew") as caught:
        state.require_topic(3, "a", "b")
    assert "delete the changelog topic" in caught.value.remedy
