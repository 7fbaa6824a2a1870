"""The status board: who joins it sees what was written, and a damaged one is refused with a cause."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from supervisor.contract import board as boards
from supervisor.contract.board import Board, Header, OlapPartition, RealtimePartition, Seat, TopicPartition
from supervisor.contract.board import WorkerSlot as Worker
from supervisor.contract.faults import Fault

WORKERS, PARTITIONS = 3, 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "board"


def every_slot(board: Board) -> Iterator[tuple[str, memoryview[int]]]:
    yield "header", board.header.words
    for place in range(WORKERS):
        yield f"seat {place}", board.seat(place).words
        yield f"worker {place}", board.worker(place).words
    for partition in range(PARTITIONS):
        yield f"olap {partition}", board.olap(partition).words
        yield f"realtime {partition}", board.realtime(partition).words
        yield f"topic {partition}", board.topic(partition).words
        yield f"assignment {partition}", board.assignment(partition).words


def test_a_new_board_is_empty_but_for_its_own_dimensions(path: Path) -> None:
    board = Board.create(path, workers=WORKERS, partitions=PARTITIONS)
    assert (board.header.workers, board.header.partitions) == (WORKERS, PARTITIONS)
    assert {name for name, words in every_slot(board) if any(words)} == {"header"}


def test_no_two_slots_share_a_word_and_together_they_fill_the_file(path: Path) -> None:
    board = Board.create(path, workers=WORKERS, partitions=PARTITIONS)
    slots = list(every_slot(board))
    for number, (_, words) in enumerate(slots, start=1):
        for place in range(len(words)):
            words[place] = number
    for number, (name, words) in enumerate(slots, start=1):
        assert set(words) == {number}, name
    assert sum(len(words) for _, words in slots) * 8 == path.stat().st_size


@pytest.mark.parametrize(
    "kind",
    [Header, Seat, Worker, OlapPartition, RealtimePartition, TopicPartition],
    ids=lambda kind: kind.__name__,
)
def test_every_field_has_a_word_of_its_own_within_its_slot(kind: type[boards._Slot]) -> None:
    fields = {name: word._place for name, word in vars(kind).items() if isinstance(word, boards._Word)}
    assert all(0 <= place < kind.SIZE for place in fields.values())
    assert not [pair for pair in combinations(fields, 2) if fields[pair[0]] == fields[pair[1]]]
    if kind is Worker:
        assert all(place < 32 for place in fields.values()), "the histogram begins at word 32"


def test_another_process_reads_what_was_written_and_writes_what_is_read(path: Path) -> None:
    board = Board.create(path, workers=WORKERS, partitions=PARTITIONS)
    board.olap(4).committed = -(2**63)
    code = (
        "import pathlib, sys; from supervisor.contract.board import Board\n"
        "board = Board.open(pathlib.Path(sys.argv[1]))\n"
        "print(board.workers, board.partitions, board.olap(4).committed)\n"
        "board.worker(2).events = 2**63 - 1\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == [str(WORKERS), str(PARTITIONS), str(-(2**63))]
    assert board.worker(2).events == 2**63 - 1


def test_what_a_killed_process_wrote_last_stays_readable(path: Path) -> None:
    board = Board.create(path, workers=WORKERS, partitions=PARTITIONS)
    code = (
        "import os, pathlib, signal, sys; from supervisor.contract.board import Board\n"
        "Board.open(pathlib.Path(sys.argv[1])).olap(1).in_hand = 4711\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    assert done.returncode == -9
    assert board.olap(1).in_hand == 4711


def test_a_new_board_replaces_the_old_one_and_does_not_write_into_it(path: Path) -> None:
    old = Board.create(path, workers=WORKERS, partitions=PARTITIONS)
    new = Board.create(path, workers=1, partitions=1)
    old.worker(0).events = 7
    assert new.worker(0).events == 0
    assert Board.open(path).workers == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["board"]


def test_a_board_that_was_left_half_made_is_no_obstacle(path: Path) -> None:
    path.with_suffix(".new").write_bytes(b"half")
    assert Board.create(path, workers=1, partitions=1).workers == 1


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    Board.create(path, workers=1, partitions=1)
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_room_for_the_board_is_a_fault_and_leaves_no_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _offset: int, _size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(boards.os, "posix_fallocate", full)
    with pytest.raises(Fault, match="No space left on device"):
        Board.create(path, workers=1, partitions=1)
    assert not list(path.parent.iterdir())


def test_a_directory_where_no_board_can_be_made_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="cannot create the status board"):
        Board.create(tmp_path / "nowhere" / "board", workers=1, partitions=1)


def test_there_being_no_board_is_a_fault(path: Path) -> None:
    with pytest.raises(Fault, match="cannot open the status board"):
        Board.open(path)


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 127])
def test_a_file_too_short_for_a_header_is_no_board(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(Fault, match="is not a status board"):
        Board.open(path)


def test_a_board_of_another_format_is_refused(path: Path) -> None:
    Board.create(path, workers=1, partitions=1)
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    with pytest.raises(Fault, match="another version"):
        Board.open(path)


@pytest.mark.parametrize("word", [1, 2])
@pytest.mark.parametrize("value", [1_000_000, -1])
def test_a_board_that_is_not_as_large_as_it_says_is_refused(path: Path, word: int, value: int) -> None:
    Board.create(path, workers=1, partitions=1)
    content = bytearray(path.read_bytes())
    struct.pack_into("q", content, word * 8, value)
    path.write_bytes(content)
    with pytest.raises(Fault, match="another version"):
        Board.open(path)


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("seat", WORKERS),
        ("worker", WORKERS),
        ("olap", PARTITIONS),
        ("realtime", PARTITIONS),
        ("topic", PARTITIONS),
    ],
)
def test_a_slot_that_does_not_exist_is_an_error_and_never_a_neighbour(
    path: Path, kind: str, count: int
) -> None:
    slot = getattr(Board.create(path, workers=WORKERS, partitions=PARTITIONS), kind)
    for beyond in (-1, count, 2**40):
        with pytest.raises(IndexError):
            slot(beyond)


def test_clearing_a_slot_empties_it_and_leaves_its_neighbours(path: Path) -> None:
    board = Board.create(path, workers=WORKERS, partitions=PARTITIONS)
    for place in range(WORKERS):
        for word in range(Worker.SIZE):
            board.worker(place).words[word] = 9
    board.worker(1).clear()
    assert [set(board.worker(place).words) for place in range(WORKERS)] == [{9}, {0}, {9}]


def test_the_latency_of_one_worker_is_not_that_of_another(path: Path) -> None:
    board = Board.create(path, workers=WORKERS, partitions=PARTITIONS)
    board.worker(1).latency.add([0, 0, 10**9])
    assert [sum(board.worker(place).latency.counts()) for place in range(WORKERS)] == [0, 3, 0]
    assert board.worker(1).pid == 0
