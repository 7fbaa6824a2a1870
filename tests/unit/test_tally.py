"""The tally of deaths: what survives on disk, and what the disk may do."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.reporting import tally
from supervisor.reporting.tally import Death, Tally, read
from tests.procfs import open_below


def death(number: int = 0, **values: Any) -> Death:
    plain = Death(
        time="2026-01-01T00:00:00.000+00:00",
        worker="olap-2",
        pid=number,
        uptime_s=1.5,
        exit_code=-11,
        cause="crash",
        partition=2,
        offset=100,
        offset_end=300,
        stack_tail="at enrich",
        text="SIGSEGV",
    )
    return msgspec.structs.replace(plain, **values)


def pids(deaths: list[Death]) -> list[int]:
    return [each.pid for each in deaths]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / tally.FILE


def test_what_was_written_down_is_known_to_the_next_supervisor(path: Path) -> None:
    first = Tally(path, 100)
    assert first.read() == []
    for number in range(3):
        first.append(death(number))
    assert Tally(path, 100).read() == first.read() == [death(number) for number in range(3)]
    assert read(path, 100) == first.read()


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    Tally(path, 100).append(death())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_last_deaths_are_kept_and_the_files_stay_small(path: Path) -> None:
    for start in range(0, 1_000, 100):
        kept = Tally(path, 10)  # each time anew: a restart must not begin to count again
        for number in range(start, start + 100):
            kept.append(death(number))
            files = [each.read_bytes() for each in path.parent.iterdir()]
            assert sum(each.count(b"\n") for each in files) <= 20
        assert pids(kept.read()) == list(range(start + 90, start + 100))
    assert pids(Tally(path, 10).read()) == list(range(990, 1_000))
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name, path.name + ".1"]


def test_a_death_of_any_length_takes_a_bounded_line(path: Path) -> None:
    Tally(path, 3).append(death(stack_tail="\x00" * 1_000_000 + "the end", text="why" + "\x00" * 1_000_000))
    assert path.stat().st_size < tally._LINE_BYTES
    (kept,) = read(path, 3)
    assert kept.stack_tail.endswith("the end")
    assert kept.text.startswith("why")


def test_a_text_that_has_no_utf8_is_written_all_the_same(path: Path) -> None:
    kept = Tally(path, 3)
    kept.append(death(text="no such file: \udcff", stack_tail="\ud800"))
    assert kept.unwritten == 0
    assert read(path, 3)[0].text == "no such file: ?"


def test_a_torn_last_line_is_skipped_and_does_not_swallow_the_next(path: Path) -> None:
    Tally(path, 100).append(death(1))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    kept = Tally(path, 100)
    assert pids(kept.read()) == [1]
    kept.append(death(2))
    assert pids(Tally(path, 100).read()) == [1, 2]


def test_a_line_torn_at_any_byte_costs_that_line_alone(path: Path) -> None:
    Tally(path, 100).append(death(1))
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole + whole[:length])
        kept = Tally(path, 100)
        kept.append(death(2))
        assert pids(kept.read()) == pids(read(path, 100)) == [1, 2]


@given(st.lists(st.one_of(st.integers(1, 1_000), st.binary(max_size=40)), max_size=20), st.integers(1, 10))
def test_garbage_between_deaths_is_left_out(lines: list[int | bytes], keep: int) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, tally.FILE)
        written = [msgspec.json.encode(death(line)) if isinstance(line, int) else line for line in lines]
        path.write_bytes(b"\n".join(written))
        expected = [line for line in lines if isinstance(line, int)]
        kept = Tally(path, keep)
        assert pids(kept.read()) == expected[-keep:]
        kept.append(death(0))
        assert pids(Tally(path, keep).read()) == [*expected, 0][-keep:]
        assert kept.unwritten == 0


@pytest.mark.parametrize(
    "garbage",
    [b"[" * 100_000, b'{"pid": "one"}', b"null", b"\xff\xfe", b"", b'{"a":' * 5_000, b"\x00" * 10_000],
    ids=["deep", "wrong type", "null", "not utf-8", "empty", "deep objects", "zeros"],
)
def test_a_line_that_is_no_death_is_left_out(path: Path, garbage: bytes) -> None:
    good = msgspec.json.encode(death(1))
    path.write_bytes(garbage + b"\n" + good + b"\n" + garbage)
    assert pids(read(path, 100)) == [1]


def test_a_field_of_a_later_version_is_passed_over(path: Path) -> None:
    document = msgspec.to_builtins(death(1)) | {"host": "here"}
    path.write_bytes(msgspec.json.encode(document) + b"\n")
    assert pids(read(path, 100)) == [1]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_full_disk_stops_nobody_and_the_death_is_still_known(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    kept = Tally(path, 100)
    kept.append(death(1))
    with monkeypatch.context() as full:
        full.setattr(os, "write", refuse)
        kept.append(death(2))
    kept.append(death(3))
    assert pids(kept.read()) == [1, 2, 3]
    assert kept.unwritten == 1
    assert pids(Tally(path, 100).read()) == [1, 3]


def test_a_disk_that_fills_up_within_a_line_costs_that_line_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    kept = Tally(path, 100)
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:50]))
        kept.append(death(1))
    kept.append(death(2))
    assert kept.unwritten == 1
    assert pids(Tally(path, 100).read()) == [2]


def test_a_rotation_that_fails_stops_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Path:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    kept = Tally(path, 2)
    monkeypatch.setattr(Path, "replace", refuse)
    for number in range(4):
        kept.append(death(number))
    assert pids(kept.read()) == [2, 3]
    assert kept.unwritten == 2


def test_a_file_or_directory_that_somebody_removed_stops_nobody(path: Path) -> None:
    kept = Tally(path, 100)
    kept.append(death(1))
    path.unlink()
    kept.append(death(2))
    assert pids(read(path, 100)) == [2]
    path.unlink()
    path.parent.rmdir()
    kept.append(death(3))
    assert (pids(kept.read()), kept.unwritten) == ([1, 2, 3], 1)
    path.parent.mkdir()


def test_a_file_that_cannot_be_read_is_as_none(path: Path) -> None:
    path.mkdir()
    kept = Tally(path, 100)
    kept.append(death(1))
    assert (pids(kept.read()), kept.unwritten) == ([1], 1)


def test_a_link_that_somebody_put_there_is_not_followed(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    path.symlink_to(target)
    kept = Tally(path, 100)
    kept.append(death(1))
    assert not target.exists()
    assert kept.unwritten == 1


def test_no_descriptor_stays_open(path: Path) -> None:
    kept = Tally(path, 5)
    kept.append(death())
    for number in range(50):
        kept.append(death(number))
    assert open_below(path.parent) == []


def test_who_was_told_to_stop_and_crashed_is_told_apart() -> None:
    assert death(cause="stopped", exit_code=0).clean
    assert not death(cause="stopped", exit_code=-11).clean
