"""What a consumed record always has, and the client's types leave open."""

from __future__ import annotations

from confluent_kafka import Message

__all__ = ["offset_of", "partition_of"]


def offset_of(message: Message) -> int:
    offset = message.offset()
    assert offset is not None
    return offset


def partition_of(message: Message) -> int:
    partition = message.partition()
    assert partition is not None
    return partition
