"""What is remembered of deaths, beyond the pure rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from supervisor.contract.board import Board
from supervisor.contract.settings import Dlq, Settings
from supervisor.deaths import Deaths
from supervisor.reporting.tally import Death, Tally
from supervisor.seat import Seat
from supervisor.seats import Seats

KILLED_AT_7 = Death(
    time="2026-01-01T00:00:00.000+00:00",
    worker="olap-0",
    pid=4711,
    uptime_s=1.0,
    exit_code=-11,
    cause="crash",
    partition=0,
    offset=7,
    offset_end=8,
    topic_id="an-id",
    stack_tail="",
    text="SIGSEGV",
)


def needing(deaths: int) -> Settings:
    return Settings(dlq=Dlq(poison_deaths=deaths))


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board.create(tmp_path / "board", workers=32, partitions=4)


@pytest.fixture
def seats(board: Board) -> Seats:
    seats = Seats(board, Settings())
    board.header.topic_partitions = 2
    seats.lay_out({"olap-0": (0, 1)}, 1)
    return seats


def seat_of(seats: Seats) -> Seat:
    (seat,) = seats.olap
    return seat


def after_two_deaths(board: Board, seats: Seats, needed: int) -> Deaths:
    tally = Tally(board.path.parent / "deaths.jsonl", 10)
    for pid in (1, 2):
        tally.append(replace(KILLED_AT_7, pid=pid))
    deaths = Deaths(needing(needed), board, seats)
    deaths.recognize("an-id")
    return deaths


@pytest.mark.parametrize(("needed", "later"), [(2, 3), (3, 2), (2, 2), (3, 3)])
def test_whether_a_record_went_to_the_dead_letters_is_what_its_worker_was_told(
    board: Board, seats: Seats, needed: int, later: int
) -> None:
    """The number of deaths that it takes may have changed since."""
    deaths, seat = after_two_deaths(board, seats, needed), seat_of(seats)
    (suspect,) = deaths.suspects(seat)
    assert (suspect.offset, suspect.quarantine) == (7, needed == 2)
    deaths.adopt(needing(later))
    board.olap(0).committed = 7
    assert deaths.passed(seat) == []
    board.olap(0).committed = 8
    assert [gone.offset for gone in deaths.passed(seat)] == [7] * (needed == 2)
    assert deaths.passed(seat) == []
    assert deaths.suspects(seat) == ()


def test_who_follows_is_told_by_the_number_that_holds_then(board: Board, seats: Seats) -> None:
    deaths, seat = after_two_deaths(board, seats, 2), seat_of(seats)
    assert [suspect.quarantine for suspect in deaths.suspects(seat)] == [True]
    deaths.adopt(needing(3))
    assert [suspect.quarantine for suspect in deaths.suspects(seat)] == [False]
    board.olap(0).committed = 8
    assert deaths.passed(seat) == []


@pytest.mark.parametrize("known", [True, False])
def test_the_records_of_a_topic_that_was_created_anew_are_not_suspected(
    board: Board, seats: Seats, *, known: bool
) -> None:
    """Else an innocent one, at the offset of a culprit that is long gone, would go to the dead letters."""
    deaths, seat = after_two_deaths(board, seats, 2), seat_of(seats)
    if known:
        assert deaths.suspects(seat) != ()
    deaths.recognize("another-id")
    assert deaths.suspects(seat) == ()
    board.olap(0).committed = 8
    assert deaths.passed(seat) == []


def test_the_probe_may_tell_again_which_topic_it_is(board: Board, seats: Seats) -> None:
    deaths, seat = after_two_deaths(board, seats, 2), seat_of(seats)
    deaths.suspects(seat)
    deaths.recognize("an-id")
    board.olap(0).committed = 8
    assert [gone.offset for gone in deaths.passed(seat)] == [7]
