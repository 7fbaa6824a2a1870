"""What is declared, what is observed on a cluster, and what lies between: the values the planner works on."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

__all__ = [
    "Action",
    "Broker",
    "BrokerView",
    "ChangeConfig",
    "ConfigChange",
    "CreateTopic",
    "Desired",
    "ExtendTopic",
    "Observed",
    "ObservedTopic",
    "Partition",
    "PlacementWarning",
    "Plan",
    "Refusal",
    "RefusalKind",
    "ReplicationDrift",
    "TopicView",
]


class Desired(Struct, frozen=True, kw_only=True):
    """One declared topic, nothing left to inherit. ``section`` is its table in the configuration file."""

    section: str
    topic: str
    partitions: int
    replication_factor: int
    min_insync_replicas: int
    config: dict[str, str]
    """Every declared topic configuration of Kafka's, min.insync.replicas among them."""
    inherited: frozenset[str] = frozenset()
    """Fields that stand in [topics] rather than in ``section``."""

    def setting(self, field: str) -> str:
        """The key of the configuration file that decides ``field``."""
        return f"topics.{field}" if field in self.inherited else f"{self.section}.{field}"


class Broker(Struct, frozen=True):
    id: int
    host: str
    port: int


class Partition(Struct, frozen=True):
    """``leader`` is None while it is offline; the first of ``replicas`` is the preferred leader."""

    id: int
    leader: int | None
    replicas: tuple[int, ...]
    isr: tuple[int, ...]


class ObservedTopic(Struct, frozen=True):
    partitions: tuple[Partition, ...]
    config: dict[str, str | None]
    """Values in force, the brokers' defaults included."""
    id: str = ""
    """Another one for each topic that ever had the name."""

    @property
    def replication_factor(self) -> int:
        """Replicas of the partition that has fewest: a running reassignment adds some for a while."""
        return min((len(partition.replicas) for partition in self.partitions), default=0)


class Observed(Struct, frozen=True):
    """The cluster as one broker described it: live brokers, and those of the topics asked for that exist."""

    cluster_id: str
    brokers: tuple[Broker, ...]
    topics: dict[str, ObservedTopic]

    @property
    def partition_counts(self) -> dict[str, int]:
        """Number of partitions by topic name."""
        return {name: len(topic.partitions) for name, topic in self.topics.items()}


class TopicView(Struct, frozen=True):
    """A topic as one broker by itself shows it: partitions that have a leader, and values in force."""

    led: int
    config: dict[str, str | None]


BrokerView = dict[str, TopicView]
"""The topics that one broker knows, by name."""


class CreateTopic(Struct, frozen=True, kw_only=True, tag_field="action", tag="create"):
    """Create with the declared values; ``section`` is the topic's table in the configuration file."""

    section: str
    topic: str
    partitions: int
    replication_factor: int
    config: dict[str, str]


class ExtendTopic(Struct, frozen=True, kw_only=True, tag_field="action", tag="extend"):
    section: str
    topic: str
    before: int = field(name="from")
    after: int = field(name="to")


class ConfigChange(Struct, frozen=True, kw_only=True):
    """``before`` is the value in force, None where the brokers know no such key."""

    key: str
    before: str | None = field(name="from")
    after: str = field(name="to")


class ChangeConfig(Struct, frozen=True, kw_only=True, tag_field="action", tag="config"):
    section: str
    topic: str
    changes: tuple[ConfigChange, ...]


Action = CreateTopic | ExtendTopic | ChangeConfig


class ReplicationDrift(Struct, frozen=True, kw_only=True):
    """A replication factor that differs: the admin client has no request that could change it."""

    setting: str
    topic: str
    declared: int
    observed: int


RefusalKind = Literal["authorization", "brokers", "config", "declaration", "replication", "shrink"]


class Refusal(Struct, frozen=True, kw_only=True):
    """Why nothing is changed. ``setting`` is the key of the configuration file that would have to change."""

    kind: RefusalKind
    topic: str
    setting: str
    cause: str
    remedy: str


class PlacementWarning(Struct, frozen=True, kw_only=True):
    """Partitions that have too few replicas in sync just now; no difference from what is declared."""

    kind: Literal["offline", "below_min_isr", "under_replicated", "extra_replicas"]
    topic: str
    partitions: tuple[int, ...]
    text: str


class Plan(Struct, frozen=True, kw_only=True):
    """What differs between the declared topics and a cluster, in the order of the declaration."""

    actions: tuple[Action, ...]
    drift: tuple[ReplicationDrift, ...]
    refusals: tuple[Refusal, ...]
    warnings: tuple[PlacementWarning, ...]

    @property
    def verdict(self) -> Literal["same", "differs", "refused"]:
        """A client that may look and not change can still tell whether something differs."""
        if any(refusal.kind != "authorization" for refusal in self.refusals):
            return "refused"
        return "differs" if self.actions or self.drift else "same"
