"""Decoding a batch of records: with one call where alignment is proven, one by one where it is not.

One call over all values joined by newlines is much cheaper than a call per value, but a malformed value could
shift its neighbours onto wrong offsets. :func:`aligned` decides when that cannot happen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from workers.pipeline import Key, Pipeline

__all__ = ["BadRecord", "Batch", "Processor", "aligned"]

_OPENS, _CLOSES = {ord("{")}, {ord("}")}


@dataclass(frozen=True)
class BadRecord:
    """Why the record at ``index`` of its batch cannot be processed."""

    index: int
    error_class: str
    error_text: str


@dataclass
class Batch:
    """A processed batch. ``payloads[i]`` is the output of the record at ``indexes[i]`` of the input."""

    payloads: list[bytes]
    indexes: Sequence[int]
    keys: list[Key | None]
    bad: list[BadRecord]
    filtered: int = 0

    def reject(self, places: Sequence[int], error_class: str, error_text: str) -> None:
        """Turn the payloads at ``places`` into bad records: they could not be sent."""
        if not places:
            return
        rejected = set(places)
        self.bad.extend(BadRecord(self.indexes[place], error_class, error_text) for place in places)
        kept = [place for place in range(len(self.payloads)) if place not in rejected]
        self.payloads = [self.payloads[place] for place in kept]
        self.indexes = [self.indexes[place] for place in kept]
        self.keys = [self.keys[place] for place in kept]


def aligned(values: Sequence[bytes]) -> bool:
    """Whether lines decoded from ``values`` joined by newlines are sure to be theirs, in order, provided that
    there are as many.

    What is checked: every value starts with ``{`` and ends with ``}``. Why that suffices:

    - a decoder that reads past the end of a value meets ``}``, newline, ``{``. Inside a string a raw newline
      is an error; after ``}`` an open object or array wants a comma or its end, so ``{`` is an error. Hence
      no value runs into the next one.
    - so each value gives a whole number of results or an error, none gives zero (it starts with ``{``), and
      if the numbers are equal each gives exactly one.

    Raises IndexError for an empty value and TypeError for a tombstone.
    """
    # Two set comprehensions: three times as fast as counting in the joined bytes, and as a generator.
    return {value[0] for value in values} == _OPENS and {value[-1] for value in values} == _CLOSES


class Processor:
    """Decodes, enriches and encodes batches through one pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._enrich: Callable[[Any], Any] = pipeline.enrich
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(pipeline.event)
        self._encoder = msgspec.json.Encoder()

    def process(self, values: Sequence[bytes | None]) -> Batch:
        """Process the values of records that follow each other; ``None`` is a tombstone."""
        batch = self._at_once(values) if values else Batch([], (), [], [])
        return self._one_by_one(values) if batch is None else batch

    def _at_once(self, values: Sequence[bytes | None]) -> Batch | None:
        """The quick way, or ``None`` if anything at all is unusual: then nothing has been kept of it."""
        try:
            if not aligned(values):  # type: ignore[arg-type]  # a tombstone raises TypeError
                return None
            events = self._decoder.decode_lines(b"\n".join(values))  # type: ignore[arg-type]
            if len(events) != len(values):
                return None
            results = [self._enrich(event) for event in events]
            outputs = [output for output, _ in results if output is not None]
            if len(outputs) != len(results):
                return None
            payloads = self._encoder.encode_lines(outputs).split(b"\n")
        except Exception:  # whatever it is, the slow way finds the record and names it
            return None
        payloads.pop()  # encode_lines ends with a newline
        if len(payloads) != len(values):
            return None  # an output with newlines of its own, which only msgspec.Raw can bring in
        return Batch(payloads, range(len(values)), [key for _, key in results], [])

    def _one_by_one(self, values: Sequence[bytes | None]) -> Batch:
        indexes: list[int] = []
        batch = Batch([], indexes, [], [])
        for index, value in enumerate(values):
            try:
                output, key = self._one(value)
                payload = None if output is None else self._encoder.encode(output)
            except Exception as error:  # a pipeline may raise anything; the record is kept as a dead letter
                batch.bad.append(BadRecord(index, _class_of(error), str(error)))
                continue
            if payload is None:
                batch.filtered += 1
            else:
                indexes.append(index)
                batch.payloads.append(payload)
                batch.keys.append(key)
        return batch

    def _one(self, value: bytes | None) -> Any:
        if value is None:
            raise _TombstoneError("a record without a value is not an event")
        if not value:
            raise _EmptyError("a record with an empty value is not an event")
        return self._enrich(self._decoder.decode(value))


class _TombstoneError(ValueError):
    pass


class _EmptyError(ValueError):
    pass


_NAMES: dict[type[Exception], str] = {
    _TombstoneError: "Tombstone",
    _EmptyError: "EmptyValue",
    msgspec.ValidationError: "ValidationError",
    msgspec.DecodeError: "DecodeError",
}


def _class_of(error: Exception) -> str:
    return _NAMES.get(type(error), type(error).__name__)
