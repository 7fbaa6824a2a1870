"""Clients that are connected ahead of a role, with simulated brokers."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import TopicPartition
from patience import PATIENCE_S, until
from simulated_brokers import SimulatedBrokers

from supervisor.contract.settings import Kafka, Settings
from workers import roles
from workers.olap import warmth
from workers.olap.warmth import WarmClients, Warmth


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST_PAUSE_S", "_RETRY_PAUSE_S", "_KEEP_ALIVE_S", "_LONGEST_PAUSE_S"):
        monkeypatch.setattr(warmth, name, 0.01)


def settings(bootstrap: str) -> Settings:
    return Settings(kafka=Kafka(bootstrap_servers=bootstrap, client={"log_level": 0}))


def warm_up(bootstrap: str) -> Warmth:
    return roles.warm_up(settings(bootstrap))


def create_topics(brokers: SimulatedBrokers) -> None:
    for topic in Settings().topics.declared().values():
        brokers.create_topic(topic.name, 2)


def threads_of_warmth() -> int:
    return sum(thread.name == "warmth" for thread in threading.enumerate())


def close(clients: WarmClients | None) -> None:
    assert clients is not None
    for client in clients:
        client.close()


def test_what_is_taken_is_connected_and_assigned_to_nothing(brokers: SimulatedBrokers) -> None:
    create_topics(brokers)
    clients = warm_up(brokers.bootstrap)
    until(lambda: clients.ready)
    taken = clients.take()
    assert taken is not None
    assert taken.consumer.assignment() == taken.changelog.assignment() == []
    where = TopicPartition(Settings().topics.input.name, 1)
    assert taken.consumer.get_watermark_offsets(where, 5, cached=False) == (0, 0)
    close(taken)


def test_only_one_can_take_it_and_nothing_more_is_connected_after_that(brokers: SimulatedBrokers) -> None:
    create_topics(brokers)
    before = threads_of_warmth()
    clients = warm_up(brokers.bootstrap)
    until(lambda: clients.ready)
    close(clients.take())
    assert clients.take() is None
    until(lambda: threads_of_warmth() <= before)
    assert not clients.ready


def test_what_cannot_be_connected_is_not_there_and_its_role_is_not_held_up() -> None:
    clients = warm_up("127.0.0.1:1")
    assert clients.take() is None


def test_settings_that_are_refused_leave_nothing_warm_and_the_role_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    died: list[object] = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    with caplog.at_level("DEBUG"):
        clients = roles.warm_up(Settings(kafka=Kafka(client={"no.such": "x"})))
        until(lambda: sum("nothing is connected ahead" in line for line in caplog.messages) > 1)
    assert not clients.ready
    assert clients.take() is None
    assert died == []


def test_topics_that_come_later_are_found(brokers: SimulatedBrokers, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a first start the processes are there before the topics are."""
    tried = threading.Event()
    connect = Warmth._connect

    def trying(self: Warmth, clients: WarmClients) -> bool:
        try:
            return connect(self, clients)
        finally:
            tried.set()

    with monkeypatch.context() as without:
        without.setattr(Warmth, "_connect", trying)
        without.setattr(warmth, "_leaders", lambda consumer, topic: {})
        clients = warm_up(brokers.bootstrap)
        assert tried.wait(PATIENCE_S)
        assert not clients.ready
    create_topics(brokers)
    until(lambda: clients.ready)
    close(clients.take())


def test_what_was_connected_and_does_not_answer_any_more_is_not_given_away(
    brokers: SimulatedBrokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_topics(brokers)
    clients = warm_up(brokers.bootstrap)
    until(lambda: clients.ready)
    monkeypatch.setattr(Warmth, "_connect", lambda self, some: False)
    until(lambda: not clients.ready)
    assert clients.take() is None
