"""What is done for partitions before they are a role's, with simulated brokers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from patience import PATIENCE_S, until
from simulated_brokers import INIT_PRODUCER_ID, SimulatedBrokers

from supervisor.contract.messages import Prepare
from supervisor.contract.settings import Kafka, Settings
from workers import logins, roles
from workers.errors import BrokersAway, WorkerError
from workers.olap import preparation as preparation_module
from workers.olap import state
from workers.olap.preparation import Preparation
from workers.olap.state import Changelog
from workers.olap.transaction import Transaction
from workers.olap.windows import WindowedCounts
from workers.pipeline import load

PIPELINE = load(logins.__name__)
CHANGELOG = Settings().topics.changelog.name
BOTH = (0, 1)


def prepare(brokers: SimulatedBrokers, *partitions: int, cpus: tuple[int, ...] = ()) -> Preparation:
    kafka = Kafka(bootstrap_servers=brokers.bootstrap, client={"log_level": 0})
    return roles.prepare(Settings(kafka=kafka), PIPELINE, Prepare(partitions, cpus))


def until_done(preparation: Preparation) -> None:
    until(lambda: preparation.done)


def write(brokers: SimulatedBrokers, partition: int, next_offset: int) -> None:
    """Add the end of a transaction to the changelog."""
    producer = Producer({"bootstrap.servers": brokers.bootstrap, "linger.ms": 0})
    value = state.encode_offset(next_offset, PIPELINE.dimensions)
    producer.produce(CHANGELOG, value, state.OFFSET_KEY, partition=partition)
    producer.flush()


@pytest.fixture(autouse=True)
def topics(brokers: SimulatedBrokers) -> None:
    for topic in Settings().topics.declared().values():
        brokers.create_topic(topic.name, 2)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[Changelog]:
    """Those that are closed, as they are."""
    found: list[Changelog] = []
    close = Changelog.close
    monkeypatch.setattr(Changelog, "close", lambda self: (found.append(self), close(self)))
    return found


def restored(changelog: Changelog) -> int | None:
    return changelog.restore(PIPELINE.dimensions, WindowedCounts(3_600))


def test_transactions_are_connected_and_not_opened(brokers: SimulatedBrokers) -> None:
    """To open one fences the owner, who is still at work."""
    brokers.answer(INIT_PRODUCER_ID, KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    preparation = prepare(brokers, 1, 0)
    until_done(preparation)
    prepared = preparation.take(BOTH)
    assert set(prepared) == {0, 1}
    with pytest.raises(WorkerError, match="TRANSACTIONAL_ID_AUTHORIZATION_FAILED"):
        prepared[1].transaction.open()
    mine = prepared[0].transaction
    mine.open()
    mine.begin()
    mine.produce(Settings().topics.output.name, b"value", None)
    mine.commit()
    for one in prepared.values():
        one.close()


def test_the_state_is_read_ahead_and_then_what_its_owner_has_added(brokers: SimulatedBrokers) -> None:
    write(brokers, 1, 7)
    preparation = prepare(brokers, 1)
    until_done(preparation)
    write(brokers, 1, 8)
    changelog = preparation.take(BOTH)[1].changelog
    changelog.read_on()
    assert restored(changelog) == 8
    changelog.close()


def test_state_that_comes_to_be_only_after_it_was_prepared_is_found(brokers: SimulatedBrokers) -> None:
    preparation = prepare(brokers, 0)
    until_done(preparation)
    write(brokers, 0, 3)
    changelog = preparation.take(BOTH)[0].changelog
    changelog.read_on()
    assert restored(changelog) == 3
    changelog.close()


def test_what_is_taken_before_it_is_connected_is_not_begun(
    brokers: SimulatedBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting, taken = threading.Event(), threading.Event()
    begun: list[Changelog] = []

    def slow(_: Transaction) -> None:
        connecting.set()
        assert taken.wait(PATIENCE_S)

    monkeypatch.setattr(Transaction, "connect", slow)
    monkeypatch.setattr(Changelog, "read_on", lambda self, beat: begun.append(self))
    preparation = prepare(brokers, 0, 1)
    assert connecting.wait(PATIENCE_S)
    assert not preparation.done
    assert preparation.take(BOTH) == {}
    taken.set()
    until_done(preparation)
    assert preparation.take(BOTH) == {}
    assert begun == []


def test_what_is_read_by_half_is_taken_and_read_on_by_who_needs_it(
    brokers: SimulatedBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute's reading is not thrown away because it would have taken two."""
    write(brokers, 0, 7)
    reading = threading.Event()
    read_on = Changelog.read_on
    beats = 0

    def slowly(self: Changelog, beat: Callable[[], None]) -> None:
        def beat_for_long() -> None:
            nonlocal beats
            beats += 1
            reading.set()
            while True:
                beat()
                time.sleep(0.001)

        read_on(self, beat_for_long)

    with monkeypatch.context() as patched:
        patched.setattr(Changelog, "read_on", slowly)
        patched.setattr(preparation_module, "_STOP_S", PATIENCE_S)
        preparation = prepare(brokers, 0, 1)
        assert reading.wait(PATIENCE_S)
        prepared = preparation.take(BOTH)
    assert set(prepared) == {0}
    assert beats == 1
    assert preparation.done
    prepared[0].changelog.read_on()
    assert restored(prepared[0].changelog) == 7
    prepared[0].close()


