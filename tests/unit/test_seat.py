"""A seat and its record on the board."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.contract.board import Board
from supervisor.contract.exits import WorkerExit
from supervisor.contract.settings import Restart
from supervisor.rules.lifecycle import Event, State
from supervisor.rules.policy import Backoff, Cause
from supervisor.seat import Seat

S = 1_000_000_000


@pytest.fixture
def seat(tmp_path: Path) -> Seat:
    board = Board.create(tmp_path / "board", workers=4, partitions=4)
    return Seat("olap", 0, (0, 2), board.seat(0), Backoff(Restart()))


def process() -> Any:
    return SimpleNamespace(slot=3, pid=4711, generation=2)


def fill(seat: Seat) -> None:
    seat.fill(process(), (0, 3), 10, 50)


def end(seat: Seat, exit_code: int = 1, cause: Cause = Cause.CRASH, *, blamed: bool = True) -> None:
    seat.vacate(exit_code, cause, 5 * S, blamed=blamed)
    seat.advance(Event.DIED)


def test_who_fills_it_stands_on_the_board(seat: Seat) -> None:
    fill(seat)
    record = seat.record
    assert (record.worker, record.pid, record.generation) == (4, 4711, 2)
    assert (record.nice, record.cpus, record.cpu_weight) == (10, 0b1001, 50)
    assert record.state == State.OPENING
    assert not seat.served
    seat.own()
    assert seat.served
    assert record.state == State.SERVING


def test_cpus_that_do_not_fit_into_a_word_are_left_out(seat: Seat) -> None:
    seat.fill(process(), (1, 200), 0, 0)
    assert seat.record.cpus == 0


def test_how_it_ended_stands_there_after_it(seat: Seat) -> None:
    fill(seat)
    seat.own()
    end(seat, -11)
    record = seat.record
    assert (record.worker, record.pid, record.owned_ns) == (0, 0, 0)
    assert (record.exit_code, record.cause, record.noticed_ns) == (-11, Cause.CRASH, 5 * S)
    assert (record.restarts, record.recycled) == (1, 0)
    assert seat.fillable


@pytest.mark.parametrize(("cause", "recycled"), [(Cause.BROKERS, 0), (Cause.RECYCLED, 1), (Cause.STOPPED, 0)])
def test_an_end_that_is_nobodys_fault_is_no_restart(seat: Seat, cause: Cause, recycled: int) -> None:
    fill(seat)
    end(seat, 0, cause, blamed=False)
    assert (seat.record.restarts, seat.record.recycled) == (0, recycled)


def test_a_contest_is_looked_for_until_somebody_owns_the_partitions(seat: Seat) -> None:
    """Who follows a fenced worker looks whether another supervisor is at work; it may die while it looks."""
    fill(seat)
    end(seat)
    assert not seat.contested
    for exit_code in (WorkerExit.FENCED, -9, WorkerExit.BROKERS_UNREACHABLE, 1):
        fill(seat)
        end(seat, exit_code)
        assert seat.contested
    fill(seat)
    seat.own()
    assert not seat.contested


def test_a_wait_ends_by_its_timer_or_by_whoever_does_not_want_to_wait(seat: Seat) -> None:
    timer: Any = SimpleNamespace(cancelled=0)
    timer.cancel = lambda: setattr(timer, "cancelled", timer.cancelled + 1)
    for leave in (seat.release, seat.park, seat.close):
        fill(seat)
        seat.vacate(1, Cause.CRASH, 5 * S, blamed=True)
        seat.hold_back(9 * S, timer)
        assert (seat.state, seat.record.retry_ns) == (State.BACKOFF, 9 * S)
        assert not seat.fillable
        leave()
        assert (seat.retry, seat.record.retry_ns) == (None, 0)
        seat.release()
    assert timer.cancelled == 3


def test_one_that_is_held_is_not_filled_though_it_is_vacant(seat: Seat) -> None:
    seat.held = True
    assert not seat.fillable
