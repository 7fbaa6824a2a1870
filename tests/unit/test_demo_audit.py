"""The audit's comparison and recount: each kind of damage must be found, and nothing else."""

from __future__ import annotations

import itertools
from collections import defaultdict
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.demo.comparison import Comparison, Record
from supervisor.demo.findings import Audit
from supervisor.demo.recount import Recount
from supervisor.generate.events import events
from workers import pipeline
from workers.decode import BadRecord, Processor
from workers.olap.deadletter import dead_letter_headers
from workers.olap.windows import WindowedCounts

NOW = datetime(2026, 11, 23, 10, 15, 12, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
NOW_MS = NOW_S * 1000
PARTITION = 2
LOGINS = pipeline.load("workers.logins")
RETENTION_S = 3600


def record(offset, value, key=None, headers=()):
    return Record(offset, key, value, list(headers), NOW_MS)


def worked(inputs):
    """Output and dead letters as a worker leaves them, processed as one batch."""
    batch = Processor(LOGINS).process([each.value for each in inputs])
    outputs = [
        record(place, payload, inputs[index].key)
        for place, (index, payload) in enumerate(zip(batch.indexes, batch.payloads, strict=True))
    ]
    letters = [letter(place, inputs[bad.index], bad) for place, bad in enumerate(batch.bad)]
    return outputs, letters


def letter(place, origin, bad=None, partition=PARTITION):
    bad = bad or BadRecord(0, "DecodeError", "")
    added = dead_letter_headers("user-login", partition, origin.offset, bad, NOW)
    return record(place, origin.value, origin.key, [*origin.headers, *added])


def audited(inputs, outputs, letters):
    audit = Audit()
    comparison = Comparison(Processor(LOGINS), "user-login", PARTITION, audit)
    for each in inputs:
        comparison.take_input(each)
    for each in outputs:
        comparison.take_output(each)
    for each in letters:
        comparison.take_dead_letter(each)
    comparison.end()
    return audit


@pytest.fixture
def inputs():
    """Three hundred events of every kind, good and bad."""
    source = itertools.islice(events(7, key="user_id", bad=0.3, clock=lambda: NOW_S), 300)
    return [record(offset, value, key, [("trace", b"1")]) for offset, (key, value) in enumerate(source)]


def test_a_faultless_run_with_every_kind_of_bad_event_is_clean(inputs):
    outputs, letters = worked(inputs)

    audit = audited(inputs, outputs, letters)

    assert audit.clean, audit
    assert (audit.events_in, audit.outputs, audit.dead_letters) == (300, len(outputs), len(letters))
    assert len(letters) > 30


def test_an_output_that_is_missing_is_named_by_its_offset(inputs):
    outputs, letters = worked(inputs)
    good = next(each for each in inputs if worked([each])[0])

    audit = audited(inputs, outputs[1:], letters)

    assert audit.lost.total == 1
    assert not audit.duplicated
    assert f"offset {good.offset} " in audit.lost.examples[0]


def test_an_output_that_is_there_twice_is_a_duplicate(inputs):
    outputs, letters = worked(inputs)

    audit = audited(inputs, [*outputs, outputs[5]], letters)

    assert (audit.lost.total, audit.duplicated.total) == (0, 1)


def test_equal_events_may_have_equal_outputs_but_not_one_too_many_or_too_few():
    same = [record(offset, b'{"user_id":"u"}') for offset in range(3)]
    outputs, _ = worked(same)

    assert audited(same, outputs, []).clean
    assert audited(same, [*outputs, outputs[0]], []).duplicated.total == 1
    assert audited(same, outputs[:1], []).lost.total == 2


@pytest.mark.parametrize("change", [{"value": b'{"region":"East"}'}, {"key": b"other"}, {"key": None}])
def test_a_changed_output_is_one_lost_and_one_that_nobody_expected(inputs, change):
    outputs, letters = worked(inputs)
    outputs[9] = outputs[9]._replace(**change)

    audit = audited(inputs, outputs, letters)

    assert (audit.lost.total, audit.duplicated.total) == (1, 1)


def test_a_dead_letter_that_is_missing_or_there_twice_is_found(inputs):
    outputs, letters = worked(inputs)

    assert audited(inputs, outputs, letters[1:]).lost.total == 1
    assert audited(inputs, outputs, [*letters, letters[3]]).duplicated.total == 1


@pytest.mark.parametrize(
    "change",
    [{"value": b"\x00"}, {"key": b"other"}, {"headers": None}],
    ids=["value", "key", "headers"],
)
def test_a_dead_letter_must_be_what_stood_in_the_input(inputs, change):
    outputs, letters = worked(inputs)
    if "headers" in change:
        change = {"headers": letters[4].headers[1:]}
    letters[4] = letters[4]._replace(**change)

    audit = audited(inputs, outputs, letters)

    assert audit.lost.total == 1
    assert "is not what stood at" in audit.lost.examples[0]


def test_an_empty_value_is_not_a_tombstone():
    tombstone = record(0, None)
    assert audited([tombstone], [], [letter(0, tombstone)]).clean
    assert audited([tombstone], [], [letter(0, tombstone._replace(value=b""))]).lost.total == 1


@pytest.mark.parametrize(
    "headers",
    [
        [],
        dead_letter_headers("user-login", PARTITION + 1, 0, BadRecord(0, "", ""), NOW),
        dead_letter_headers("another", PARTITION, 0, BadRecord(0, "", ""), NOW),
        dead_letter_headers("user-login", PARTITION, 99, BadRecord(0, "", ""), NOW),
        [("dlq.topic", b"user-login"), ("dlq.partition", b"2"), ("dlq.offset", b"-1")],
        [("dlq.topic", b"user-login"), ("dlq.partition", b"2"), ("dlq.offset", None)],
    ],
)
def test_a_dead_letter_that_names_no_bad_record_of_the_partition_does_not_count_for_one(headers):
    bad = record(0, b"{")

    audit = audited([bad], [], [record(0, b"{", None, headers)])

    assert (audit.lost.total, audit.duplicated.total) == (1, 1)


def test_a_replayed_record_keeps_the_headers_of_its_first_failure():
    first = letter(0, record(17, b"{"))
    replayed = record(40, first.value, first.key, first.headers)

    assert audited([replayed], [], [letter(0, replayed)]).clean


def test_an_output_too_large_for_its_topic_may_be_a_dead_letter_but_not_both():
    large = record(0, b'{"user_id":"' + b"u" * 1_000_000 + b'"}')
    small = record(0, b'{"user_id":"u"}')
    reason = BadRecord(0, "TooLarge", "")
    outputs, _ = worked([large])

    assert audited([large], [], [letter(0, large, reason)]).clean
    assert audited([large], outputs, []).clean
    assert audited([large], outputs, [letter(0, large, reason)]).duplicated.total == 1
    assert audited([large], [], []).lost.total == 1
    assert audited([large], [], [letter(0, large)]).duplicated.total == 1
    assert audited([small], [], [letter(0, small, reason)]).lost.total == 1


def test_a_dead_letter_cut_short_must_say_so_and_be_long():
    long, short = record(0, b"x" * 150_000), record(0, b"x" * 50_000)

    def cut(origin, size):
        added = dead_letter_headers("user-login", PARTITION, 0, BadRecord(0, "", ""), NOW)
        return record(0, origin.value[:100_000], None, [*added, ("dlq.truncated", size)])

    assert audited([long], [], [cut(long, b"150000")]).clean
    assert audited([long], [], [cut(long, b"150001")]).lost.total == 1
    assert audited([short], [], [cut(short, b"50000")]).lost.total == 1


def test_a_few_examples_stand_for_many_findings(inputs):
    audit = audited(inputs, [], worked(inputs)[1])

    assert audit.lost.total > 100
    assert len(audit.lost.examples) == 5


# -- counts ---------------------------------------------------------------------------------


def outputs_of(*timestamps, locale="NY"):
    """Payloads of events at these epoch seconds."""
    values = [msgspec.json.encode({"locale": locale, "timestamp": when}) for when in timestamps]
    return Processor(LOGINS).process(values).payloads


def recount(*partitions):
    counted = Recount(LOGINS.dimensions, RETENTION_S)
    for partition, payloads in enumerate(partitions):
        for payload in payloads:
            counted.take(partition, payload, NOW_MS)
    return counted


def cell(region="East", period=1):
    return (("region", region), ("time_flg", period))


def test_the_right_counts_are_found_right_over_all_partitions():
    counted = recount(outputs_of(NOW_S, NOW_S + 1), outputs_of(NOW_S - 60))

    wrong = counted.compare(
        {"total": {cell(): 3}, "2026-11-23 10:15": {cell(): 2}, "2026-11-23 10:14": {cell(): 1}}
    )

    assert not wrong, wrong


@pytest.mark.parametrize(
    "aggregates",
    [
        {"total": {cell(): 3}, "2026-11-23 10:15": {cell(): 2}},
        {"total": {cell(): 1}, "2026-11-23 10:15": {cell(): 2}},
        {"total": {cell(): 2}, "2026-11-23 10:15": {cell(): 1}},
        {"total": {cell(): 2}},
        {"2026-11-23 10:15": {cell(): 2}},
        {"total": {cell(): 2}, "2026-11-23 10:15": {cell(): 2}, "2026-11-23 10:16": {cell(): 1}},
        {"total": {cell(): 2, cell("West"): 1}, "2026-11-23 10:15": {cell(): 2}},
    ],
    ids=["total high", "total low", "minute low", "minute gone", "total gone", "minute new", "region new"],
)
def test_one_wrong_count_is_found_and_named(aggregates):
    wrong = recount(outputs_of(NOW_S, NOW_S)).compare(aggregates)

    assert wrong.total == 1
    assert "recounted" in wrong.examples[0]


def test_events_without_a_time_or_with_a_broken_clock_count_in_the_total_alone():
    payloads = outputs_of(None, NOW_S + 3 * 86_400, NOW_S)
    counted = recount(payloads)
    periods = [msgspec.json.decode(payload)["time_flg"] for payload in payloads]

    totals = {cell(period=None): 1, cell(period=1): 2}

    assert periods == [None, 1, 1]
    assert not counted.compare({"total": totals, "2026-11-23 10:15": {cell(): 1}})


def test_a_late_event_counts_in_the_total_alone_unless_its_minute_was_counted_before():
    late = outputs_of(NOW_S - 7200, NOW_S, NOW_S - 7200, NOW_S - 7260)
    totals = {cell(): 2, cell(period=1): 4}
    windows = {"total": totals, "2026-11-23 10:15": {cell(): 1}}

    def with_count(count):
        return {**windows, "2026-11-23 08:15": {cell(): count}}

    counted = recount(late)
    assert not counted.compare(with_count(1))
    assert not counted.compare(with_count(2))
    assert counted.compare(with_count(3)).total == 1
    assert counted.compare(windows).total == 1
    assert counted.compare({**with_count(1), "2026-11-23 08:14": {cell(): 1}}).total == 1


times = st.lists(
    st.one_of(st.none(), st.integers(NOW_S - 3 * RETENTION_S, NOW_S), st.integers(NOW_S, NOW_S + 3 * 86_400)),
    max_size=60,
)


@given(times, st.lists(st.integers(1, 7), min_size=60, max_size=60))
def test_whatever_the_batches_what_the_workers_count_is_within_the_recount(timestamps, sizes):
    values = [msgspec.json.encode({"locale": "NY", "timestamp": when}) for when in timestamps]
    counts = WindowedCounts(RETENTION_S)
    rest, payloads = list(values), []
    for size in sizes:
        batch = Processor(LOGINS).process(rest[:size])
        counts.add(batch.keys, NOW_MS // 60_000, lambda batch=batch: [NOW_MS // 60_000] * len(batch.keys))
        payloads += batch.payloads
        rest = rest[size:]

    aggregates = defaultdict(dict)
    for window, cells in counts.counts().items():
        name = "total" if window is None else f"{datetime.fromtimestamp(window * 60, UTC):%Y-%m-%d %H:%M}"
        for (region, period), count in cells.items():
            aggregates[name][cell(region, period)] = count

    assert not recount(payloads).compare(aggregates)
