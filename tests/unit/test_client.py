"""How clients are made, which of their errors go away, and how offsets are looked up while they do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from simulated_brokers import FETCH_OFFSETS, SimulatedBrokers

from supervisor.contract.board import Board
from supervisor.contract.exits import WorkerExit
from supervisor.contract.settings import Kafka, Settings
from workers import pipeline
from workers.errors import WorkerError
from workers.kafka import client
from workers.kafka.producer import Producer
from workers.olap.worker import OlapWorker
from workers.probe import Probe
from workers.realtime import RealtimeWorker

INPUT = "user-login"


@pytest.mark.parametrize(
    "code",
    [
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    ],
    ids=str,
)
def test_what_brokers_say_as_they_come_and_go_passes_unless_it_is_fatal(code: int) -> None:
    assert client.passes(KafkaError(code))
    assert not client.passes(KafkaError(code, "the client is done for", fatal=True))
    failure = client.lookup_failed(KafkaException(KafkaError(code)), "partition 3")
    assert failure.exit_code is WorkerExit.BROKERS_UNREACHABLE
    assert failure.cause.startswith("partition 3: the brokers did not answer: ")


@pytest.mark.parametrize(
    "code",
    [
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError._FENCED,
        KafkaError._SSL,
        KafkaError.OFFSET_OUT_OF_RANGE,
    ],
    ids=str,
)
def test_what_somebody_has_to_change_does_not_pass(code: int) -> None:
    assert not client.passes(KafkaError(code))
    failure = client.lookup_failed(KafkaException(KafkaError(code)), "partition 3")
    assert failure.exit_code is WorkerExit.CRASH
    assert KafkaError(code).name() in failure.cause


@pytest.mark.parametrize(
    "code",
    [
        KafkaError._AUTHENTICATION,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    ],
    ids=str,
)
def test_a_client_that_the_brokers_refuse_is_a_matter_of_configuration(code: int) -> None:
    assert not client.passes(KafkaError(code))
    failure = client.lookup_failed(KafkaException(KafkaError(code)), "partition 3")
    assert failure.exit_code is WorkerExit.CONFIGURATION
    assert KafkaError(code).name() in failure.cause
    assert "ACLs" in failure.remedy


@pytest.mark.parametrize("kind", [AdminClient, Consumer, Producer])
@pytest.mark.parametrize(
    ("refused", "why"),
    [
        ({"no.such": 1}, 'No such configuration property: "no.such"'),
        ({"linger.ms": "soon"}, 'Invalid value for configuration property "queue.buffering.max.ms"'),
        ({"message.max.bytes": 5}, "value 5 is outside allowed range 1000..1000000000"),
        ({"reconnect.backoff.ms": 60_000}, "`reconnect.backoff.max.ms` must be >= `reconnect.backoff.ms`"),
        ({"error_cb": "x"}, "error_cb"),
        ({"default.topic.config": "x"}, ""),
    ],
    ids=str,
)
def test_settings_that_are_refused_are_a_mistake_in_the_configuration_whoever_refuses_them(
    kind: type, refused: dict[str, object], why: str
) -> None:
    with pytest.raises(WorkerError) as caught:
        client.make(kind, {"bootstrap.servers": "127.0.0.1:1", "group.id": "g", **refused})
    assert caught.value.exit_code is WorkerExit.CONFIGURATION
    assert caught.value.remedy.startswith("correct kafka.client")
    assert caught.value.cause.startswith("librdkafka refuses the settings of kafka.client: ")
    assert why in caught.value.cause
    assert "\n" not in caught.value.cause


def test_what_is_refused_does_not_give_a_secret_away() -> None:
    """librdkafka quotes what it does not understand."""
    config = {"bootstrap.servers": "127.0.0.1:1", "sasl.oauthbearer.config": "x", "debug": "hunter2hunter3"}
    with pytest.raises(WorkerError, match="hunter2hunter3"):
        client.make(Producer, config)
    with pytest.raises(WorkerError, match="<redacted>") as caught:
        client.make(Producer, {**config, "sasl.password": "hunter2hunter3"})
    assert "hunter" not in caught.value.cause


def test_a_thread_that_cannot_be_had_is_no_mistake_in_the_configuration() -> None:
    """It would stop everybody, where the next process may have one."""

    def short(_: object) -> NoReturn:
        raise KafkaException(KafkaError(KafkaError._CRIT_SYS_RESOURCE, "Failed to create thread"))

    with pytest.raises(WorkerError, match="no Kafka client can be made: Failed to create thread") as caught:
        client.make(short, {})
    assert caught.value.exit_code is WorkerExit.CRASH


def test_each_role_ends_with_a_cause_and_a_remedy_where_its_client_is_refused(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board", workers=1, partitions=1)
    logins, slot = pipeline.load("workers.logins"), board.worker(0)

    def refused(client: dict[str, Any]) -> Settings:
        return Settings(kafka=Kafka(bootstrap_servers="127.0.0.1:1", client=client))

    consumers, producers, all_of_them = (
        refused({"max.poll.interval.ms": 1_000}),
        refused({"acks": "1"}),
        refused({"security.protocol": "nonsense"}),
    )
    for make in (
        lambda: OlapWorker(consumers, logins, board, slot, [0]),
        lambda: OlapWorker(producers, logins, board, slot, [0]),
        lambda: RealtimeWorker(consumers, logins, board, slot, [0], []),
        lambda: Probe(all_of_them, board, slot, lambda _report: None),
    ):
        with pytest.raises(WorkerError) as caught:
            make()
        assert caught.value.exit_code is WorkerExit.CONFIGURATION
        assert "kafka.client" in caught.value.remedy


def test_an_error_that_the_client_itself_calls_retriable_passes() -> None:
    assert client.passes(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "not yet", retriable=True))


@pytest.fixture
def consumer(brokers: SimulatedBrokers) -> Iterator[Consumer]:
    """A consumer whose group has offset 7 of partition 0 and none of partition 1."""
    brokers.create_topic(INPUT, 2)
    settings = Settings(kafka=Kafka(bootstrap_servers=brokers.bootstrap))
    consumer = Consumer(client.olap_consumer(settings))
    consumer.commit(offsets=[TopicPartition(INPUT, 0, 7)], asynchronous=False)
    yield consumer
    consumer.close()


WHERE = [TopicPartition(INPUT, partition) for partition in (0, 1)]


def test_the_groups_offsets_are_found_and_no_offset_is_none(consumer: Consumer) -> None:
    assert client.committed_offsets(consumer, WHERE, 10.0) == {0: 7, 1: None}


def test_an_offset_of_zero_is_an_offset(consumer: Consumer) -> None:
    consumer.commit(offsets=[TopicPartition(INPUT, 1, 0)], asynchronous=False)
    assert client.committed_offsets(consumer, WHERE, 10.0) == {0: 7, 1: 0}


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    ],
    ids=str,
)
def test_a_coordinator_that_moves_is_waited_for(
    consumer: Consumer, brokers: SimulatedBrokers, code: int
) -> None:
    brokers.answer(FETCH_OFFSETS, code, code)
    assert client.committed_offsets(consumer, WHERE, 10.0) == {0: 7, 1: None}


def test_a_group_that_may_not_be_read_is_not_waited_for(
    consumer: Consumer, brokers: SimulatedBrokers
) -> None:
    brokers.answer(FETCH_OFFSETS, KafkaError.GROUP_AUTHORIZATION_FAILED)
    with pytest.raises(KafkaException) as caught:
        client.committed_offsets(consumer, WHERE, 10.0)
    assert caught.value.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED


def test_a_coordinator_that_never_comes_is_waited_for_only_so_long(
    consumer: Consumer, brokers: SimulatedBrokers
) -> None:
    brokers.answer(FETCH_OFFSETS, *[KafkaError.UNKNOWN_TOPIC_OR_PART] * 1_000)
    with pytest.raises(KafkaException) as caught:
        client.committed_offsets(consumer, WHERE, 0.3)
    assert client.passes(caught.value.args[0])
