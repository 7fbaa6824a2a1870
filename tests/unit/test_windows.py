"""Counts per window against a naive recount."""

from __future__ import annotations

import datetime
from collections import Counter
from typing import Any, NamedTuple, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.olap.windows import LONGEST, TOTAL, WindowedCounts, too_long

DAY = 24 * 60
RETENTION = 5  # minutes


class Named(NamedTuple):
    minute: int | None
    region: str


minutes = st.none() | st.integers(0, 20)
dimensions = st.sampled_from(["East", "West", None])
keys = st.none() | st.tuples(minutes, dimensions)
batches = st.lists(st.lists(keys, max_size=10), max_size=10)
records = st.tuples(keys, st.integers(10 - DAY, 30))
batches_of_records = st.lists(st.lists(records, max_size=10), max_size=10)


def windowed(retention_minutes: int = RETENTION) -> WindowedCounts:
    return WindowedCounts(retention_minutes * 60)


def add(counts: WindowedCounts, batch: list[Any], record_minute: int) -> None:
    """Count keys whose records are all of one minute."""
    counts.add(batch, record_minute, lambda: [record_minute] * len(batch))


def contents(counts: WindowedCounts) -> dict[Any, dict[Any, int]]:
    return {window: dict(found) for window, found in counts.counts().items()}


class Naive:
    """The same, event by event and as simple as can be, each believed by its own record.

    Equal events of a batch are counted where the first of them stands, which is what counting a batch at once
    means; unless some event is ahead of the batch's oldest record, when each has its own place.
    """

    def __init__(self) -> None:
        self.total: Counter[Any] = Counter()
        self.minutes: dict[int, Counter[Any]] = {}
        self.newest = -(10**9)
        self.late = 0

    def add(self, batch: list[tuple[Any, int]]) -> None:
        counted = [(key, minute) for key, minute in batch if key is not None]
        oldest = min((minute for _, minute in batch), default=0)
        if all(key[0] is None or key[0] <= oldest + DAY for key, _ in counted):
            order = [key for key, _ in counted]
            counted.sort(key=lambda record: order.index(record[0]))
        for key, record_minute in counted:
            minute, values = key[0], key[1:]
            self.total[values] += 1
            if minute is None:
                continue
            if minute <= record_minute + DAY:
                self.newest = max(self.newest, minute)
                if minute > self.newest - RETENTION:
                    self.minutes.setdefault(minute, Counter())[values] += 1
                    continue
            self.late += 1

    def close_old(self) -> list[tuple[int, Any]]:
        closed = [minute for minute in self.minutes if minute <= self.newest - RETENTION]
        return [(minute, values) for minute in closed for values in self.minutes.pop(minute)]


@given(batches_of_records)
def test_the_counts_are_those_of_a_naive_recount(batches: list[list[tuple[Any, int]]]) -> None:
    counts, naive = windowed(), Naive()
    for batch in batches:
        minutes = [minute for _, minute in batch]
        counts.add([key for key, _ in batch], min(minutes, default=0), lambda minutes=minutes: minutes)  # type: ignore[misc]
        naive.add(batch)
        counts.written()
        assert sorted(counts.close_old(), key=repr) == sorted(naive.close_old(), key=repr)
    expected: dict[Any, Any] = {minute: dict(found) for minute, found in naive.minutes.items()}
    if naive.total:
        expected[TOTAL] = dict(naive.total)
    assert contents(counts) == expected
    assert counts.late == naive.late


@given(batches)
def test_what_was_written_in_pieces_gives_the_whole_state(batches: list[list[Any]]) -> None:
    """A reader that only ever gets what changed, and forgets what was closed, knows as much as the worker."""
    counts, written = windowed(), {}
    for batch in batches:
        add(counts, batch, 20)
        for window, dimensions, count in counts.changed():
            written[window, dimensions] = count
        counts.written()
        for closed in counts.close_old():
            del written[closed]
    assert written == {
        (window, dimensions): count
        for window, found in contents(counts).items()
        for dimensions, count in found.items()
    }


@given(batches, st.lists(keys, max_size=10))
def test_a_restored_successor_goes_on_exactly_as_the_worker_would_have(
    batches: list[list[Any]], rest: list[Any]
) -> None:
    counts = windowed()
    for batch in batches:
        add(counts, batch, 20)
        counts.written()
        counts.close_old()
    successor = windowed()
    for window, found in contents(counts).items():
        for dimensions, count in found.items():
            successor.restore(window, dimensions, count)
    late = counts.late
    add(counts, rest, 20)
    add(successor, rest, 20)
    assert contents(successor) == contents(counts)
    assert successor.late == counts.late - late
    for either in (counts, successor):
        either.written()
    assert sorted(successor.close_old(), key=repr) == sorted(counts.close_old(), key=repr)


def test_nothing_counts_nowhere() -> None:
    counts = windowed()
    add(counts, [], 0)
    add(counts, [None, None], 0)
    assert (contents(counts), list(counts.changed()), counts.close_old()) == ({}, [], [])


def test_an_event_without_a_time_counts_in_the_total_alone_and_is_not_late() -> None:
    counts = windowed()
    add(counts, [(None, "East")], 0)
    assert contents(counts) == {TOTAL: {("East",): 1}}
    assert counts.late == 0


