"""What an event costs in the work loop, told in ways that hold on a busy machine.

Seconds would tell more of the machine than of the code. The number of bytecodes is the same in every run.
The time of what they call, which is written in C, is compared with that of the least that any such loop has
to do, in turns, by the quickest turn of many: one that nobody interrupted. ``make bench`` tells the rest.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from types import FrameType
from typing import Any

import msgspec
import pytest

from supervisor.generate.events import events
from workers import logins, pipeline
from workers.decode import Processor

PIECE = 200
"""Records, as many as an OLAP worker processes at once."""
BYTECODES = 130
"""For each event; 104 with CPython 3.11."""
RATIO = 2.5
"""Of the whole processing to decoding and encoding alone; 2.0 when it was measured."""
TURNS = 60

LOGINS = pipeline.load("workers.logins")
Values = list[bytes | None]


@pytest.fixture(scope="module")
def values() -> Values:
    """Logins as they come, some with fields missing; none bad, since those are processed in another way."""
    return [value for _, value in islice(events(5, timestamps="day"), PIECE)]


def bytecodes(processor: Processor, values: Values) -> float:
    """How many are executed for each event."""
    executed = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal executed
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        executed += event == "opcode"
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        processor.process(values)
    finally:
        sys.settrace(former)
    return executed / len(values)


def ratio(processor: Processor, values: Values) -> float:
    """How many times as long as decoding and encoding alone it takes."""
    decoder, encoder = msgspec.json.Decoder(logins.Event), msgspec.json.Encoder()

    def least() -> object:
        return encoder.encode_lines(decoder.decode_lines(b"\n".join(values))).split(b"\n")  # type: ignore[arg-type]

    turns = [(seconds(least), seconds(lambda: processor.process(values))) for _ in range(TURNS)]
    quickest = [min(each) for each in zip(*turns, strict=True)]
    return quickest[1] / quickest[0]


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def test_an_event_takes_few_bytecodes(values: Values) -> None:
    processor = Processor(LOGINS)
    assert processor.process(values).bad == []  # and what is imported or remembered once, is so by now
    assert bytecodes(processor, values) <= BYTECODES


def test_an_event_takes_little_longer_than_its_decoding_and_encoding(values: Values) -> None:
    assert ratio(Processor(LOGINS), values) <= RATIO


def test_a_pipeline_that_does_everything_twice_would_be_noticed(values: Values) -> None:
    """By both measures, or the tests above prove nothing."""

    def twice(event: Any) -> Any:
        LOGINS.enrich(msgspec.structs.replace(event))
        return LOGINS.enrich(event)

    slow = Processor(replace(LOGINS, enrich=twice))
    slow.process(values)
    assert bytecodes(slow, values) > BYTECODES
    assert ratio(slow, values) > RATIO
