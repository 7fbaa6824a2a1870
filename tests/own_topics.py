"""Topics of one test alone: declared under a name of its own, and looked at by no code of the project."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaException, TopicCollection

from supervisor.contract.settings import Kafka, Settings, Topic, Topics
from supervisor.topics.connection import Connection, Deadline

__all__ = ["KINDS", "declare", "exists", "fresh_name", "time_is_up", "topic"]

KINDS = ("input", "output", "aggregates", "dlq", "changelog")


def fresh_name() -> str:
    """Topics of one test share this prefix, and no others do."""
    return f"t{uuid.uuid4().hex[:12]}"


def declare(servers: str, name: str, *, cluster_id: str = "", **numbers: Any) -> Settings:
    """The built-in topics under ``name``, with these fields of :class:`Topics` besides."""
    topics: Any = {kind: topic(kind, name) for kind in KINDS}
    return Settings(
        kafka=Kafka(bootstrap_servers=servers, cluster_id=cluster_id), topics=Topics(**{**topics, **numbers})
    )


def topic(kind: str, name: str, **fields: Any) -> Topic:
    """One of the built-in topics, by a name of the test's own."""
    named: Topic = msgspec.structs.replace(getattr(Topics(), kind), name=f"{name}-{kind}", **fields)
    return named


def exists(admin: Any, topic: str) -> bool:
    try:
        admin.describe_topics(TopicCollection([topic]))[topic].result()
    except KafkaException:
        return False
    return True


def time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every deadline has passed, and brokers have answered a moment ago."""
    monkeypatch.setattr(Deadline, "left_s", lambda _: 0.0)
    monkeypatch.setattr(Connection, "silent_s", lambda _: 0.0)
