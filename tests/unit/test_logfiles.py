"""The log files as one story: merged by time, filtered, read from the end, followed over rotation."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.contract.faults import Fault
from supervisor.contract.loglines import Line, encode
from supervisor.contract.logoutput import LogFile
from supervisor.reporting import logfiles
from supervisor.reporting.logfiles import Follower, Wanted, last, resolve
from tests.procfs import open_below


def at(second: float, process: str = "olap-0", message: str = "", **more) -> Line:
    level, pid = more.pop("level", "info"), more.pop("pid", 1)
    return Line(f"2026-01-01T00:00:{second:09.6f}Z", level, process, pid, message or f"at {second}", **more)


def write(directory: Path, *lines: Line, file: str = "") -> None:
    for line in lines:
        with (directory / f"{file or line.process}.log").open("ab") as output:
            output.write(encode(line))


def messages(lines: list[Line]) -> list[str]:
    return [line.message for line in lines]


# -- the past -------------------------------------------------------------------------------------------


def test_lines_of_all_files_come_in_the_order_of_time(tmp_path: Path) -> None:
    write(tmp_path, at(1), at(4), at(2, "olap-1"), at(3, "supervisor"))
    assert messages(last(tmp_path, Wanted(), None)) == ["at 1", "at 2", "at 3", "at 4"]
    assert messages(last(tmp_path, Wanted(), 2)) == ["at 3", "at 4"]
    assert last(tmp_path, Wanted(), 0) == []


def test_rotated_files_belong_to_it(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path, at(number))
        for n in range(number, 0, -1):
            (tmp_path / f"olap-0.log.{n}").rename(tmp_path / f"olap-0.log.{n + 1}")
        (tmp_path / "olap-0.log").rename(tmp_path / "olap-0.log.1")
    write(tmp_path, at(3))
    assert messages(last(tmp_path, Wanted(), None)) == ["at 0", "at 1", "at 2", "at 3"]


def test_the_last_lines_of_a_large_file_are_found_without_reading_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, *(at(number / 100) for number in range(5000)))
    read = 0
    pread = os.pread

    def counted(descriptor: int, size: int, place: int) -> bytes:
        nonlocal read
        read += size
        return pread(descriptor, size, place)

    monkeypatch.setattr(logfiles.os, "pread", counted)
    assert len(last(tmp_path, Wanted(), 100)) == 100
    assert read < (tmp_path / "olap-0.log").stat().st_size / 4


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 50))
def test_whatever_the_size_of_the_blocks_every_line_is_found_once(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], block: int
) -> None:
    directory = tmp_path_factory.mktemp("log")
    lines = [at(number, message=f"{number}" + "x" * size) for number, size in enumerate(sizes)]
    write(directory, *lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logfiles, "_BLOCK", block)
        assert last(directory, Wanted(), None) == lines


def test_severity_and_age_choose(tmp_path: Path) -> None:
    write(tmp_path, at(1, level="error"), at(2, level="debug"), at(3, level="warning"), at(4))
    assert messages(last(tmp_path, Wanted(level="warning"), None)) == ["at 1", "at 3"]
    assert messages(last(tmp_path, Wanted(since=at(3).time), None)) == ["at 3", "at 4"]


def test_the_story_of_a_seat_has_what_others_say_of_it_and_what_came_before_its_role(tmp_path: Path) -> None:
    write(
        tmp_path,
        at(1, "worker-3", "imported", pid=30),
        at(1, "worker-4", "of another process", pid=40),
        file="spare",
    )
    write(
        tmp_path,
        at(2, "olap-2", "serving", pid=30),
        at(3, "supervisor", "olap-2 ended (SIGKILL)"),
        at(4, "supervisor", "olap-22 ended (SIGKILL)"),
        at(5, "supervisor", "not-olap-2"),
        at(6, "supervisor", "partition 2 stalls", worker="olap-2"),
        at(7, "olap-22", "serving"),
    )
    assert messages(last(tmp_path, Wanted(("olap-2",)), None)) == [
        "imported",
        "serving",
        "olap-2 ended (SIGKILL)",
        "partition 2 stalls",
    ]
    assert messages(last(tmp_path, Wanted(("spare",)), None)) == ["imported", "of another process"]


def test_what_is_no_line_of_ours_is_shown_where_it_stands(tmp_path: Path) -> None:
    write(tmp_path, at(1))
    with (tmp_path / "olap-0.log").open("ab") as file:
        file.write(b'{"torn\nFatal Python error: \xff\n')
    write(tmp_path, at(3), at(2, "olap-1"))
    assert messages(last(tmp_path, Wanted(), None)) == [
        "at 1",
        '{"torn\nFatal Python error: \\xff',
        "at 2",
        "at 3",
    ]


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    write(tmp_path, at(1))
    with (tmp_path / "olap-0.log").open("ab") as file:
        file.write(encode(at(2))[:20])
    assert messages(last(tmp_path, Wanted(), None)) == ["at 1"]


def test_a_name_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, at(1, "olap-0"), at(1, "supervisor"))
    with pytest.raises(Fault, match="no log of 'olap0'") as caught:
        resolve(tmp_path, ["olap0"])
    assert caught.value.remedy == "the nearest is olap-0; there are olap-0, supervisor"
    assert resolve(tmp_path, ["olap-0", "olap-1", "olap-0"], ["olap-1"]) == ("olap-0", "olap-1")


def test_where_there_are_no_files_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="there are no log files in"):
        resolve(tmp_path / "nothing", [])


# -- following ------------------------------------------------------------------------------------------


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Callable[[], Follower]]:
    """Followers of all that is in the directory, closed afterwards."""
    with contextlib.ExitStack() as closing:
        yield lambda: closing.enter_context(contextlib.closing(Follower(tmp_path, Wanted())))


def test_what_is_written_from_now_on_is_followed(tmp_path: Path, follow: Callable[[], Follower]) -> None:
    write(tmp_path, at(1))
    follower = follow()
    assert follower.look() == []
    write(tmp_path, at(3), at(2, "olap-1"))  # a file that was not there
    assert messages(follower.look()) == ["at 2", "at 3"]
    assert follower.look() == []


def test_a_rotation_between_two_looks_loses_nothing(tmp_path: Path, follow: Callable[[], Follower]) -> None:
    write(tmp_path, at(1))
    follower = follow()
    write(tmp_path, at(2))
    (tmp_path / "olap-0.log").rename(tmp_path / "olap-0.log.1")
    write(tmp_path, at(3))
    assert messages(follower.look()) == ["at 2", "at 3"]
    # The process that ends has not looked yet whether its file is in its place.
    with (tmp_path / "olap-0.log.1").open("ab") as file:
        file.write(encode(at(4)))
    write(tmp_path, at(5))
    assert messages(follower.look()) == ["at 4", "at 5"]


def test_removal_and_truncation_are_followed(tmp_path: Path, follow: Callable[[], Follower]) -> None:
    write(tmp_path, at(1), at(2))
    follower = follow()
    os.truncate(tmp_path / "olap-0.log", 0)
    write(tmp_path, at(3))
    assert messages(follower.look()) == ["at 3"]
    (tmp_path / "olap-0.log").unlink()
    assert follower.look() == []
    write(tmp_path, at(4))
    assert messages(follower.look()) == ["at 4"]


def test_a_line_that_comes_in_two_pieces_is_one(tmp_path: Path, follow: Callable[[], Follower]) -> None:
    write(tmp_path, at(1))
    whole = encode(at(2))
    with (tmp_path / "olap-0.log").open("ab", buffering=0) as file:
        file.write(whole[:20])
        follower = follow()
        assert messages(last(tmp_path, Wanted(), None, follower.began)) == ["at 1"]
        assert follower.look() == []
        file.write(whole[20:])
        assert messages(follower.look()) == ["at 2"]


def test_old_files_are_let_go_of(tmp_path: Path, follow: Callable[[], Follower]) -> None:
    write(tmp_path, at(0))
    follower = follow()
    for number in range(60):
        (tmp_path / "olap-0.log").rename(tmp_path / "olap-0.log.1")
        write(tmp_path, at(number))
        follower.look()
    assert 0 < len(open_below(tmp_path)) < 25
    follower.close()
    assert open_below(tmp_path) == []


@pytest.mark.parametrize("seed", range(20))
def test_past_and_future_together_are_every_line_once_however_files_rotate(
    tmp_path: Path, follow: Callable[[], Follower], seed: int
) -> None:
    """Files rotate before, between and after: the place where one ends and the other begins is one place."""
    chance = random.Random(seed)
    outputs = [
        LogFile(tmp_path / f"{name}.log", max_bytes=400, keep=100, notice=lambda count: b"")
        for name in ("olap-0", "olap-1")
    ]
    numbers = itertools.count()
    written: list[str] = []

    def some() -> None:
        for _ in range(chance.randrange(12)):
            line = at(next(numbers) / 100, chance.choice(("olap-0", "olap-1")))
            written.append(line.message)
            outputs[line.process == "olap-1"].put(encode(line))

    some()
    follower = follow()
    some()
    found = messages(last(tmp_path, Wanted(), None, follower.began))
    for _ in range(5):
        some()
        found += messages(follower.look())
    assert sorted(found) == sorted(written)
    follower.close()
    for output in outputs:
        output.close()
    assert open_below(tmp_path) == []
