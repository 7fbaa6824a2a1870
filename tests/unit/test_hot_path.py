"""What an event costs in the work loop, told in ways that hold on a busy machine.

Seconds would tell more of the machine than of the code. The number of bytecodes is the same in every run.
The time of what they call, which is written in C, is compared with that of the least that any such loop has
to do, in turns, by the quickest turn of many: one that nobody interrupted. ``make bench`` tells the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import msgspec
import pytest
from bytecodes import bytecodes

from supervisor.generate.events import events
from workers import logins, pipeline
from workers.decode import Processor

PIECE = 200
"""Records, as many as an OLAP worker processes at once."""
BYTECODES = 130
"""For each event; 104 with CPython 3.11."""
RATIO = 2.5
"""Of the whole processing to decoding and encoding alone; 1.8 to 2.0 when it was measured, and 3.4 of a
pipeline that does everything three times."""
TURNS = 60

LOGINS = pipeline.load("workers.logins")
Values = list[bytes | None]


@pytest.fixture(scope="module")
def values() -> Values:
    """Logins as they come, some with fields missing; none bad, since those are processed in another way."""
    return [value for _, value in islice(events(5, timestamps="day"), PIECE)]


def each(processor: Processor, values: Values) -> float:
    """How many bytecodes are executed for each event."""
    return bytecodes(lambda: processor.process(values)) / len(values)


def ratio(processor: Processor, values: Values) -> float:
    """How many times as long as decoding and encoding alone it takes."""
    decoder, encoder = msgspec.json.Decoder(logins.Event), msgspec.json.Encoder()

    def least() -> object:
        return encoder.encode_lines(decoder.decode_lines(b"\n".join(values))).split(b"\n")  # type: ignore[arg-type]

    turns = [(seconds(least), seconds(lambda: processor.process(values))) for _ in range(TURNS)]
    quickest = [min(times) for times in zip(*turns, strict=True)]
    return quickest[1] / quickest[0]


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def test_an_event_takes_few_bytecodes(values: Values) -> None:
    processor = Processor(LOGINS)
    assert processor.process(values).bad == []  # and what is imported or remembered once, is so by now
    assert each(processor, values) <= BYTECODES


def test_an_event_takes_little_longer_than_its_decoding_and_encoding(values: Values) -> None:
    assert ratio(Processor(LOGINS), values) <= RATIO


def test_a_pipeline_that_does_everything_three_times_would_be_noticed(values: Values) -> None:
    """By both measures, or the tests above prove nothing."""

    def three_times(event: Any) -> Any:
        for _ in range(2):
            LOGINS.enrich(msgspec.structs.replace(event))
        return LOGINS.enrich(event)

    slow = Processor(replace(LOGINS, enrich=three_times))
    slow.process(values)
    assert each(slow, values) > BYTECODES
    assert ratio(slow, values) > RATIO
