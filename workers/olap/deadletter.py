"""What becomes of a record that cannot be processed: it goes to the dead-letter topic, in the same
transaction as its neighbours' output, with its original value, key and headers and the reason."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from confluent_kafka import Message

from supervisor.contract.messages import Suspect
from workers.decode import BadRecord
from workers.kafka.records import Headers
from workers.olap.transaction import TooLarge, Transaction

__all__ = ["HEADER_PREFIX", "dead_letter_headers", "quarantine", "send"]

HEADER_PREFIX = "dlq."
_TEXT_LIMIT = 1_000
_STACK_LIMIT = 4_000
_KEPT_OF_TOO_LARGE = 100_000


def dead_letter_headers(topic: str, partition: int, offset: int, bad: BadRecord, now: datetime) -> Headers:
    """The headers that name the record's origin and the reason."""
    return [
        ("dlq.topic", topic.encode()),
        ("dlq.partition", str(partition).encode()),
        ("dlq.offset", str(offset).encode()),
        ("dlq.error.class", bad.error_class.encode()),
        ("dlq.error.text", bad.error_text[:_TEXT_LIMIT].encode("utf-8", "replace")),
        ("dlq.time", now.isoformat(timespec="milliseconds").encode()),
    ]


def quarantine(transaction: Transaction, dlq_topic: str, message: Message, suspect: Suspect) -> BadRecord:
    """Add a record that killed its workers to the dead letters; nothing decodes or transforms it."""
    workers = "a worker" if suspect.deaths == 1 else f"{suspect.deaths} workers"
    text = f"{workers} died with this record in hand; how the last one died: {suspect.cause}"
    bad = BadRecord(0, "Poison", text)
    send(transaction, dlq_topic, message, bad, stack=suspect.stack)
    return bad


def send(
    transaction: Transaction, dlq_topic: str, message: Message, bad: BadRecord, *, stack: str = ""
) -> None:
    """Add ``message`` to the dead letters, with the stack at which its worker died if there is one.

    A record too large even for the dead-letter topic keeps its first 100,000 bytes, and a header
    ``dlq.truncated`` says how many there were: nothing is ever dropped without a trace.
    """
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    reason = dead_letter_headers(topic, partition, offset, bad, datetime.now(UTC))
    if stack:
        reason.append(("dlq.error.stack", stack[:_STACK_LIMIT].encode("utf-8", "replace")))
    headers = [*_original_headers(message), *reason]
    value = message.value()
    try:
        transaction.produce(dlq_topic, value, message.key(), headers)
    except TooLarge:
        size = len(value or b"")
        kept = (value or b"")[:_KEPT_OF_TOO_LARGE]
        key = (message.key() or b"")[:_KEPT_OF_TOO_LARGE] or None
        reason.append(("dlq.truncated", str(size).encode()))
        transaction.produce(dlq_topic, kept, key, reason)


def _original_headers(message: Message) -> Headers:
    """The record's own headers, or a note that they cannot be read.

    A header's name is any bytes to Kafka, but has to be UTF-8 for the client: it raises ``SystemError`` for
    others. Such a record must not stop its partition for ever.
    """
    try:
        return cast(Headers, message.headers() or [])
    except (SystemError, UnicodeError) as error:
        return [("dlq.headers.unreadable", str(error.__cause__ or error).encode("utf-8", "replace"))]
