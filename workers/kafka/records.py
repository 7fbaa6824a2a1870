"""Records in memory as librdkafka takes them: by the batch, and one that has headers."""

from __future__ import annotations

import contextlib
import ctypes
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate

from workers.kafka.librdkafka import Memory, Part, PartType, Record, api

__all__ = ["COPY", "Headers", "Records", "single"]

Headers = list[tuple[str, str | bytes | None]]

COPY = 2  # RD_KAFKA_MSG_F_COPY
_WORD = 8
_WORDS = ctypes.sizeof(Record) // _WORD
_PAYLOAD, _LEN, _KEY_POINTER, _KEY_LEN = (
    getattr(Record, name).offset // _WORD for name in ("payload", "len", "key", "key_len")
)
_ROOM = 256


class Records:
    """An array of ``rd_kafka_message_t`` that is used again and again.

    A column is every ninth word of it, and is written by one strided copy. Fields that are not written stay
    zero: no opaque pointer, no partition of a record's own.
    """

    def __init__(self) -> None:
        self._make_room(_ROOM)
        self._keyed = False
        """Whether there was ever a key: from then on each batch has to overwrite the last one's."""

    @property
    def address(self) -> int:
        return self._address

    def fill(self, values: Sequence[bytes | None], keys: Sequence[bytes | None]) -> tuple[bytes, bytes]:
        """Write the records; returns the memory that they point into, which has to be kept until then."""
        count = len(values)
        if count > self._room:
            self._make_room(count)
        data = self._write(_PAYLOAD, _LEN, values)
        if self._keyed or keys.count(None) < count:
            self._keyed = True
            return data, self._write(_KEY_POINTER, _KEY_LEN, keys)
        return data, b""

    def refused(self, count: int) -> list[tuple[int, int]]:
        """Places and error codes of the records that were not taken."""
        records = (Record * count).from_buffer(self._memory)
        return [(place, record.err) for place, record in enumerate(records) if record.err]

    def _make_room(self, count: int) -> None:
        self._memory = (Record * count)()
        self._words = memoryview(self._memory).cast("B").cast("Q")
        self._address = ctypes.addressof(self._memory)
        self._room = count

    def _write(self, pointer: int, size: int, items: Sequence[bytes | None]) -> bytes:
        """Write pointers and sizes of one part of each record; returns what is pointed into."""
        try:
            data = b"".join(items)  # type: ignore[arg-type]  # None raises TypeError
            absent = False
        except TypeError:
            data = b"".join(item for item in items if item is not None)
            absent = True
        sizes = array("Q", [len(item or b"") for item in items] if absent else map(len, items))  # type: ignore[arg-type]
        begin = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
        # One more than there are: where the last one ends.
        addresses = array("Q", accumulate(sizes, initial=begin))
        if absent:
            for place, item in enumerate(items):
                if item is None:
                    addresses[place] = 0
        count = len(items)
        stop = count * _WORDS
        self._words[pointer:stop:_WORDS] = memoryview(addresses)[:count]
        self._words[size:stop:_WORDS] = memoryview(sizes)
        return data


@contextlib.contextmanager
def single(
    topic: int, partition: int, value: bytes | None, key: bytes | None, headers: Headers
) -> Iterator[tuple[ctypes.Array[Part], int]]:
    """One record as ``rd_kafka_produceva`` takes it, which is to be called within: its parts, how many."""
    written = api.rd_kafka_headers_new(len(headers))
    try:
        for name, text in headers:
            _add_header(written, name.encode(), text.encode() if isinstance(text, str) else text)
        parts = (
            Part(PartType.TOPIC, pointer=topic),
            Part(PartType.PARTITION, number=partition),
            Part(PartType.VALUE, memory=Memory(value, len(value or b""))),
            Part(PartType.KEY, memory=Memory(key, len(key or b""))),
            Part(PartType.FLAGS, number=COPY),
            Part(PartType.HEADERS, pointer=written),
        )
        yield (Part * len(parts))(*parts), len(parts)
    except BaseException:
        api.rd_kafka_headers_destroy(written)  # they are the record's once it is taken
        raise


def _add_header(headers: int, name: bytes, text: bytes | None) -> None:
    # With sizes: a name may have a zero byte in it, and so may a text.
    api.rd_kafka_header_add(headers, name, len(name), text, -1 if text is None else len(text))
