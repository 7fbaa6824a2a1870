"""Topics while brokers are killed, stopped and come back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from own_topics import declare, exists, fresh_name, time_is_up

from supervisor.cluster.cluster import Cluster
from supervisor.cluster.probe import ask
from supervisor.contract.faults import BrokersUnreachable, Fault
from supervisor.contract.settings import Settings
from supervisor.topics import converge
from supervisor.topics.changes import Changes
from supervisor.topics.connection import Deadline
from supervisor.topics.converge import apply, bootstrap, survey

# A broker that was killed counts as live until its session ends.
SESSION_S = 30.0


@pytest.fixture(scope="module")
def own() -> Iterator[Cluster]:
    """A cluster of these tests alone, since they stop its brokers."""
    with Cluster.start(brokers=3) as running:
        yield running


@pytest.fixture
def whole(own: Cluster) -> Iterator[Cluster]:
    """The same, all of whose brokers run again after the test."""
    yield own
    for number, broker in own.brokers.items():
        own.resume(number)
        if broker.pid is None:
            own.launch_one(number)
    own.wait_ready()


@pytest.fixture
def declared(own: Cluster) -> Settings:
    return declare(own.bootstrap_servers, fresh_name())


def await_live(cluster: Cluster) -> None:
    """Every live broker, asked by itself, says so: whichever is looked at next does, too."""
    deadline = time.monotonic() + 4 * SESSION_S  # a controller's election, then a broker's session
    ports = [broker.port for broker in cluster.brokers.values() if broker.pid is not None]
    while any((view := ask(port, 10.0)) is None or len(view.brokers) != len(ports) for port in ports):
        assert time.monotonic() < deadline, f"the brokers never agreed on {len(ports)} of them"
        time.sleep(0.05)


def client(settings: Settings) -> Any:
    """An admin client that says nothing of brokers that are away."""
    quiet = logging.Logger("quiet")
    quiet.addHandler(logging.NullHandler())
    return AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers}, logger=quiet)


def existing(settings: Settings) -> set[str]:
    admin = client(settings)
    return {topic.name for topic in settings.topics.declared().values() if exists(admin, topic.name)}


def test_a_broker_killed_during_apply_does_not_keep_it_from_its_end(
    whole: Cluster, declared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Changes._request

    def and_kill_one(self: Changes, *arguments: Any, validate_only: bool) -> Any:
        answers = request(self, *arguments, validate_only=validate_only)
        if not validate_only and whole.brokers[3].pid is not None:
            whole.kill(3)
        return answers

    monkeypatch.setattr(Changes, "_request", and_kill_one)
    observed = apply(declared, 4 * SESSION_S)
    assert observed is not None
    assert [broker.id for broker in observed.brokers] == [1, 2]
    assert len(existing(declared)) == 5


def test_workers_may_start_while_a_broker_is_away_and_the_plan_warns(
    whole: Cluster, declared: Settings
) -> None:
    bootstrap(declared, 30.0)
    whole.kill(2)
    await_live(whole)
    assert bootstrap(declared, 10.0).partition_counts[declared.topics.input.name] == 4
    plan = survey(declared, 10.0).plan
    assert plan.verdict == "same"
    assert {warning.kind for warning in plan.warnings} == {"under_replicated"}


def test_a_partition_without_a_leader_is_offline(whole: Cluster, declared: Settings) -> None:
    topic = declared.topics.input.name
    admin = client(declared)
    admin.create_topics([NewTopic(topic, 2, replica_assignment=[[1], [2]])])[topic].result()
    whole.kill(2)
    await_live(whole)
    (warning,) = survey(declared, 10.0).plan.warnings
    assert (warning.kind, warning.topic, warning.partitions) == ("offline", topic, (1,))


def test_new_topics_wait_at_start_for_the_brokers_that_their_replicas_need(
    whole: Cluster, declared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole.kill(1)
    await_live(whole)
    with pytest.raises(Fault, match="replication factor 3 and the cluster has 2 live brokers"):
        apply(declared, 60.0)
    monkeypatch.setattr(converge, "_QUIET_ROUNDS", 0)
    with (
        monkeypatch.context() as ending,
        pytest.raises(Fault, match="replication factor 3 and the cluster has 2 live brokers"),
    ):
        bootstrap(declared, 4 * SESSION_S, lambda _: time_is_up(ending))
    assert existing(declared) == set()
    results: list[object] = []
    waiting = threading.Event()
    start = threading.Thread(
        target=lambda: results.append(bootstrap(declared, 300.0, lambda _: waiting.set())), daemon=True
    )
    start.start()
    assert waiting.wait(4 * SESSION_S), "it says what it waits for"
    assert results == []
    whole.launch_one(1)
    start.join(300.0)
    assert len(results) == 1
    assert len(existing(declared)) == 5


@pytest.fixture
def silenced_amid_waiting(
    whole: Cluster, declared: Settings, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float], Fault]:
    """How a start ends that lacks a broker, where the others stop answering while it waits for that one; by
    how long they have to be silent to be taken for away."""

    def ended(silence_s: float) -> Fault:
        monkeypatch.setattr(converge, "_QUIET_ROUNDS", 0)
        monkeypatch.setattr(converge, "_SILENCE_S", silence_s)
        whole.kill(1)
        await_live(whole)
        said: list[str] = []

        def silence(progress: str) -> None:
            said.append(progress)
            whole.pause(2)
            whole.pause(3)
            end = time.monotonic() + 2.0
            monkeypatch.setattr(Deadline, "left_s", lambda _: max(0.0, end - time.monotonic()))

        with pytest.raises(Fault) as raised:
            bootstrap(declared, 4 * SESSION_S, silence)
        assert said, "the brokers were silenced while it waited"
        return raised.value

    return ended


def test_the_cause_is_what_was_waited_for_when_only_the_last_round_gets_no_answer(
    silenced_amid_waiting: Callable[[float], Fault],
) -> None:
    fault = silenced_amid_waiting(60.0)
    assert not isinstance(fault, BrokersUnreachable)
    assert "replication factor 3 and the cluster has 2 live brokers" in str(fault)


def test_brokers_that_went_silent_while_something_was_waited_for_are_the_cause(
    silenced_amid_waiting: Callable[[float], Fault],
) -> None:
    assert isinstance(silenced_amid_waiting(0.0), BrokersUnreachable)


def test_at_start_brokers_that_are_all_away_are_waited_for(whole: Cluster, declared: Settings) -> None:
    bootstrap(declared, 30.0)
    for number in whole.brokers:
        whole.pause(number)
    with pytest.raises(BrokersUnreachable, match="no answer from the brokers"):
        bootstrap(declared, 1.0)
    results: list[object] = []
    start = threading.Thread(target=lambda: results.append(bootstrap(declared, 90.0)), daemon=True)
    start.start()
    start.join(1.0)
    assert results == []
    for number in whole.brokers:
        whole.resume(number)
    start.join(90.0)
    assert len(results) == 1


def test_a_broker_that_hangs_does_not_keep_the_others_from_answering(
    whole: Cluster, declared: Settings
) -> None:
    bootstrap(declared, 30.0)
    for number in whole.brokers:
        whole.pause(number)
        try:
            # As long as a broker counts as live, clients may be told that it is the one to ask.
            assert survey(declared, 60.0).plan.verdict == "same"
        finally:
            whole.resume(number)
