"""One partition's input against its output and its dead letters, record by record: pure, without Kafka.

What ought to be there is made anew from the input, one record at a time, so that nothing of the workers'
batches or transactions is taken on trust. Payloads are kept as fingerprints of 16 bytes (about 150 bytes of
memory for a record whose output has not been seen yet); order is not looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

from supervisor.demo.findings import Audit
from workers.decode import Processor
from workers.kafka.records import Headers

__all__ = ["Comparison", "Record"]

# Of such a size an output may be beyond what its topic takes; then the record is rightly a dead letter.
_LARGE = 900_000
_KEPT_OF_TOO_LARGE = 100_000
_TOO_LARGE = b"TooLarge"


class Record(NamedTuple):
    """A record of a topic, as far as the audit looks at it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int


class Comparison:
    """Takes all of a partition's input first, then output and dead letters in any order, then :meth:`end`.

    What is found is added to ``audit``.
    """

    def __init__(self, processor: Processor, topic: str, partition: int, audit: Audit) -> None:
        self._processor = processor
        self._topic = topic
        self._partition = partition
        self._audit = audit
        self._outputs = _Multiset()
        self._letters: dict[int, frozenset[bytes]] = {}
        self._either: dict[int, tuple[bytes, frozenset[bytes]]] = {}

    def take_input(self, record: Record) -> None:
        self._audit.events_in += 1
        batch = self._processor.process([record.value])
        if batch.bad:
            self._letters[record.offset] = _letter_fingerprints(record)
        elif batch.payloads:
            fingerprint = _fingerprint(record.key, batch.payloads[0])
            self._outputs.add(fingerprint, record.offset)
            if len(batch.payloads[0]) > _LARGE:
                self._either[record.offset] = (fingerprint, _letter_fingerprints(record))
        else:
            self._audit.filtered += 1

    def take_output(self, record: Record) -> None:
        self._audit.outputs += 1
        if not self._outputs.take(_fingerprint(record.key, record.value)):
            self._audit.duplicated.add(
                f"partition {self._partition}: output {record.offset} is a second one, or no expected one"
            )

    def take_dead_letter(self, record: Record) -> None:
        self._audit.dead_letters += 1
        original, reason = _split(record.headers)
        where = self._origin(reason)
        expected = None if where is None else self._expected_letter(where, reason)
        if expected is None:
            self._audit.duplicated.add(
                f"partition {self._partition}: dead letter {record.offset} is a second one, "
                "or no expected one"
            )
        elif (
            _fingerprint_with(record.key, record.value, original, reason.get("dlq.truncated")) not in expected
        ):
            assert where is not None
            self._audit.lost.add(
                f"partition {self._partition}: dead letter {record.offset} is not what stood at {where}"
            )

    def _origin(self, reason: dict[str, bytes | None]) -> int | None:
        """The input offset that a dead letter names, if it names one of our partition."""
        if reason.get("dlq.topic") != self._topic.encode():
            return None
        if reason.get("dlq.partition") != str(self._partition).encode():
            return None
        offset = reason.get("dlq.offset") or b""
        return int(offset) if offset.isdigit() else None

    def _expected_letter(self, offset: int, reason: dict[str, bytes | None]) -> frozenset[bytes] | None:
        if offset in self._letters:
            return self._letters.pop(offset)
        if offset in self._either and reason.get("dlq.error.class") == _TOO_LARGE:
            output, letter = self._either.pop(offset)
            # If its output was there as well, this one is too many.
            return letter if self._outputs.take(output) else None
        return None

    def end(self) -> None:
        """Everything was taken: what is still expected is lost."""
        for offset, times in self._outputs.left():
            again = f" (and {times - 1} like it)" if times > 1 else ""
            self._audit.lost.add(f"partition {self._partition}: offset {offset} has no output{again}", times)
        for offset in self._letters:
            self._audit.lost.add(f"partition {self._partition}: offset {offset} has no dead letter")


class _Multiset:
    """Fingerprints, how many there are of each, and an offset to name each by."""

    def __init__(self) -> None:
        self._first: dict[bytes, int] = {}
        self._more: Counter[bytes] = Counter()

    def add(self, fingerprint: bytes, offset: int) -> None:
        if fingerprint in self._first:
            self._more[fingerprint] += 1
        else:
            self._first[fingerprint] = offset

    def take(self, fingerprint: bytes) -> bool:
        """Remove one, if there is one."""
        if fingerprint in self._more:
            self._more[fingerprint] -= 1
            if not self._more[fingerprint]:
                del self._more[fingerprint]
            return True
        return self._first.pop(fingerprint, None) is not None

    def left(self) -> Iterator[tuple[int, int]]:
        """Offset and number of each that remains."""
        for fingerprint, offset in self._first.items():
            yield offset, 1 + self._more.get(fingerprint, 0)


def _fingerprint(*parts: bytes | None) -> bytes:
    """Different for other parts: each is preceded by its length, and none is not the same as empty."""
    sized = [b"-" if part is None else b"%d:%b" % (len(part), part) for part in parts]
    return blake2b(b"".join(sized), digest_size=16).digest()


def _fingerprint_with(
    key: bytes | None, value: bytes | None, headers: Headers, truncated: bytes | None
) -> bytes:
    flat: list[bytes | None] = []
    for name, content in headers:
        flat += [name.encode(), content.encode() if isinstance(content, str) else content]
    return _fingerprint(truncated, key, value, *flat)


def _letter_fingerprints(record: Record) -> frozenset[bytes]:
    """The dead letters that are right for a record: itself, or its beginning where it is long."""
    key, value = record.key, record.value
    whole = _fingerprint_with(key, value, record.headers, None)
    if value is None or len(value) <= _KEPT_OF_TOO_LARGE:
        return frozenset({whole})
    size = str(len(value)).encode()
    short_key = (key or b"")[:_KEPT_OF_TOO_LARGE] or None
    return frozenset({whole, _fingerprint_with(short_key, value[:_KEPT_OF_TOO_LARGE], [], size)})


def _split(headers: Headers) -> tuple[Headers, dict[str, bytes | None]]:
    """A dead letter's original headers, and those that were added.

    The last ``dlq.topic`` begins the added ones: a record that was replayed and failed again has others
    before.
    """
    begin = max(
        (place for place, (name, _) in enumerate(headers) if name == "dlq.topic"), default=len(headers)
    )
    added = {
        name: content.encode() if isinstance(content, str) else content for name, content in headers[begin:]
    }
    return headers[:begin], added
