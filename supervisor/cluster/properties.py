"""What a node's configuration says, as text. Pure: no file, no socket, no clock.

Every deviation from Kafka's defaults is listed in ``docs/cluster.md``; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

__all__ = ["LOOPBACK", "Node", "deviations", "render", "replication"]

LOOPBACK = "127.0.0.1"


class Node(msgspec.Struct, frozen=True):
    """One combined broker and controller: its number (from 1) and its two ports on loopback."""

    number: int
    port: int
    controller_port: int


def replication(brokers: int) -> tuple[int, int]:
    """Replication factor and min in-sync replicas: 3 and 2 where there are three brokers, else 1 and 1."""
    return (3, 2) if brokers >= 3 else (1, 1)


def deviations(brokers: int) -> dict[str, str]:
    """The settings that differ from Kafka's defaults, apart from addresses and directories."""
    factor, in_sync = (str(value) for value in replication(brokers))
    return {
        # A record that was acknowledged survives the loss of any one broker, as in production.
        "default.replication.factor": factor,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": factor,
        "transaction.state.log.replication.factor": factor,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": factor,
        "share.coordinator.state.topic.min.isr": in_sync,
        # Kafka creates 50 partitions for each of the three on first use, and a broker that takes over
        # reads each one it now leads. Eight still spread over three brokers, in a fraction of the time.
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.num.partitions": "8",
        "share.coordinator.state.topic.num.partitions": "8",
        # A misspelt topic is an error, not a new topic with one partition.
        "auto.create.topics.enable": "false",
        # Kafka waits 3 s for more consumers to join a new group; here they start together.
        "group.initial.rebalance.delay.ms": "0",
        # Kafka keeps 7 days in files of 1 GiB, and only closed files expire. A trial is over in a day.
        "log.retention.hours": "24",
        "log.segment.bytes": str(256 << 20),
        # An index file is mapped at its full size, 10 MiB by default, and there are two to a segment. A disk
        # that reads ahead far (8 MiB, say) zeroes so much of it at the first entry: for 16 partitions with
        # three replicas 96 times, and the brokers answer late meanwhile. Such a segment needs 768 KiB.
        "log.index.size.max.bytes": str(1 << 20),
        # The cleaner takes its buffer from the heap, 128 MiB by default: a quarter of a 512 MiB heap.
        "log.cleaner.dedupe.buffer.size": str(16 << 20),
        # A killed broker's partitions move when its session ends: 9 s by default, heartbeats each 2 s.
        # On one machine there is no network to be patient with.
        "broker.session.timeout.ms": "6000",
        "broker.heartbeat.interval.ms": "1000",
        # Without a leader a controller stands for election after one to two times this (default 1000).
        "controller.quorum.election.timeout.ms": "500",
    }


def render(number: int, nodes: Sequence[Node], data: Path) -> str:
    """The properties file of node ``number`` in a cluster of ``nodes``, its data in ``data``.

    Raises ValueError when ``number`` is not among the nodes, or ``data`` cannot be written in such a file.
    """
    node = next((one for one in nodes if one.number == number), None)
    if node is None:
        raise ValueError(f"node {number} is not one of {[one.number for one in nodes]}")
    if "," in str(data) or str(data) != str(data).strip():
        # log.dirs is a list parted by commas, and its items are stripped.
        raise ValueError(f"{data}: a comma, or a space at either end, cannot stand in log.dirs")
    voters = ",".join(f"{one.number}@{LOOPBACK}:{one.controller_port}" for one in nodes)
    identity = {
        "process.roles": "broker,controller",
        "node.id": str(number),
        "controller.quorum.voters": voters,
        "listeners": f"CLIENT://{LOOPBACK}:{node.port},CONTROLLER://{LOOPBACK}:{node.controller_port}",
        "advertised.listeners": f"CLIENT://{LOOPBACK}:{node.port}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(data),
    }
    return _properties(identity | deviations(len(nodes)))


def _properties(values: Mapping[str, str]) -> str:
    return "".join(f"{key}={_escape(value)}\n" for key, value in values.items())


def _escape(value: str) -> str:
    """As ``java.util.Properties`` reads it: Latin-1, with ``\\uXXXX`` for each UTF-16 unit beyond ASCII."""
    escaped = []
    for character in value:
        if character == "\\":
            escaped.append("\\\\")
        elif " " <= character <= "~":
            escaped.append(character)
        else:
            units = character.encode("utf-16-be", "surrogatepass")
            escaped.extend(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
    return "".join(escaped)
