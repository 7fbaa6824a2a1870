"""What each error of a transactional producer means for the worker, told by simulated brokers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError
from simulated_brokers import ADD_PARTITIONS, END_TXN, INIT_PRODUCER_ID, PRODUCE, SimulatedBrokers

from supervisor.contract.exits import WorkerExit
from workers.errors import WorkerError
from workers.olap.transaction import TooLarge, Transaction

TOPIC, INPUT = "output", "input"


@pytest.fixture(autouse=True)
def topics(brokers: SimulatedBrokers) -> None:
    for topic in (TOPIC, INPUT):
        brokers.create_topic(topic, 2)


def transaction(brokers: SimulatedBrokers, **more: object) -> Transaction:
    silent = logging.getLogger("librdkafka")
    silent.setLevel(logging.CRITICAL + 1)
    config = {
        "bootstrap.servers": brokers.bootstrap,
        "transactional.id": "app.input.1",
        "transaction.timeout.ms": 5_000,
        "linger.ms": 0,
        "logger": silent,
        **more,
    }
    return Transaction(config, 1, "g")


def failure(act: Callable[[], object]) -> WorkerError:
    with pytest.raises(WorkerError) as caught:
        act()
    assert caught.value.cause.startswith("partition 1: ")
    return caught.value


def failed_in_the_background(brokers: SimulatedBrokers, request: int, error: int) -> Transaction:
    """A transaction whose first record met this error, which its producer has noticed."""
    ours = transaction(brokers)
    ours.open()
    brokers.answer(request, *[error] * 5)
    ours.begin()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            ours.produce(TOPIC, b"value", None)
            time.sleep(0.01)
        except Exception:
            return ours
    raise AssertionError("the producer has not noticed")


def test_what_is_produced_is_committed(brokers: SimulatedBrokers) -> None:
    ours = transaction(brokers)
    ours.open()
    ours.begin()
    assert ours.produce_all(TOPIC, [b"1", b"2"], [None, b"k"]) == []
    ours.send_offsets(INPUT, 2)
    assert ours.begun
    ours.commit()
    assert not ours.begun


def test_records_that_are_too_large_are_told_and_the_others_are_in(brokers: SimulatedBrokers) -> None:
    ours = transaction(brokers, **{"message.max.bytes": 1_000})
    ours.open()
    ours.begin()
    values = [b"v" * size for size in (10, 2_000, 10, 3_000)]
    assert ours.produce_all(TOPIC, values, [None] * 4) == [1, 3]
    with pytest.raises(TooLarge):
        ours.produce(TOPIC, b"v" * 2_000, None)
    ours.commit()


def test_a_full_queue_is_waited_for(brokers: SimulatedBrokers) -> None:
    ours = transaction(brokers, **{"queue.buffering.max.messages": 10})
    ours.open()
    ours.begin()
    values = [b"%d" % number for number in range(100)]
    assert ours.produce_all(TOPIC, values, [None] * 100) == []
    ours.commit()


@pytest.mark.parametrize("request_", [PRODUCE, ADD_PARTITIONS], ids=["produce", "add partitions"])
@pytest.mark.parametrize(
    "error",
    [KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED],
    ids=["old epoch", "fenced"],
)
@pytest.mark.parametrize("step", ["produce", "produce_all", "send_offsets", "commit", "begin"])
def test_a_worker_that_was_fenced_knows_it_whatever_it_does_next(
    brokers: SimulatedBrokers, request_: int, error: int, step: str
) -> None:
    """Taken for doubt, it would be replaced, its replacement would fence the other owner, and so on."""
    ours = failed_in_the_background(brokers, request_, error)
    if step == "begin":
        ours._begun = False
    steps: dict[str, Callable[[], object]] = {
        "produce": lambda: ours.produce(TOPIC, b"value", None),
        "produce_all": lambda: ours.produce_all(TOPIC, [b"value"], [None]),
        "send_offsets": lambda: ours.send_offsets(INPUT, 1),
        "commit": ours.commit,
        "begin": ours.begin,
    }
    assert failure(steps[step]).exit_code is WorkerExit.FENCED


def test_a_commit_that_is_refused_because_of_a_fence_is_a_fence(brokers: SimulatedBrokers) -> None:
    ours = transaction(brokers)
    ours.open()
    ours.begin()
    ours.produce(TOPIC, b"value", None)
    brokers.answer(END_TXN, KafkaError.PRODUCER_FENCED)
    assert failure(ours.commit).exit_code is WorkerExit.FENCED


def test_a_record_that_could_not_be_written_fails_the_commit_and_is_doubt(brokers: SimulatedBrokers) -> None:
    ours = transaction(brokers)
    ours.open()
    ours.begin()
    brokers.answer(PRODUCE, KafkaError.MSG_SIZE_TOO_LARGE)
    ours.produce(TOPIC, b"value", None)
    error = failure(ours.commit)
    assert error.exit_code is WorkerExit.DOUBT
    assert ours.begun


def test_brokers_that_do_not_answer_at_the_start_are_away_and_nothing_is_in_doubt(
    brokers: SimulatedBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.olap.transaction._OPEN_TIMEOUT_S", 0.2)
    ours = transaction(brokers, **{"bootstrap.servers": "127.0.0.1:1"})
    assert failure(ours.open).exit_code is WorkerExit.BROKERS_UNREACHABLE


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (KafkaError.INVALID_TRANSACTION_TIMEOUT, "olap.transaction_timeout_ms"),
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "ACLs"),
    ],
)
def test_what_only_a_person_can_change_is_a_configuration_error_with_advice(
    brokers: SimulatedBrokers, error: int, advice: str
) -> None:
    brokers.answer(INIT_PRODUCER_ID, error)
    refused = failure(transaction(brokers).open)
    assert refused.exit_code is WorkerExit.CONFIGURATION
    assert advice in refused.remedy


def test_giving_up_what_was_begun_is_no_error_and_may_be_done_twice(brokers: SimulatedBrokers) -> None:
    ours = transaction(brokers)
    ours.open()
    ours.abort()
    ours.begin()
    ours.produce(TOPIC, b"value", None)
    ours.abort()
    assert not ours.begun
    ours.abort()


def test_giving_up_after_a_fence_is_no_error(brokers: SimulatedBrokers) -> None:
    ours = failed_in_the_background(brokers, ADD_PARTITIONS, KafkaError.INVALID_PRODUCER_EPOCH)
    ours.abort()
    assert ours.begun


def test_the_abort_of_a_dead_owners_transaction_is_not_waited_for_longer_than_it_takes(
    brokers: SimulatedBrokers,
) -> None:
    """librdkafka by itself pauses for half a second after each of these answers. On a busy machine it may
    take that long for other reasons, but not each time."""

    def opened_s(number: int) -> tuple[float, Transaction]:
        opening = transaction(brokers, **{"transactional.id": f"app.input.{number}"})
        brokers.answer(INIT_PRODUCER_ID, *[KafkaError.CONCURRENT_TRANSACTIONS] * 6)
        began = time.monotonic()
        opening.open()
        return time.monotonic() - began, opening

    ours = next((opened for took_s, opened in map(opened_s, range(5)) if took_s < 6 * 0.5), None)
    assert ours is not None
    ours.begin()
    ours.produce(TOPIC, b"value", None)
    ours.commit()


def test_a_coordinator_that_stays_busy_is_waited_for_to_the_end_and_no_further(
    brokers: SimulatedBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.olap.transaction._OPEN_TIMEOUT_S", 0.5)
    ours = transaction(brokers)
    brokers.answer(INIT_PRODUCER_ID, *[KafkaError.CONCURRENT_TRANSACTIONS] * 1_000)
    assert failure(ours.open).exit_code is WorkerExit.BROKERS_UNREACHABLE


def test_a_fence_that_is_met_while_records_linger_is_told_at_once(brokers: SimulatedBrokers) -> None:
    """They cannot be written any more, and must not be waited for."""
    ours = transaction(brokers, **{"linger.ms": 100, "transaction.timeout.ms": 60_000})
    ours.open()
    ours.begin()
    brokers.answer(ADD_PARTITIONS, *[KafkaError.PRODUCER_FENCED] * 5)
    ours.produce(TOPIC, b"value", None)
    began = time.monotonic()

    def commit() -> None:
        ours.send_offsets(INPUT, 1)
        ours.commit()

    assert failure(commit).exit_code is WorkerExit.FENCED
    assert time.monotonic() - began < 10


def test_a_queue_that_nobody_takes_from_is_the_brokers_absence_and_no_hang(
    brokers: SimulatedBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = transaction(brokers, **{"queue.buffering.max.messages": 2, "linger.ms": 4_000})
    ours.open()
    ours.begin()
    monkeypatch.setattr("workers.olap.transaction._COMMIT_TIMEOUT_S", 0.2)
    assert failure(lambda: ours.produce_all(TOPIC, [b"1"] * 3, [None] * 3)).exit_code is (
        WorkerExit.BROKERS_UNREACHABLE
    )
    assert failure(lambda: ours.produce(TOPIC, b"1", None)).exit_code is WorkerExit.BROKERS_UNREACHABLE


def test_where_no_thread_can_be_had_the_commit_flushes(
    brokers: SimulatedBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ours = transaction(brokers)
    ours.open()
    ours.begin()
    ours.produce(TOPIC, b"1", None)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    ours.send_offsets(INPUT, 1)
    ours.commit()
