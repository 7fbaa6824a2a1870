"""From the configuration's topics to what the planner compares: every value filled in, as Kafka spells it."""

from __future__ import annotations

from supervisor.contract.settings import Topic, Topics
from supervisor.topics.model import Desired, Refusal
from supervisor.topics.spelling import spelled

__all__ = ["desire", "impossible"]

# librdkafka's limit for one request.
_MAX_PARTITIONS = 100_000


def desire(topics: Topics) -> list[Desired]:
    """The declared topics in the order of :meth:`Topics.declared`."""
    return [_desired(name, getattr(topics, name), topic) for name, topic in topics.declared().items()]


def impossible(wanted: Desired) -> list[Refusal]:
    """What no cluster could satisfy."""
    found = []
    if wanted.min_insync_replicas > wanted.replication_factor:
        setting = wanted.setting("min_insync_replicas")
        found.append(
            Refusal(
                kind="declaration",
                topic=wanted.topic,
                setting=setting,
                cause=f"topic {wanted.topic} needs {wanted.min_insync_replicas} replicas in sync for a write "
                f"and is declared with replication factor {wanted.replication_factor}",
                remedy=f"set {setting} to {wanted.replication_factor} or less",
            )
        )
    if wanted.partitions > _MAX_PARTITIONS:
        setting = wanted.setting("partitions")
        found.append(
            Refusal(
                kind="declaration",
                topic=wanted.topic,
                setting=setting,
                cause=f"topic {wanted.topic} is declared with {wanted.partitions} partitions; "
                f"one request can ask for {_MAX_PARTITIONS}",
                remedy=f"set {setting} to {_MAX_PARTITIONS} or less",
            )
        )
    if not all(text.isprintable() for entry in wanted.config.items() for text in entry):
        setting = wanted.setting("config")
        cause = f"topic {wanted.topic} has unprintable characters in its configuration"
        found.append(
            Refusal(
                kind="config", topic=wanted.topic, setting=setting, cause=cause, remedy=f"correct {setting}"
            )
        )
    return found


def _desired(name: str, own: Topic, topic: Topic) -> Desired:
    partitions, factor, min_isr = topic.partitions, topic.replication_factor, topic.min_insync_replicas
    assert partitions is not None, "declared() fills in what is inherited"
    assert factor is not None
    assert min_isr is not None
    config = {key: spelled(value) for key, value in topic.config.items()}
    config["min.insync.replicas"] = str(min_isr)
    config["cleanup.policy"] = topic.cleanup_policy
    if topic.retention_ms is not None:
        config["retention.ms"] = str(topic.retention_ms)
    inheritable = ("partitions", "replication_factor", "min_insync_replicas")
    return Desired(
        section=f"topics.{name}",
        topic=topic.name,
        partitions=partitions,
        replication_factor=factor,
        min_insync_replicas=min_isr,
        config=config,
        inherited=frozenset(field for field in inheritable if getattr(own, field) is None),
    )
