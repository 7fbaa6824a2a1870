"""Whether somebody else is at work on a partition: what its committed offset says of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, TopicPartition
from simulated_brokers import SimulatedBrokers

from supervisor.contract.exits import WorkerExit
from supervisor.contract.settings import Kafka, Settings
from workers.errors import BrokersAway, Contested
from workers.kafka import client
from workers.olap import contest

INPUT = "user-login"


def consumer_at(bootstrap: str) -> Consumer:
    return Consumer(client.olap_consumer(Settings(kafka=Kafka(bootstrap, client={"log_level": 0}))))


@pytest.fixture
def ours(brokers: SimulatedBrokers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Consumer]:
    brokers.create_topic(INPUT, 2)
    monkeypatch.setattr(contest, "_PATIENCE_S", 0.3)
    consumer = consumer_at(brokers.bootstrap)
    yield consumer
    consumer.close()


def commit(consumer: Consumer, partition: int, offset: int) -> None:
    consumer.commit(offsets=[TopicPartition(INPUT, partition, offset)], asynchronous=False)


@pytest.mark.parametrize("found", [None, 3, 5], ids=["nothing", "less", "the same"])
def test_nobody_is_at_work_where_nothing_is_committed_past_ours(ours: Consumer, found: int | None) -> None:
    if found is not None:
        commit(ours, 0, found)
    contest.look(ours, INPUT, {0: 5})


def test_who_has_committed_past_ours_is_another_one(ours: Consumer) -> None:
    commit(ours, 0, 5)
    commit(ours, 1, 9)
    with pytest.raises(Contested) as caught:
        contest.look(ours, INPUT, {0: 5, 1: 8})
    assert caught.value.exit_code is WorkerExit.CONTESTED
    assert caught.value.cause == "partition 1: another supervisor has committed offset 9, this one 8"
    assert "app.name" in caught.value.remedy


def test_what_was_committed_before_we_ever_owned_it_says_nothing(ours: Consumer) -> None:
    commit(ours, 0, 9)
    contest.look(ours, INPUT, {0: None, 1: None})


@pytest.mark.parametrize("begins_at", [0, 100], ids=["a new group", "a group of long ago"])
def test_what_moves_while_we_look_is_another_one_though_we_never_owned_it(
    ours: Consumer, brokers: SimulatedBrokers, monkeypatch: pytest.MonkeyPatch, begins_at: int
) -> None:
    monkeypatch.setattr(contest, "_PATIENCE_S", 30.0)
    if begins_at:
        commit(ours, 0, begins_at)
    done = threading.Event()

    def work() -> None:
        other, offset = consumer_at(brokers.bootstrap), begins_at
        while not done.is_set():
            offset += 1
            commit(other, 0, offset)
        other.close()

    another = threading.Thread(target=work)
    another.start()
    try:
        with pytest.raises(Contested, match="partition 0: another supervisor has committed offset"):
            contest.look(ours, INPUT, {0: None})
    finally:
        done.set()
        another.join()


def test_brokers_that_do_not_answer_say_nothing_about_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "_LOOKUP_TIMEOUT_S", 0.2)
    consumer = consumer_at("127.0.0.1:1")
    with pytest.raises(BrokersAway):
        contest.look(consumer, INPUT, {0: 5})
    consumer.close()
