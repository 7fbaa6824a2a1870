"""The journal: what happens is said once, to everybody, and no listener can do harm."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from supervisor.reporting.journal import KINDS, Happening, Journal

START = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)


def test_a_happening_is_stamped_in_utc_with_milliseconds() -> None:
    elsewhere = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
    happening = Journal(now=lambda: elsewhere).publish("died", "olap-2 ended", worker="olap-2", exit_code=-9)
    assert happening == Happening("2026-01-02T03:04:05.678Z", "died", "olap-2 ended", "olap-2", exit_code=-9)


def test_every_subscriber_hears_of_it_and_whoever_has_left_does_not() -> None:
    journal, heard, left = Journal(), list[Happening](), list[Happening]()
    journal.subscribe(heard.append)
    journal.subscribe(left.append)
    first = journal.publish("serving", "olap-0 serves")
    journal.unsubscribe(left.append)
    second = journal.publish("died", "olap-0 ended")
    assert heard == [first, second]
    assert left == [first]


def test_a_subscriber_that_raises_is_dropped_and_logged_and_the_others_hear_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal, calls, heard = Journal(), list[str](), list[Happening]()

    def broken(happening: Happening) -> None:
        calls.append(happening.event)
        raise RuntimeError("no more")

    journal.subscribe(broken)
    journal.subscribe(heard.append)
    journal.publish("serving", "one")
    journal.publish("died", "two")
    assert calls == ["serving"]
    assert [happening.text for happening in heard] == ["one", "two"]
    assert "a subscriber to events failed at serving" in caplog.text


def test_a_subscriber_may_leave_while_it_is_told() -> None:
    journal, heard = Journal(), list[str]()

    def once(happening: Happening) -> None:
        heard.append(happening.text)
        journal.unsubscribe(once)

    journal.subscribe(once)
    journal.publish("serving", "one")
    journal.publish("serving", "two")
    assert heard == ["one"]


def test_only_the_last_are_kept_and_they_can_be_asked_for_by_time() -> None:
    moments = iter(START + timedelta(seconds=second) for second in range(5))
    journal = Journal(now=lambda: next(moments), keep=3)
    for number in range(5):
        journal.publish("standby", str(number))
    assert [happening.text for happening in journal.since()] == ["2", "3", "4"]
    assert [happening.text for happening in journal.since("2026-01-02T03:04:08.678Z")] == ["3", "4"]


def test_trouble_is_logged_louder_than_news(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "supervisor")
    journal = Journal()
    for kind in KINDS:
        journal.publish(kind, f"text of {kind}: 100 %")
    levels = {record.getMessage(): record.levelname for record in caplog.records}
    assert len(levels) == len(KINDS)
    assert levels["text of gave-up: 100 %"] == "ERROR"
    assert levels["text of died: 100 %"] == "WARNING"
    assert levels["text of serving: 100 %"] == "INFO"


def test_the_log_line_names_the_seat_that_it_is_about(caplog: pytest.LogCaptureFixture) -> None:
    Journal().publish("died", "olap-2 ended", worker="olap-2")
    assert [vars(record)["worker"] for record in caplog.records] == ["olap-2"]


def test_a_text_that_is_not_utf_8_can_be_written_as_json() -> None:
    """A file name of other bytes, as Python has it; else every listener would fail and be dropped."""
    happening = Journal().publish("died", "no such file: /tmp/\udcff")
    assert b"no such file: /tmp/?" in msgspec.json.encode(happening)
