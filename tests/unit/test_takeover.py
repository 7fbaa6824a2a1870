"""What happens at once when a partition is taken over."""

from __future__ import annotations

import threading

import pytest

from workers.olap.takeover import together


def test_all_of_it_happens_at_once_and_has_ended_when_it_returns() -> None:
    meeting = threading.Barrier(3)
    done: list[int] = []

    def act(number: int) -> None:
        meeting.wait(30)  # each waits for the others
        done.append(number)

    together(lambda: act(1), lambda: act(2), lambda: act(3))
    assert sorted(done) == [1, 2, 3]


def test_where_no_thread_can_be_had_it_is_done_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    done: list[int] = []
    together(lambda: done.append(1), lambda: done.append(2), lambda: done.append(3))
    assert done == [1, 2, 3]


def test_the_first_failure_in_their_order_is_told_when_all_have_ended() -> None:
    second_failed = threading.Event()
    ended = threading.Event()

    def first() -> None:
        second_failed.wait(30)
        raise ValueError("first")

    def second() -> None:
        second_failed.set()
        raise ValueError("second")

    with pytest.raises(ValueError, match="first"):
        together(first, second, ended.set)
    assert ended.is_set()
