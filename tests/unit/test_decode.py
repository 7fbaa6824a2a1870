"""Decoding in one call and one by one give the same result, whatever the neighbours are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workers import pipeline
from workers.decode import BadRecord, Batch, Processor
from workers.pipeline import Pipeline

PROCESSOR = Processor(pipeline.load("workers.logins"))

Values = list[bytes | None]

GOOD = b'{"user_id":"%d","locale":"CA","timestamp":1694479551}'
# Whole values and fragments of values. What begins with { and ends with } gets past the first look.
NASTY: Values = [
    None,
    b"",
    b" ",
    b"\n",
    b"{}",
    b" {}",
    b"{}\n",
    b"{}\r",
    b"{}{}",
    b"{}\n{}",
    b"{}\n\n{}",
    b"{} {}",
    b"[]",
    b"[{},{}]",
    b"[{}",
    b"{}]",
    b"null",
    b"1",
    b'"text"',
    b"{",
    b"}",
    b"{{}",
    b"{}}",
    b'{"user_id":"a"',
    b'"locale":"CA"}',
    b'{"user_id":"a",',
    b',"locale":"CA"}',
    b'{"user_id":',
    b'{"user_id":{}',
    b'{"region":{}',
    b'{"region":[{}',
    b'{"region":[{}\n{}]}',
    b'{"region":[{},\n{}]}',
    b"{}]}",
    b'{"user_id":"}',
    b'{"}',
    b'{"unknown":"}',
    b'{"unknown":"x\n{"}',
    b'{"user_id":"}\n{"}',
    b'{"user_id":"}\\n{"}',
    b'{"user_id":"a\nb"}',
    b'{"user_id":"a\\"}',
    b'{"user_id":"a\\\\"}',
    b'{"user_id":\n"a"}',
    b'{\n"user_id":"a"\n}',
    b'{"user_id":"\xff"}',
    b'{"unknown":"\xff"}',
    b'{"\xff":1}',
    b'{"user_id":"\xed\xa0\x80"}',
    b'{"user_id":"\\ud800"}',
    b'\xef\xbb\xbf{"user_id":"a"}',
    b"{\x00}",
    b"{}\x00",
    b'{"user_id":1}',
    b'{"timestamp":"soon"}',
    b'{"timestamp":NaN}',
    b'{"timestamp":1e400}',
    b'{"timestamp":253402300800}',
    b'{"locale":"CA","locale":"NY"}',
    b'{"region":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    b'{"region":' + b"9" * 5_000 + b"}",
    b"// {}",
    b"{}//",
    b"{'user_id':'a'}",
]

good = st.integers(0, 99).map(lambda number: GOOD % number)
values = st.lists(st.sampled_from(NASTY) | good, max_size=8)
fragments = st.lists(
    st.lists(
        st.sampled_from(
            [b"{", b"}", b"[", b"]", b'"', b":", b",", b"\n", b"\\", b'"locale"', b'"CA"', b"1", b" "]
        )
    )
    .map(b"".join)
    .map(lambda text: b"{" + text + b"}"),
    max_size=4,
)


def one_at_a_time(values: Values) -> tuple[Any, ...]:
    """What comes of each record in a batch of its own, put together."""
    payloads, indexes, keys, bad = [], [], [], []
    for index, value in enumerate(values):
        batch = PROCESSOR._one_by_one([value])
        payloads += batch.payloads
        keys += batch.keys
        indexes += [index] * len(batch.payloads)
        bad += [BadRecord(index, record.error_class, record.error_text) for record in batch.bad]
    return payloads, indexes, keys, bad


def seen(batch: Batch) -> tuple[Any, ...]:
    return batch.payloads, list(batch.indexes), batch.keys, batch.bad


@settings(max_examples=300)
@given(values)
@example([b'{"user_id":"a",', b'"locale":"CA"}'])
@example([b'{"region":[{}', b"{}]}", b"{}{}"])
@example([b'{"unknown":"}', b'{"}', b"{}{}"])
@example([b'{"user_id":"}', b'{"}', b"{}\n{}"])
@example([b"{}{}", b"[]"])
def test_a_record_comes_out_the_same_whoever_its_neighbours_are(values: Values) -> None:
    assert seen(PROCESSOR.process(values)) == one_at_a_time(values)


@settings(max_examples=300)
@given(fragments)
def test_fragments_that_open_and_close_like_objects_never_run_into_each_other(values: list[bytes]) -> None:
    assert seen(PROCESSOR.process(values)) == one_at_a_time(list(values))


@pytest.mark.parametrize("value", NASTY, ids=range(len(NASTY)))
def test_a_bad_record_leaves_its_neighbours_as_they_are(value: bytes | None) -> None:
    batch = PROCESSOR.process([GOOD % 1, value, GOOD % 2])
    mine = dict(zip(batch.indexes, batch.payloads, strict=True))
    assert msgspec.json.decode(mine[0])["user_id"] == "1"
    assert msgspec.json.decode(mine[2])["user_id"] == "2"
    assert (1 in mine) + len(batch.bad) == 1


@given(st.lists(good, min_size=1, max_size=20))
def test_good_records_are_decoded_in_one_call(values: list[bytes]) -> None:
    """The quick way is taken at all: without it the throughput is a third, and no result differs."""
    batch = PROCESSOR._at_once(values)
    assert batch is not None
    assert seen(batch) == one_at_a_time(list(values))


@given(values)
def test_every_record_is_accounted_for_once(values: Values) -> None:
    batch = PROCESSOR.process(values)
    assert sorted([*batch.indexes, *(record.index for record in batch.bad)]) == list(range(len(values)))
    assert list(batch.indexes) == sorted(batch.indexes)
    assert len(batch.payloads) == len(batch.indexes) == len(batch.keys)
    assert all(b"\n" not in payload for payload in batch.payloads)


def test_nothing_gives_nothing() -> None:
    assert seen(PROCESSOR.process([])) == ([], [], [], [])


@pytest.mark.parametrize(
    ("value", "error_class", "text"),
    [
        (None, "Tombstone", "without a value"),
        (b"", "EmptyValue", "empty value"),
        (b"[]", "ValidationError", "got `array`"),
        (b'{"user_id":1}', "ValidationError", "$.user_id"),
        (b'{"user_id":"a"', "DecodeError", "truncated"),
        (b"{}{}", "DecodeError", "trailing characters"),
        (b'{"timestamp":"soon"}', "ValueError", "'soon' is not a number of seconds"),
        (b'{"user_id":"\xff"}', "UnicodeDecodeError", "0xff"),
        (b"\xef\xbb\xbf{}", "DecodeError", "malformed"),
        (b'{"region":' + b"[" * 5_000, "RecursionError", "recursion"),
    ],
)
def test_a_bad_record_says_why(value: bytes | None, error_class: str, text: str) -> None:
    (bad,) = PROCESSOR.process([value]).bad
    assert (bad.index, bad.error_class) == (0, error_class)
    assert text in bad.error_text


# -- other pipelines ------------------------------------------------------------------------------------


class Number(msgspec.Struct):
    n: int


class Verbatim(msgspec.Struct):
    raw: msgspec.Raw


def processor(enrich: Any, event: type[msgspec.Struct] = Number) -> Processor:
    return Processor(Pipeline("test", event, ("n",), enrich))


def numbers(*ns: int) -> list[bytes]:
    return [b'{"n":%d}' % n for n in ns]


def test_an_event_that_is_dropped_on_purpose_is_counted_and_no_bad_record() -> None:
    batch = processor(lambda event: (event if event.n % 2 else None, (None, event.n))).process(
        numbers(1, 2, 3)
    )
    assert seen(batch) == (numbers(1, 3), [0, 2], [(None, 1), (None, 3)], [])
    assert batch.filtered == 1


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyError("no"), ZeroDivisionError("no"), RuntimeError("no")]
)
def test_whatever_a_pipeline_raises_concerns_that_record_alone(error: Exception) -> None:
    def enrich(event: Number) -> Any:
        if event.n == 2:
            raise error
        return event, None

    batch = processor(enrich).process(numbers(1, 2, 3))
    assert seen(batch) == (
        numbers(1, 3),
        [0, 2],
        [None, None],
        [BadRecord(1, type(error).__name__, str(error))],
    )


def test_an_output_that_cannot_be_encoded_concerns_that_record_alone() -> None:
    def enrich(event: Number) -> Any:
        return {"n": object() if event.n == 2 else event.n}, None

    batch = processor(enrich).process(numbers(1, 2, 3))
    assert (batch.payloads, list(batch.indexes)) == (numbers(1, 3), [0, 2])
    assert [record.error_class for record in batch.bad] == ["TypeError"]


def test_a_result_that_is_no_pair_concerns_that_record_alone() -> None:
    batch = processor(lambda event: event if event.n == 2 else (event, None)).process(numbers(1, 2, 3))
    assert list(batch.indexes) == [0, 2]
    assert [record.index for record in batch.bad] == [1]


def test_an_output_with_newlines_in_it_stays_one_payload_with_its_own_record() -> None:
    """``msgspec.Raw`` goes out as it is, and the newlines in it are not those between outputs."""

    def enrich(event: Number) -> Any:
        return Verbatim(msgspec.Raw(b'{\n"n":%d}' % event.n)), None

    batch = processor(enrich).process(numbers(1, 2))
    assert batch.payloads == [b'{"raw":{\n"n":1}}', b'{"raw":{\n"n":2}}']
    assert (list(batch.indexes), batch.bad) == ([0, 1], [])


def test_payloads_that_could_not_be_sent_become_bad_records_and_the_rest_stay_together() -> None:
    batch = processor(lambda event: (event, (None, event.n))).process(numbers(10, 11, 12, 13))
    batch.reject([1, 3], "TooLarge", "why")
    assert seen(batch) == (
        numbers(10, 12),
        [0, 2],
        [(None, 10), (None, 12)],
        [BadRecord(1, "TooLarge", "why"), BadRecord(3, "TooLarge", "why")],
    )


def test_rejecting_after_bad_records_names_the_right_ones() -> None:
    def enrich(event: Number) -> Any:
        if event.n == 10:
            raise ValueError("no")
        return event, None

    batch = processor(enrich).process(numbers(10, 11, 12))
    batch.reject([1], "TooLarge", "why")
    assert (batch.payloads, list(batch.indexes)) == (numbers(11), [1])
    assert [(record.index, record.error_class) for record in batch.bad] == [
        (0, "ValueError"),
        (2, "TooLarge"),
    ]


def test_rejecting_nothing_changes_nothing() -> None:
    batch = processor(lambda event: (event, None)).process(numbers(1, 2))
    batch.reject([], "TooLarge", "why")
    assert seen(batch) == (numbers(1, 2), [0, 1], [None, None], [])