def test_what_comes_after_everything_was_taken_is_closed(
    brokers: SimulatedBrokers, monkeypatch: pytest.MonkeyPatch, closed: list[Changelog]
) -> None:
    """The thread has read everything, but is late; who takes does not wait for it for ever."""
    monkeypatch.setattr(preparation_module, "_STOP_S", 0.01)
    reading, taken = threading.Event(), threading.Event()

    def late(self: Changelog, beat: Callable[[], None]) -> None:
        reading.set()
        assert taken.wait(PATIENCE_S)

    monkeypatch.setattr(Changelog, "read_on", late)
    preparation = prepare(brokers, 0, 1)
    assert reading.wait(PATIENCE_S)
    assert preparation.take(BOTH) == {}
    taken.set()
    until_done(preparation)
    assert preparation.take(BOTH) == {}
    assert len(closed) == 1


def test_who_wants_other_partitions_does_not_wait_for_what_is_being_read(
    brokers: SimulatedBrokers, monkeypatch: pytest.MonkeyPatch, closed: list[Changelog]
) -> None:
    """A worker has died, and whoever gets its partitions was about to prepare for others."""
    reading, taken = threading.Event(), threading.Event()

    def long(self: Changelog, beat: Callable[[], None]) -> None:
        reading.set()
        assert taken.wait(PATIENCE_S)

    monkeypatch.setattr(preparation_module, "_STOP_S", PATIENCE_S)
    monkeypatch.setattr(Changelog, "read_on", long)
    preparation = prepare(brokers, 0)
    assert reading.wait(PATIENCE_S)
    began = time.monotonic()
    assert preparation.take((1,)) == {}
    assert time.monotonic() - began < PATIENCE_S / 2
    taken.set()
    until_done(preparation)
    assert len(closed) == 1


def test_it_keeps_to_the_cpus_of_the_role(brokers: SimulatedBrokers, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[int]] = []
    monkeypatch.setattr(Transaction, "connect", lambda _: seen.append(os.sched_getaffinity(0)))
    ours = os.sched_getaffinity(0)
    one = min(ours)
    preparation = prepare(brokers, 0, cpus=(one,))
    until_done(preparation)
    preparation.drop()
    assert seen == [{one}]
    assert os.sched_getaffinity(0) == ours


def test_what_nobody_needs_any_more_is_closed(brokers: SimulatedBrokers, closed: list[Changelog]) -> None:
    preparation = prepare(brokers, 0, 1)
    until_done(preparation)
    assert closed == []
    preparation.drop()
    until(lambda: len(closed) == 2)
    assert preparation.take(BOTH) == {}


@pytest.mark.parametrize("error", [BrokersAway("no"), KafkaException(KafkaError(KafkaError._FAIL))], ids=repr)
@pytest.mark.parametrize("where", [(Transaction, "connect"), (Changelog, "read_on")], ids=lambda one: one[1])
def test_what_cannot_be_prepared_is_left_to_the_role(
    brokers: SimulatedBrokers,
    monkeypatch: pytest.MonkeyPatch,
    where: tuple[type, str],
    error: Exception,
) -> None:
    failures: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(*where, refuse)
    preparation = prepare(brokers, 0)
    until_done(preparation)
    assert preparation.take(BOTH) == {}
    assert failures == []


def test_where_no_thread_can_be_had_the_role_does_everything_itself(
    brokers: SimulatedBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    preparation = prepare(brokers, 0)
    assert preparation.done
    assert preparation.take(BOTH) == {}
