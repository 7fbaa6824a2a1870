"""The producer over librdkafka's C interface: what goes in comes out, byte by byte. On simulated brokers."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patience import until
from simulated_brokers import END_TXN, SimulatedBrokers

from workers.kafka.producer import Producer

TOPIC, PARTITION, GROUP = "output", 1, "group"
PART = st.none() | st.binary(max_size=20)


@pytest.fixture
def make(brokers: SimulatedBrokers) -> Callable[..., Producer]:
    brokers.create_topic(TOPIC, 2)
    silent = logging.getLogger("silent")
    silent.setLevel(logging.CRITICAL + 1)

    def made(**more: Any) -> Producer:
        config = {
            "bootstrap.servers": brokers.bootstrap,
            "transactional.id": "id",
            "linger.ms": 0,
            "logger": silent,
        }
        producer = Producer({**config, **more})
        producer.connect([TOPIC], 10)
        producer.init_transactions(10)
        producer.begin_transaction()
        return producer

    return made


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.fixture
def read(brokers: SimulatedBrokers) -> Callable[[int], list[Any]]:
    """The first records of the partition. Simulated brokers do not hide those of open transactions."""
    consumer = Consumer({"bootstrap.servers": brokers.bootstrap, "group.id": "reader", "log_level": 0})

    def first(count: int) -> list[Any]:
        consumer.assign([TopicPartition(TOPIC, PARTITION, 0)])
        found: list[Any] = []
        while len(found) < count:
            found += [message for message in consumer.consume(count, 1) if message.error() is None]
        return found

    return first


def test_batches_of_any_values_and_keys_are_written_as_they_are_and_in_order(
    make: Callable[..., Producer], read: Callable[[int], list[Any]]
) -> None:
    producer = make()
    expected: list[tuple[bytes | None, bytes | None]] = []

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(batch=st.lists(st.tuples(PART, PART), max_size=30))
    def produce(batch: list[tuple[bytes | None, bytes | None]]) -> None:
        assert (
            producer.produce_batch(TOPIC, PARTITION, *map(list, zip(*batch, strict=True))) == []
            if batch
            else True
        )
        expected.extend(batch)

    produce()
    producer.commit_transaction(10)
    assert [(record.value(), record.key()) for record in read(len(expected))] == expected


def test_a_batch_without_keys_behind_one_with_keys_has_none(
    make: Callable[..., Producer], read: Callable[[int], list[Any]]
) -> None:
    producer = make()
    producer.produce_batch(TOPIC, PARTITION, [b"1", b"2"], [b"k", b""])
    producer.produce_batch(TOPIC, PARTITION, [b"3", b"4", b"5"], [None, None, None])
    producer.commit_transaction(10)
    assert [record.key() for record in read(5)] == [b"k", b"", None, None, None]


def test_no_records_are_no_error(make: Callable[..., Producer]) -> None:
    assert make().produce_batch(TOPIC, PARTITION, [], []) == []


def test_headers_are_written_as_they_are(
    make: Callable[..., Producer], read: Callable[[int], list[Any]]
) -> None:
    producer = make()
    headers: Any = [("name", "text"), ("nothing", None), ("empty", b""), ("name", b"\x00\xff"), ("é", b"1")]
    producer.produce(TOPIC, PARTITION, None, b"key", headers)
    producer.produce(TOPIC, PARTITION, b"", None, [])
    producer.commit_transaction(10)
    first, second = read(2)
    assert (first.value(), first.key()) == (None, b"key")
    assert first.headers() == [(name, t.encode() if isinstance(t, str) else t) for name, t in headers]
    assert (second.value(), second.key(), second.headers()) == (b"", None, None)


def test_what_is_not_taken_is_told_with_the_reason_and_the_rest_is_in(
    make: Callable[..., Producer], read: Callable[[int], list[Any]]
) -> None:
    producer = make(**{"message.max.bytes": 1_000})
    refused = producer.produce_batch(TOPIC, PARTITION, [b"1", b"2" * 2_000, b"3"], [None] * 3)
    assert refused == [(1, KafkaError.MSG_SIZE_TOO_LARGE)]
    with pytest.raises(KafkaException) as caught:
        producer.produce(TOPIC, PARTITION, b"2" * 2_000, None, [("a", b"header")])
    assert caught.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    producer.commit_transaction(10)
    assert [record.value() for record in read(2)] == [b"1", b"3"]


def test_behind_a_record_that_finds_the_queue_full_none_is_taken(make: Callable[..., Producer]) -> None:
    """Else one of them might be written before it."""
    producer = make(**{"queue.buffering.max.messages": 2, "linger.ms": 10_000})
    refused = producer.produce_batch(TOPIC, PARTITION, [b"1", b"2", b"3", b"4"], [None] * 4)
    assert refused == [(2, KafkaError._QUEUE_FULL), (3, KafkaError._QUEUE_FULL)]


def test_a_setting_that_librdkafka_does_not_know_is_named() -> None:
    with pytest.raises(KafkaException, match=r"no\.such\.setting") as caught:
        Producer({"no.such.setting": 1})
    assert caught.value.args[0].code() == KafkaError._INVALID_ARG


def test_settings_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(KafkaException, match=r"enable\.idempotence"):
        Producer({"transactional.id": "id", "enable.idempotence": False})


def test_truth_is_written_as_librdkafka_writes_it() -> None:
    Producer({"enable.idempotence": True, "socket.nagle.disable": False, "linger.ms": 1.5, "log_level": 0})


def test_settings_that_only_a_topic_contradicts_are_an_error_and_no_crash(brokers: SimulatedBrokers) -> None:
    brokers.create_topic(TOPIC, 2)
    settings = {"transactional.id": "id", "transaction.timeout.ms": 1_000, "linger.ms": 1_000, "log_level": 0}
    producer = Producer({"bootstrap.servers": brokers.bootstrap, **settings})
    for produce in (
        lambda: producer.produce_batch(TOPIC, PARTITION, [b"1"], [None]),
        lambda: producer.produce(TOPIC, PARTITION, b"1", None, []),
    ):
        with pytest.raises(KafkaException, match=r"linger\.ms") as caught:
            produce()
        assert caught.value.args[0].code() == KafkaError._INVALID_ARG


def test_to_wait_for_requests_before_a_flush_costs_no_cpu(
    make: Callable[..., Producer], brokers: SimulatedBrokers
) -> None:
    """One to a partition is under way at a time; in a flush librdkafka's thread would turn meanwhile."""
    producer = make(**{"batch.size": 1_000, "linger.ms": 10_000})
    producer.produce_batch(TOPIC, PARTITION, [b"1"], [None])
    assert producer.flush(10)  # the partition is in the transaction
    brokers.delay(200)
    producer.produce_batch(TOPIC, PARTITION, [bytes(100)] * 45, [None] * 45)
    began, used = time.monotonic(), time.process_time()
    producer.settle(10)
    took, used = time.monotonic() - began, time.process_time() - used
    assert took > 3 * 0.2
    assert used < took / 2
    brokers.delay(0)
    assert producer.flush(10)


