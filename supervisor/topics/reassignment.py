"""Where replicas would go to give every partition its declared number: input for kafka-reassign-partitions.

confluent-kafka's admin client has no AlterPartitionReassignments, so this project prints the file and leaves
carrying it out to Kafka's own tool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from supervisor.topics.model import Desired, Observed, Partition

__all__ = ["Move", "Reassignment", "reassignment"]


class Move(Struct, frozen=True):
    topic: str
    partition: int
    replicas: tuple[int, ...]


class Reassignment(Struct, frozen=True):
    """Encodes to the JSON that ``kafka-reassign-partitions --reassignment-json-file`` reads."""

    version: int
    partitions: tuple[Move, ...]


def reassignment(desired: Sequence[Desired], observed: Observed) -> Reassignment:
    """Moves for partitions whose number of replicas differs. Replicas that may stay do; new ones go to the
    live brokers that have fewest, and those out of sync go first. A topic with a replication factor above
    the number of live brokers is left out."""
    live = [broker.id for broker in observed.brokers]
    load = Counter(
        replica
        for topic in observed.topics.values()
        for partition in topic.partitions
        for replica in partition.replicas
    )
    moves = []
    for wanted in desired:
        topic = observed.topics.get(wanted.topic)
        if topic is None or wanted.replication_factor > len(live):
            continue
        for partition in topic.partitions:
            if len(partition.replicas) != wanted.replication_factor:
                replicas = _placed(partition, wanted.replication_factor, live, load)
                moves.append(Move(wanted.topic, partition.id, replicas))
    return Reassignment(1, tuple(moves))


def _placed(partition: Partition, factor: int, live: Sequence[int], load: Counter[int]) -> tuple[int, ...]:
    # The order of replicas is the order of preference for the leader, so it is kept as far as possible.
    by_worth = sorted(partition.replicas, key=lambda replica: replica not in partition.isr)
    kept = [replica for replica in partition.replicas if replica in by_worth[:factor]]
    free = sorted(
        (broker for broker in live if broker not in kept), key=lambda broker: (load[broker], broker)
    )
    added = free[: factor - len(kept)]
    load.update(added)
    return (*kept, *added)
