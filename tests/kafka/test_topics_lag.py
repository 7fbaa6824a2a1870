"""Topics that the broker looked at has not heard of yet, though the others have."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from own_topics import KINDS, declare, exists, fresh_name, time_is_up

from supervisor.cluster.cluster import Cluster
from supervisor.contract.faults import BrokersUnreachable, ConfigurationFault
from supervisor.contract.settings import Settings
from supervisor.topics import converge
from supervisor.topics.changes import Changes
from supervisor.topics.connection import Deadline
from supervisor.topics.converge import apply, bootstrap, survey
from supervisor.topics.model import Observed
from supervisor.topics.observer import Observer

TIMEOUT_S = 30.0


@pytest.fixture
def admin(cluster: Cluster) -> Any:
    return AdminClient({"bootstrap.servers": cluster.bootstrap_servers})


@pytest.fixture
def declared(cluster: Cluster) -> Settings:
    return declare(cluster.bootstrap_servers, fresh_name())


@pytest.mark.parametrize("carry_out", [apply, bootstrap])
def test_a_refused_topic_that_the_broker_looked_at_had_not_heard_of_stops_all_changes(
    declared: Settings, admin: Any, monkeypatch: pytest.MonkeyPatch, carry_out: Any
) -> None:
    changelog = declared.topics.changelog.name
    admin.create_topics([NewTopic(changelog, 8, 3)])[changelog].result()
    monkeypatch.setattr(converge, "_REACH_S", TIMEOUT_S)
    # That of the plan that is approved, and that of the first round.
    hide_for(2, changelog, monkeypatch)
    with pytest.raises(ConfigurationFault, match="has 8 partitions and is declared with 4"):
        carry_out(declared, TIMEOUT_S)
    assert not any(exists(admin, getattr(declared.topics, kind).name) for kind in KINDS[:-1])


def test_nothing_is_planned_for_a_topic_that_only_the_broker_looked_at_does_not_know(
    declared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(declared, TIMEOUT_S)
    hide_for(1, declared.topics.changelog.name, monkeypatch)
    assert survey(declared, TIMEOUT_S).plan.actions == ()


@pytest.mark.parametrize("cut_short", [False, True], ids=["by the check", "by a look without an answer"])
def test_brokers_that_do_not_agree_in_time_are_said_not_to_however_the_last_look_ended(
    declared: Settings, monkeypatch: pytest.MonkeyPatch, cut_short: bool
) -> None:
    apply(declared, TIMEOUT_S)
    hide_for(1, declared.topics.changelog.name, monkeypatch)
    validate = Changes.validate

    def at_the_end(self: Changes, actions: Any, deadline: Deadline) -> Any:
        try:
            return validate(self, actions, deadline)
        finally:
            if cut_short:
                monkeypatch.setattr(Observer, "observe", no_answer)
            else:
                time_is_up(monkeypatch)

    def no_answer(*_: object) -> Observed:
        time_is_up(monkeypatch)
        raise BrokersUnreachable("no answer")

    monkeypatch.setattr(Changes, "validate", at_the_end)
    with pytest.raises(BrokersUnreachable) as raised:
        survey(declared, TIMEOUT_S)
    topic = declared.topics.changelog.name
    assert f"did not agree within 30 s: topic {topic} has changed, and not every" in raised.value.cause


def hide_for(looks: int, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many looks are at a broker that has not heard of this topic: what a broker answers that lags."""
    observe = Observer.observe
    hidden = 0

    def lagging(self: Observer, topics: Any, deadline: Any) -> Observed:
        nonlocal hidden
        found = observe(self, topics, deadline)
        if hidden == looks:
            return found
        hidden += 1
        known = {name: there for name, there in found.topics.items() if name != topic}
        return msgspec.structs.replace(found, topics=known)

    monkeypatch.setattr(Observer, "observe", lagging)
