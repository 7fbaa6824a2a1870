"""How the partitions of declared topics stand: leaders, replicas in sync, replicas too many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from supervisor.topics.model import (
    BrokerView,
    Desired,
    Observed,
    ObservedTopic,
    Partition,
    PlacementWarning,
)
from supervisor.topics.spelling import same_value

__all__ = ["placement_warnings", "unready", "unseen"]

_Kind = Literal["offline", "below_min_isr", "under_replicated", "extra_replicas"]


def placement_warnings(desired: Sequence[Desired], observed: Observed) -> list[PlacementWarning]:
    """One warning for each topic and kind; each partition is named under its worst kind alone."""
    return [
        warning
        for wanted in desired
        if wanted.topic in observed.topics
        for warning in _topic_warnings(wanted, observed.topics[wanted.topic])
    ]


def unready(desired: Sequence[Desired], observed: Observed) -> list[str]:
    """What a writer with acks=all would still have to wait for, as sentences; empty if nothing."""
    waiting = []
    for wanted in desired:
        topic = observed.topics.get(wanted.topic)
        if topic is None:
            waiting.append(f"topic {wanted.topic} is not visible")
        elif len(topic.partitions) < wanted.partitions:
            waiting.append(
                f"topic {wanted.topic} shows {len(topic.partitions)} of {wanted.partitions} partitions"
            )
    return waiting + [
        warning.text
        for warning in placement_warnings(desired, observed)
        if warning.kind in ("offline", "below_min_isr")
    ]


def unseen(desired: Sequence[Desired], observed: Observed, views: Sequence[BrokerView | None]) -> list[str]:
    """What single brokers do not show yet of what one of them showed as complete; ``views`` is in the order
    of ``observed.brokers``."""
    waiting = []
    for broker, view in zip(observed.brokers, views, strict=True):
        where = f"broker {broker.id} ({broker.host}:{broker.port})"
        if view is None:
            waiting.append(f"{where} does not answer")
            continue
        for wanted in desired:
            count = len(observed.topics[wanted.topic].partitions)
            topic = view.get(wanted.topic)
            if topic is None or topic.led < count:
                led = 0 if topic is None else topic.led
                waiting.append(f"{where} shows topic {wanted.topic} with {led} of {count} leaders")
            elif not all(same_value(value, topic.config.get(key)) for key, value in wanted.config.items()):
                waiting.append(f"{where} shows topic {wanted.topic} with its former configuration")
    return waiting


def _topic_warnings(wanted: Desired, topic: ObservedTopic) -> list[PlacementWarning]:
    def needed(partition: Partition) -> int:
        return min(wanted.min_insync_replicas, len(partition.replicas))

    kinds: list[tuple[_Kind, Callable[[Partition], bool], str]] = [
        ("offline", lambda p: p.leader is None, "no leader"),
        (
            "below_min_isr",
            lambda p: len(p.isr) < needed(p),
            f"fewer than {wanted.min_insync_replicas} replicas in sync, so writes are refused",
        ),
        ("under_replicated", lambda p: len(p.isr) < len(p.replicas), "replicas out of sync"),
        (
            "extra_replicas",
            lambda p: len(p.replicas) > topic.replication_factor,
            "more replicas than the others, as during a reassignment",
        ),
    ]
    left = list(topic.partitions)
    found = []
    for kind, holds, text in kinds:
        ids = tuple(partition.id for partition in left if holds(partition))
        left = [partition for partition in left if partition.id not in ids]
        if ids:
            sentence = f"topic {wanted.topic} {_partitions(ids)}: {text}"
            found.append(PlacementWarning(kind=kind, topic=wanted.topic, partitions=ids, text=sentence))
    return found


def _partitions(ids: Sequence[int]) -> str:
    shown = ", ".join(map(str, ids[:8])) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
    return f"partition{'' if len(ids) == 1 else 's'} {shown}"