def test_nobody_waits_for_long_for_requests_that_are_not_answered(
    make: Callable[..., Producer], brokers: SimulatedBrokers
) -> None:
    producer = make(**{"batch.size": 1_000, "linger.ms": 10_000})
    brokers.delay(60_000)
    producer.produce_batch(TOPIC, PARTITION, [bytes(100)] * 45, [None] * 45)
    began = time.monotonic()
    producer.settle(0.1)
    assert 0.1 <= time.monotonic() - began < 10


def test_less_than_a_request_is_not_waited_for(
    make: Callable[..., Producer], brokers: SimulatedBrokers
) -> None:
    producer = make(**{"linger.ms": 10_000})
    brokers.delay(60_000)
    producer.produce_batch(TOPIC, PARTITION, [bytes(100)] * 45, [None] * 45)
    began = time.monotonic()
    producer.settle(60)
    assert time.monotonic() - began < 30


def test_a_flush_returns_when_all_is_written_and_not_at_the_next_look(make: Callable[..., Producer]) -> None:
    """librdkafka looks each 10 ms, unless a delivery report wakes it: no flush is quicker without one, and on
    a busy machine one of many is with it."""
    producer = make()

    def took_s() -> float:
        producer.produce_batch(TOPIC, PARTITION, [b"1"], [None])
        began = time.monotonic()
        assert producer.flush(10)
        return time.monotonic() - began

    until(lambda: took_s() < 0.008)


def test_an_error_says_what_it_says_in_the_client(
    make: Callable[..., Producer], brokers: SimulatedBrokers
) -> None:
    producer = make()
    producer.produce(TOPIC, PARTITION, b"1", None, [])
    brokers.answer(END_TXN, KafkaError.PRODUCER_FENCED)
    with pytest.raises(KafkaException) as caught:
        producer.commit_transaction(10)
    error = caught.value.args[0]
    assert (error.code(), error.fatal(), error.retriable()) == (KafkaError._FENCED, True, False)
    assert "fenced" in error.str()


def test_what_librdkafka_logs_reaches_the_logger_when_it_is_polled(caplog: pytest.LogCaptureFixture) -> None:
    producer = Producer({"bootstrap.servers": "127.0.0.1:1", "logger": logging.getLogger("told")})
    while not caplog.records:
        producer.poll(0.1)
    record = caplog.records[0]
    assert (record.name, record.levelno) == ("told", logging.ERROR)
    assert "127.0.0.1:1" in record.getMessage()


def test_a_leader_is_reached_beside_everything_else_and_one_that_is_away_is_no_error(
    make: Callable[..., Producer],
) -> None:
    make().reach(TOPIC, PARTITION, 10)
    began = time.monotonic()
    Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}).reach(TOPIC, PARTITION, 0.1)
    assert time.monotonic() - began < 10


def test_a_producer_that_is_forgotten_leaves_no_thread(make: Callable[..., Producer]) -> None:
    """Clients that earlier tests left change a few of theirs meanwhile, so many are made and forgotten."""
    gc.collect()
    before = threads()
    producers = [make() for _ in range(20)]
    assert threads() - before >= 20
    producers.clear()
    gc.collect()
    # Whoever joins a thread is told of its end a moment before the kernel has taken it off its list.
    until(lambda: threads() - before < 20)