def test_an_event_as_old_as_the_retention_is_late_and_one_a_minute_younger_is_not() -> None:
    counts = windowed()
    add(counts, [(100, "East")], 100)
    add(counts, [(100 - RETENTION, "East"), (100 - RETENTION + 1, "West")], 100)
    assert contents(counts) == {
        TOTAL: {("East",): 2, ("West",): 1},
        100: {("East",): 1},
        100 - RETENTION + 1: {("West",): 1},
    }
    assert counts.late == 1


def test_a_broken_clock_closes_no_window() -> None:
    counts = windowed()
    add(counts, [(100, "East")], 100)
    add(counts, [(100 + DAY + 1, "East"), (10**9, "East")], 100)
    counts.written()
    assert counts.close_old() == []
    assert counts.late == 2
    assert contents(counts)[TOTAL] == {("East",): 3}


def test_an_event_a_day_ahead_is_still_believed() -> None:
    counts = windowed()
    add(counts, [(100, "East"), (100 + DAY, "East")], 100)
    counts.written()
    assert counts.close_old() == [(100, ("East",))]
    assert counts.late == 0


def test_each_event_is_believed_by_its_own_record() -> None:
    """A batch whose records lie two days apart, as after an outage: what is a day ahead of the oldest record
    need not be ahead of its own."""
    counts = windowed(retention_minutes=10 * DAY)
    keys = [(100, "East"), (100 + 2 * DAY, "West"), (100 + 2 * DAY, "East")]
    counts.add(keys, 100, lambda: [100, 100 + 2 * DAY, 100])
    assert contents(counts) == {
        TOTAL: {("East",): 2, ("West",): 1},
        100: {("East",): 1},
        100 + 2 * DAY: {("West",): 1},
    }
    assert counts.late == 1


def test_the_minutes_of_all_records_are_looked_up_only_where_an_event_is_ahead() -> None:
    def looked_up() -> NoReturn:
        raise LookupError

    counts = windowed()
    counts.add([(100 + DAY, "East"), None, (None, "East")], 100, looked_up)
    with pytest.raises(LookupError):
        counts.add([(100 + DAY + 1, "East")], 100, looked_up)


def test_every_count_of_a_closed_window_is_named_that_it_may_be_deleted() -> None:
    counts = windowed()
    add(counts, [(1, "East"), (1, "West"), (2, "East"), (100, "East"), (None, "North")], 100)
    counts.written()
    assert sorted(counts.close_old()) == [(1, ("East",)), (1, ("West",)), (2, ("East",))]
    assert set(counts.counts()) == {TOTAL, 100}


@pytest.mark.parametrize("key", [(1, ["East"]), ("1", "East"), 1], ids=repr)
def test_a_key_that_cannot_be_counted_is_a_type_error(key: Any) -> None:
    counts = windowed()
    with pytest.raises(TypeError):
        add(counts, [key], 1)


def test_minutes_before_the_epoch_are_minutes() -> None:
    counts = windowed()
    add(counts, [(-10, "East"), (-3, "East")], 0)
    counts.written()
    assert counts.close_old() == [(-10, ("East",))]


def test_a_window_that_was_not_written_yet_is_not_closed() -> None:
    counts = windowed()
    add(counts, [(1, "East"), (100, "East")], 100)
    assert counts.close_old() == []
    counts.written()
    assert counts.close_old() == [(1, ("East",))]
    assert counts.close_old() == []


def test_only_what_has_changed_is_written() -> None:
    counts = windowed()
    add(counts, [(1, "East"), (1, "West")], 1)
    counts.written()
    add(counts, [(1, "East")], 1)
    assert list(counts.changed()) == [(TOTAL, ("East",), 2), (1, ("East",), 2)]
    counts.written()
    assert list(counts.changed()) == []


@pytest.mark.parametrize("retention_s", [1, 59, 60, 119])
def test_a_retention_below_a_minute_keeps_the_newest_minute(retention_s: int) -> None:
    counts = WindowedCounts(retention_s)
    add(counts, [(1, "East"), (2, "East")], 2)
    counts.written()
    assert counts.close_old() == [(1, ("East",))]
    assert set(counts.counts()) == {TOTAL, 2}


@pytest.mark.parametrize("minute", [-62_135_596_800 // 60, 253_402_300_799 // 60])
def test_the_first_and_the_last_minute_of_the_calendar_are_counted(minute: int) -> None:
    counts = windowed()
    counts.add([(minute, "East")], minute, lambda: [minute])
    assert contents(counts) == {TOTAL: {("East",): 1}, minute: {("East",): 1}}


@pytest.mark.parametrize(
    "key",
    [
        (1.0, "East"),
        (True, "East"),
        (10**18, "East"),
        (1, 2.5),
        (1, True),
        (1, ("a",)),
        (1, datetime.date(2026, 1, 1)),
    ],
)
def test_a_key_that_the_changelog_would_give_back_as_another_is_refused(key: Any) -> None:
    with pytest.raises(TypeError):
        windowed().add([key], 1, lambda: [1])


@pytest.mark.parametrize(
    ("key", "long"),
    [
        (None, False),
        (5, False),
        ((None, "x" * LONGEST, 7), False),
        ((None, "x" * (LONGEST + 1)), True),
        ((1, "x" * LONGEST, "y"), True),
        ((1, None, 10**30), False),
        (Named(None, "x" * (LONGEST + 1)), True),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_key_is_too_long_by_the_text_in_it(key: Any, *, long: bool) -> None:
    assert too_long(key) is long
