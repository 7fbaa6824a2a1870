"""Topics while brokers are killed, stopped and come back."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from supervisor.cluster.cluster import Cluster
from supervisor.contract.faults import BrokersUnreachable, Fault
from supervisor.contract.settings import Kafka, Settings, Topics
from supervisor.topics import converge
from supervisor.topics.converge import apply, bootstrap, survey

KINDS = ("input", "output", "aggregates", "dlq", "changelog")
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
    name = f"t{uuid.uuid4().hex[:12]}"
    topics: Any = {
        kind: msgspec.structs.replace(getattr(Topics(), kind), name=f"{name}-{kind}") for kind in KINDS
    }
    return Settings(kafka=Kafka(bootstrap_servers=own.bootstrap_servers), topics=Topics(**topics))


def live_brokers(settings: Settings) -> int | None:
    """``None`` while there is no controller: the one that was may be what was killed."""
    try:
        return len(survey(settings, 10.0).observed.brokers)
    except BrokersUnreachable:
        return None


def await_live(settings: Settings, expected: int) -> None:
    deadline = time.monotonic() + 2 * SESSION_S  # a controller's election, then a broker's session
    while live_brokers(settings) != expected:
        assert time.monotonic() < deadline, f"the brokers never agreed on {expected} of them"


def client(settings: Settings) -> Any:
    """An admin client that says nothing of brokers that are away."""
    quiet = logging.Logger("quiet")
    quiet.addHandler(logging.NullHandler())
    return AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers}, logger=quiet)


def existing(settings: Settings) -> set[str]:
    admin = client(settings)
    names = [topic.name for topic in settings.topics.declared().values()]
    found = set()
    for name, future in admin.describe_topics(TopicCollection(names)).items():
        try:
            future.result()
        except KafkaException:
            continue
        found.add(name)
    return found


def test_a_broker_killed_during_apply_does_not_keep_it_from_its_end(
    whole: Cluster, declared: Settings
) -> None:
    said: list[str] = []

    def kill_one(progress: str) -> None:
        if not said:
            whole.kill(3)
        said.append(progress)

    observed = apply(declared, 60.0, report=kill_one)
    assert observed is not None
    assert [broker.id for broker in observed.brokers] == [1, 2]
    assert len(existing(declared)) == 5


def test_workers_may_start_while_a_broker_is_away_and_the_plan_warns(
    whole: Cluster, declared: Settings
) -> None:
    bootstrap(declared, 30.0)
    whole.kill(2)
    await_live(declared, 2)
    assert bootstrap(declared, 10.0).partition_counts[declared.topics.input.name] == 4
    plan = survey(declared, 10.0).plan
    assert plan.verdict == "same"
    assert {warning.kind for warning in plan.warnings} == {"under_replicated"}


def test_a_partition_without_a_leader_is_offline(whole: Cluster, declared: Settings) -> None:
    topic = declared.topics.input.name
    admin = client(declared)
    admin.create_topics([NewTopic(topic, 2, replica_assignment=[[1], [2]])])[topic].result()
    whole.kill(2)
    await_live(declared, 2)
    (warning,) = survey(declared, 10.0).plan.warnings
    assert (warning.kind, warning.topic, warning.partitions) == ("offline", topic, (1,))


def test_new_topics_wait_at_start_for_the_brokers_that_their_replicas_need(
    whole: Cluster, declared: Settings
) -> None:
    whole.kill(1)
    await_live(declared, 2)
    with pytest.raises(Fault, match="replication factor 3 and the cluster has 2 live brokers"):
        apply(declared, 60.0)
    with pytest.raises(Fault, match="replication factor 3 and the cluster has 2 live brokers"):
        bootstrap(declared, 4.0)  # it looks until then, and one look has to be answered
    assert existing(declared) == set()
    results: list[object] = []
    waiting = threading.Event()
    start = threading.Thread(
        target=lambda: results.append(bootstrap(declared, 90.0, lambda _: waiting.set())), daemon=True
    )
    start.start()
    assert waiting.wait(30.0), "it says what it waits for"
    assert results == []
    whole.launch_one(1)
    start.join(90.0)
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
        await_live(declared, 2)
        said: list[str] = []

        def silence(progress: str) -> None:
            said.append(progress)
            whole.pause(2)
            whole.pause(3)

        with pytest.raises(Fault) as raised:
            bootstrap(declared, 4.0, silence)
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
            assert survey(declared, 10.0).plan.verdict == "same"
        finally:
            whole.resume(number)
