"""What a dead letter says of itself, and what is kept of one that is too large."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest
from confluent_kafka import Message

from supervisor.contract.messages import Suspect
from workers.decode import BadRecord
from workers.olap import deadletter
from workers.olap.transaction import TooLarge, Transaction

NOW = datetime(2026, 11, 23, 10, 15, 59, 123_456, tzinfo=UTC)


def headers(error_class: str = "DecodeError", error_text: str = "why") -> dict[str, bytes]:
    found = deadletter.dead_letter_headers("user-login", 3, 2**40, BadRecord(0, error_class, error_text), NOW)
    assert len({name for name, _ in found}) == len(found)
    return cast(dict[str, bytes], dict(found))


def test_the_origin_and_the_reason_are_in_the_headers() -> None:
    assert headers() == {
        "dlq.topic": b"user-login",
        "dlq.partition": b"3",
        "dlq.offset": b"1099511627776",
        "dlq.error.class": b"DecodeError",
        "dlq.error.text": b"why",
        "dlq.time": b"2026-11-23T10:15:59.123+00:00",
    }
    assert all(name.startswith(deadletter.HEADER_PREFIX) for name in headers())


def test_a_long_reason_is_cut_to_a_thousand_characters() -> None:
    assert headers(error_text="ä" * 5_000)["dlq.error.text"] == "ä".encode() * 1_000


@pytest.mark.parametrize(
    ("text", "written"), [("", b""), ("☃\x00\n", "☃\x00\n".encode()), ("lone \ud800 half", b"lone ? half")]
)
def test_a_reason_of_any_characters_can_be_written(text: str, written: bytes) -> None:
    assert headers(error_text=text)["dlq.error.text"] == written


class Sent:
    """Takes what is produced, up to a size, as a producer does."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.records: list[tuple[str, bytes | None, bytes | None, dict[str, bytes]]] = []

    def produce(self, topic: str, value: bytes | None, key: bytes | None, headers: Any) -> None:
        if len(value or b"") + len(key or b"") + sum(len(content) for _, content in headers) > self.limit:
            raise TooLarge
        self.records.append((topic, value, key, dict(headers)))


class Record:
    def __init__(self, value: bytes | None, key: bytes | None, headers: Any = None) -> None:
        self._value, self._key, self._headers = value, key, headers

    def topic(self) -> str:
        return "user-login"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 7

    def value(self) -> bytes | None:
        return self._value

    def key(self) -> bytes | None:
        return self._key

    def headers(self) -> Any:
        if isinstance(self._headers, Exception):
            raise self._headers
        return self._headers


def send(record: Record, limit: int = 2_000_000) -> tuple[str, bytes | None, bytes | None, dict[str, bytes]]:
    sent = Sent(limit)
    bad = BadRecord(0, "DecodeError", "why")
    deadletter.send(cast(Transaction, sent), "dlq", cast(Message, record), bad)
    (only,) = sent.records
    return only


@pytest.mark.parametrize("value", [None, b"", b"not json", b"\xff\x00"])
@pytest.mark.parametrize("key", [None, b"", b"key"])
def test_value_key_and_headers_are_kept_as_they_were(value: bytes | None, key: bytes | None) -> None:
    topic, kept, kept_key, kept_headers = send(Record(value, key, [("trace", b"1"), ("empty", b"")]))
    assert (topic, kept, kept_key) == ("dlq", value, key)
    assert (kept_headers["trace"], kept_headers["empty"]) == (b"1", b"")
    assert kept_headers["dlq.offset"] == b"7"
    assert "dlq.truncated" not in kept_headers


def test_one_that_is_too_large_keeps_its_beginning_and_says_how_long_it_was() -> None:
    value = b"x" * 100_000 + b"y" * 1_900_000
    _, kept, key, kept_headers = send(Record(value, b"key", [("trace", b"1")]), limit=1_500_000)
    assert (kept, key) == (b"x" * 100_000, b"key")
    assert kept_headers["dlq.truncated"] == b"2000000"
    assert kept_headers["dlq.error.class"] == b"DecodeError"
    assert "trace" not in kept_headers


def test_a_key_or_headers_that_are_too_large_do_not_stop_it_either() -> None:
    _, kept, key, kept_headers = send(Record(None, b"k" * 1_600_000), limit=1_500_000)
    assert (kept, key, kept_headers["dlq.truncated"]) == (b"", b"k" * 100_000, b"0")
    _, kept, key, kept_headers = send(Record(b"v", b"k", [("big", b"h" * 1_600_000)]), limit=1_500_000)
    assert (kept, key, kept_headers["dlq.truncated"]) == (b"v", b"k", b"1")


@pytest.mark.parametrize(
    "error", [SystemError("returned a result with an exception set"), UnicodeError("0xff")]
)
def test_headers_that_cannot_be_read_do_not_stop_the_partition(error: Exception) -> None:
    """What ``Message.headers()`` of confluent-kafka 2.16 does when a header's name is not UTF-8."""
    _, kept, key, kept_headers = send(Record(b"v", b"k", error))
    assert (kept, key) == (b"v", b"k")
    assert kept_headers["dlq.headers.unreadable"] == str(error).encode()
    assert kept_headers["dlq.offset"] == b"7"


def quarantine(stack: str, deaths: int = 3) -> dict[str, bytes]:
    sent = Sent(2_000_000)
    suspect = Suspect(3, 7, 8, deaths, True, "SIGSEGV", stack)
    record = cast(Message, Record(b"\xff poison", b"key", [("trace", b"1")]))
    bad = deadletter.quarantine(cast(Transaction, sent), "dlq", record, suspect)
    ((_, value, key, found),) = sent.records
    assert (value, key, found["trace"]) == (b"\xff poison", b"key", b"1")
    assert found["dlq.error.text"] == bad.error_text.encode()
    return found


def test_a_quarantined_record_says_how_many_died_of_it_how_and_where() -> None:
    found = quarantine("  File enrich")
    assert found["dlq.error.class"] == b"Poison"
    assert (
        found["dlq.error.text"] == b"3 workers died with this record in hand; how the last one died: SIGSEGV"
    )
    assert found["dlq.error.stack"] == b"  File enrich"


def test_a_stack_that_is_not_there_has_no_header_and_a_long_one_loses_its_outermost_frames() -> None:
    assert "dlq.error.stack" not in quarantine("")
    assert quarantine("inner" + "x" * 9_000)["dlq.error.stack"] == b"inner" + b"x" * 3_995
    assert quarantine("lone \ud800 half", deaths=1)["dlq.error.stack"] == b"lone ? half"
