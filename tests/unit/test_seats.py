"""Which seats there are, who owns which partition, and what is parked."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.contract.board import Board
from supervisor.contract.faults import ConfigurationFault
from supervisor.contract.settings import Realtime, Settings
from supervisor.rules.lifecycle import Event, State
from supervisor.rules.policy import Cause
from supervisor.seats import MAX_PARTITIONS, Seats, slots_needed


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board.create(tmp_path / "board", workers=slots_needed(Settings()), partitions=MAX_PARTITIONS)


@pytest.fixture
def seats(board: Board) -> Seats:
    """Four partitions, two OLAP workers."""
    seats = Seats(board, Settings())
    board.header.topic_partitions = 4
    seats.lay_out(seats.layout(Settings(), 4, 2), 1)
    return seats


def owners(board: Board, partitions: int = 4) -> list[int]:
    return [board.assignment(partition).seat for partition in range(partitions)]


def test_the_board_says_which_seat_owns_a_partition(seats: Seats, board: Board) -> None:
    assert [seat.name for seat in seats] == ["probe", "realtime-0", "olap-0", "olap-1"]
    assert owners(board) == [3, 4, 3, 4]
    assert [seat.partitions for seat in seats.olap] == [(0, 2), (1, 3)]


def test_without_a_realtime_worker_there_is_no_seat_for_one(board: Board) -> None:
    settings = Settings(realtime=Realtime(enabled=False))
    assert "realtime-0" not in Seats(board, settings).layout(settings, 4, 0)


def test_only_seats_whose_partitions_change_differ(seats: Seats) -> None:
    differing = seats.differing(seats.layout(Settings(), 4, 2))
    assert differing == []
    more = seats.differing(seats.layout(Settings(), 4, 4))
    assert [seat.name for seat in more] == ["olap-0", "olap-1"]
    fewer = seats.differing(seats.layout(Settings(), 4, 1))
    assert [seat.name for seat in fewer] == ["olap-0", "olap-1"]
    grown = seats.differing(seats.layout(Settings(), 6, 2))
    assert [seat.name for seat in grown] == ["realtime-0", "olap-0", "olap-1"]


def test_a_layout_fits_where_every_seat_of_it_is_open_and_has_its_partitions(seats: Seats) -> None:
    assert seats.fits(seats.layout(Settings(), 4, 2))
    assert not seats.fits(seats.layout(Settings(), 4, 1))
    assert not seats.fits(seats.layout(Settings(), 6, 2))
    seats.olap[1].close()
    assert not seats.fits(seats.layout(Settings(), 4, 2))


def test_another_layout_makes_seats_and_opens_closed_ones_again(seats: Seats, board: Board) -> None:
    gone = seats.named("olap-1")
    assert gone is not None
    gone.close()
    assert seats.lay_out(seats.layout(Settings(), 4, 1), 1) == []
    assert owners(board) == [3, 3, 3, 3]
    opened = seats.lay_out(seats.layout(Settings(), 4, 3), 5)
    assert [seat.name for seat in opened] == ["olap-1", "olap-2"]
    assert [seat.generation for seat in opened] == [5, 5]
    assert gone.state is State.VACANT
    assert [seat.partitions for seat in seats.olap] == [(0, 3), (1,), (2,)]


@pytest.mark.parametrize(("partitions", "workers"), [(4, 5), (MAX_PARTITIONS + 1, 1), (MAX_PARTITIONS, 0)])
def test_more_than_there_is_room_for_is_refused(seats: Seats, partitions: int, workers: int) -> None:
    with pytest.raises(ConfigurationFault):
        seats.layout(Settings(), partitions, workers)


def test_a_parked_partition_belongs_to_its_seat_and_is_not_served_until_it_is_unparked(
    seats: Seats, board: Board
) -> None:
    seat = seats.named("olap-0")
    assert seat is not None
    seats.park(seat, (2,), Cause.DLQ_LIMIT)
    assert (seat.partitions, seats.belonging(seat)) == ((0,), (0, 2))
    assert board.assignment(2).parked_cause == Cause.DLQ_LIMIT
    assert seats.parked(seat)
    # Whoever it belongs to next does not serve it either.
    seats.lay_out(seats.layout(Settings(), 4, 1), 1)
    assert seat.partitions == (0, 1, 3)
    assert seats.unpark(seat) == [2]
    assert seat.partitions == (0, 1, 2, 3)
    assert not seats.parked(seat)


def test_a_worker_that_is_to_have_parked_partitions_only_is_parked_until_it_has_others(seats: Seats) -> None:
    first, second = seats.olap
    seats.park(first, (0, 2), Cause.DLQ_LIMIT)
    seats.lay_out(seats.layout(Settings(), 4, 4), 1)
    third = seats.named("olap-2")
    assert third is not None
    assert (third.partitions, seats.belonging(third)) == ((), (2,))
    assert [seat.state for seat in (first, second, third)] == [State.PARKED, State.VACANT, State.PARKED]
    seats.lay_out(seats.layout(Settings(), 4, 1), 1)
    assert (first.partitions, first.state) == ((1, 3), State.VACANT)


def test_one_that_waits_for_its_next_process_is_parked_as_well_if_that_would_have_nothing_to_do(
    seats: Seats,
) -> None:
    first, _ = seats.olap
    seats.park(first, (0,), Cause.DLQ_LIMIT)
    for event in (Event.FILLED, Event.OWNED, Event.HELD_BACK):
        first.advance(event)
    seats.lay_out(seats.layout(Settings(), 4, 4), 1)
    assert (first.partitions, first.state) == ((), State.PARKED)


def test_a_realtime_worker_that_is_parked_keeps_its_partitions_and_parks_none_of_the_olap_side(
    seats: Seats, board: Board
) -> None:
    realtime = seats.named("realtime-0")
    assert realtime is not None
    seats.park(realtime, realtime.partitions, Cause.BUDGET)
    assert realtime.partitions == (0, 1, 2, 3)
    assert [board.assignment(partition).parked_ns for partition in range(4)] == [0] * 4
    olap = seats.named("olap-0")
    assert olap is not None
    seats.park(olap, (0,), Cause.BUDGET)
    assert not seats.parked(realtime)
    assert seats.unpark(realtime) == []
    assert seats.parked(olap)


def test_progress_is_what_is_committed(seats: Seats, board: Board) -> None:
    olap, realtime, probe = (seats.named(name) for name in ("olap-1", "realtime-0", "probe"))
    assert olap is not None
    assert realtime is not None
    assert probe is not None
    board.olap(1).committed, board.olap(3).committed, board.olap(0).committed = 5, 7, 100
    board.realtime(0).committed = 11
    board.header.brokers_answered_ns = 13
    assert [seats.progress(seat) for seat in (olap, realtime, probe)] == [12, 11, 13]


def test_the_time_without_an_owner_adds_up(seats: Seats, board: Board) -> None:
    seat = seats.named("olap-0")
    assert seat is not None
    seat.record.owned_ns = 50
    seats.note_owned(seat)  # the first owner: nobody has waited for it
    assert board.assignment(0).unowned_ns == 0
    for noticed, owned in ((100, 130), (200, 210)):
        seat.record.noticed_ns, seat.record.owned_ns = noticed, owned
        seats.note_owned(seat)
    assert (board.assignment(0).unowned_ns, board.assignment(2).unowned_ns) == (40, 40)
    assert board.assignment(1).unowned_ns == 0


def test_what_is_unparked_may_leave_some_parked(seats: Seats) -> None:
    seat = seats.olap[0]
    seats.park(seat, (0, 2), Cause.DLQ_LIMIT)
    assert seats.unpark(seat, but={0}) == [2]
    assert (seats.parked(seat), seat.partitions) == ([0], (2,))
