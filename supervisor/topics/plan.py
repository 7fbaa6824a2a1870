"""Compares declared topics with a cluster: what to create, extend and change, and what to refuse.

Pure. Two properties hold for every input and are tested as such: nothing it plans makes a topic smaller, and
after its actions have been carried out it plans none.
"""

from __future__ import annotations

from collections.abc import Sequence

from supervisor.topics.declaration import impossible
from supervisor.topics.model import (
    Action,
    ChangeConfig,
    ConfigChange,
    CreateTopic,
    Desired,
    ExtendTopic,
    Observed,
    ObservedTopic,
    Plan,
    Refusal,
    ReplicationDrift,
)
from supervisor.topics.placement import placement_warnings
from supervisor.topics.spelling import same_value

__all__ = ["plan"]


def plan(desired: Sequence[Desired], observed: Observed) -> Plan:
    """What differs. Only declared configuration keys are compared: any other override is left alone."""
    actions: list[Action] = []
    drift: list[ReplicationDrift] = []
    refusals: list[Refusal] = []
    for wanted in desired:
        refusals += impossible(wanted)
        topic = observed.topics.get(wanted.topic)
        wanted_actions = [_create(wanted)] if topic is None else _changes(wanted, topic)
        if topic is not None:
            drift += _drift(wanted, topic)
            refusals += _shrinks(wanted, topic)
        if any(isinstance(action, CreateTopic | ExtendTopic) for action in wanted_actions):
            refusals += _too_few_brokers(wanted, len(observed.brokers))
        actions += wanted_actions
    return Plan(
        actions=tuple(actions),
        drift=tuple(drift),
        refusals=tuple(refusals),
        warnings=tuple(placement_warnings(desired, observed)),
    )


def _create(wanted: Desired) -> Action:
    return CreateTopic(
        section=wanted.section,
        topic=wanted.topic,
        partitions=wanted.partitions,
        replication_factor=wanted.replication_factor,
        config=wanted.config,
    )


def _changes(wanted: Desired, topic: ObservedTopic) -> list[Action]:
    found: list[Action] = []
    count = len(topic.partitions)
    if wanted.partitions > count:
        found.append(
            ExtendTopic(section=wanted.section, topic=wanted.topic, before=count, after=wanted.partitions)
        )
    changes = tuple(
        ConfigChange(key=key, before=topic.config.get(key), after=value)
        for key, value in sorted(wanted.config.items())
        if not same_value(value, topic.config.get(key))
    )
    if changes:
        found.append(ChangeConfig(section=wanted.section, topic=wanted.topic, changes=changes))
    return found


def _drift(wanted: Desired, topic: ObservedTopic) -> list[ReplicationDrift]:
    if topic.replication_factor == wanted.replication_factor:
        return []
    return [
        ReplicationDrift(
            setting=wanted.setting("replication_factor"),
            topic=wanted.topic,
            declared=wanted.replication_factor,
            observed=topic.replication_factor,
        )
    ]


def _shrinks(wanted: Desired, topic: ObservedTopic) -> list[Refusal]:
    count = len(topic.partitions)
    if wanted.partitions >= count:
        return []
    setting = wanted.setting("partitions")
    return [
        Refusal(
            kind="shrink",
            topic=wanted.topic,
            setting=setting,
            cause=f"topic {wanted.topic} has {count} partitions and is declared with {wanted.partitions}; "
            "Kafka cannot take partitions away",
            remedy=f"set {setting} = {count}",
        )
    ]


def _too_few_brokers(wanted: Desired, live: int) -> list[Refusal]:
    if wanted.replication_factor <= live:
        return []
    setting = wanted.setting("replication_factor")
    return [
        Refusal(
            kind="brokers",
            topic=wanted.topic,
            setting=setting,
            cause=f"topic {wanted.topic} is declared with replication factor {wanted.replication_factor} "
            f"and the cluster has {live} live broker{'' if live == 1 else 's'}",
            remedy=f"start more brokers, or set {setting} to {live} or less",
        )
    ]
