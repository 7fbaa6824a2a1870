"""The gap that a killed worker tears, measured on a board as the supervisor and the workers write it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.contract.board import Board, Role
from supervisor.demo.gap import Killing, kill_one

S = 1_000_000_000
MS = 1_000_000
KILLED = 100 * S
SEATS = [(Role.PROBE, 0), (Role.REALTIME, 0), (Role.OLAP, 0), (Role.OLAP, 1)]
PLACE = 3


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """Two OLAP workers on four partitions; all have committed shortly before."""
    board = Board.create(tmp_path / "board", workers=8, partitions=8)
    board.header.seats, board.header.topic_partitions = len(SEATS), 4
    for place, (role, index) in enumerate(SEATS):
        seat = board.seat(place)
        seat.role, seat.index, seat.pid, seat.owned_ns = role, index, 100 + place, 50 * S
    for partition in range(4):
        board.assignment(partition).seat = 3 + partition % 2
        board.olap(partition).owned_ns = 50 * S
        board.olap(partition).committed_ns = KILLED - MS
        board.olap(partition).transactions = 10
    return board


@pytest.fixture
def killing(board: Board) -> Killing:
    return Killing(board, PLACE, (1, 3), KILLED)


def notice(board: Board) -> None:
    seat = board.seat(PLACE)
    seat.noticed_ns, seat.owned_ns = KILLED + 5 * MS, 0


def own(board: Board) -> None:
    board.seat(PLACE).pid = 200
    board.olap(1).owned_ns, board.olap(3).owned_ns = KILLED + 30 * MS, KILLED + 40 * MS


def commit(board: Board, partition: int, after_ms: int) -> None:
    board.olap(partition).committed_ns = KILLED + after_ms * MS
    board.olap(partition).transactions += 1


def test_nothing_is_measured_from_what_the_killed_worker_left_behind(board: Board, killing: Killing) -> None:
    # It may have committed after the signal was sent and before it was dead.
    commit(board, 1, 1)
    assert killing.look() == []
    assert not killing.done
    assert killing.gap.noticed_ms is None


def test_each_step_is_told_once_and_measured_from_the_kill(board: Board, killing: Killing) -> None:
    notice(board)
    assert killing.look() == ["the supervisor noticed after 5 ms"]
    assert killing.look() == []
    own(board)
    assert killing.look() == ["olap-1 replaced after 40 ms: pid 200 owns partitions 1, 3"]
    for partition in (0, 2, 2, 1, 3):
        commit(board, partition, 90)
    assert killing.look() == ["partitions 1, 3: output again after 90 ms (the others committed 3 times)"]
    assert killing.done
    assert killing.look() == []
    gap = killing.gap
    assert (gap.worker, gap.pid, gap.partitions) == ("olap-1", 103, (1, 3))
    assert (gap.noticed_ms, gap.owned_ms, gap.committed_ms, gap.others_committed) == (5.0, 40.0, 90.0, 3)


def test_the_gap_lasts_until_the_first_commit_of_the_slowest_partition(
    board: Board, killing: Killing
) -> None:
    notice(board)
    own(board)
    commit(board, 1, 60)
    killing.look()
    assert not killing.done
    commit(board, 3, 80)
    commit(board, 1, 160)
    killing.look()
    assert killing.gap.committed_ms == 80.0


def test_a_first_commit_before_the_supervisor_is_told_of_the_new_owner_counts(
    board: Board, killing: Killing
) -> None:
    # A replacement commits what has piled up first, and the events may have ended by then.
    notice(board)
    own(board)
    commit(board, 1, 70)
    commit(board, 3, 90)
    assert board.seat(PLACE).owned_ns == 0
    assert len(killing.look()) == 3
    board.seat(PLACE).owned_ns = KILLED + 4800 * MS
    assert killing.done
    assert (killing.gap.owned_ms, killing.gap.committed_ms) == (40.0, 90.0)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_the_worker_in_the_middle_is_killed(board: Board, sleeper: subprocess.Popen[bytes]) -> None:
    board.seat(PLACE).pid = sleeper.pid
    killing = kill_one(board)
    assert killing is not None
    assert (killing.gap.worker, killing.gap.partitions) == ("olap-1", (1, 3))
    assert sleeper.wait(10) == -signal.SIGKILL


def test_one_that_does_not_serve_is_passed_over(board: Board, sleeper: subprocess.Popen[bytes]) -> None:
    board.seat(PLACE).owned_ns = 0
    board.seat(2).pid = sleeper.pid
    killing = kill_one(board)
    assert killing is not None
    assert (killing.gap.worker, killing.gap.partitions) == ("olap-0", (0, 2))
    assert sleeper.wait(10) == -signal.SIGKILL


def test_without_a_worker_that_serves_nobody_is_killed(
    board: Board, sleeper: subprocess.Popen[bytes]
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    board.seat(2).pid = gone.pid
    board.seat(PLACE).pid = 0
    assert kill_one(board) is None
    assert sleeper.poll() is None
