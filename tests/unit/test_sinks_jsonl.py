import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.sinks import SinkInUse, SinkLost, SinkUnavailable
from workers.sinks.jsonl import JsonlSink

PLENTY = 1 << 30


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


@contextmanager
def disk_with_room_for(file_bytes):
    """The kernel refuses to let any file grow beyond this, partial writes included, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def rotated(path):
    return sorted(p.name for p in path.parent.iterdir() if not p.name.endswith(".lock"))


def test_files_are_rotated_before_they_grow_too_large_and_only_as_many_kept_as_asked(path):
    sink = JsonlSink(path, max_bytes=30, keep=2)
    sink.write([b"%09d" % n for n in range(10)])
    sink.close()
    assert rotated(path) == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
    assert path.read_bytes() == b"000000009\n"
    assert path.with_name("events.jsonl.1").read_bytes() == b"000000006\n000000007\n000000008\n"
    assert path.with_name("events.jsonl.2").read_bytes() == b"000000003\n000000004\n000000005\n"


def test_with_none_kept_only_the_current_file_is_there(path):
    sink = JsonlSink(path, max_bytes=20, keep=0)
    sink.write([b"%09d" % n for n in range(5)])
    sink.flush()
    assert rotated(path) == ["events.jsonl"]
    assert path.read_bytes() == b"000000004\n"


@settings(deadline=None, max_examples=60)
@given(
    batches=st.lists(st.lists(st.integers(1, 40), max_size=8), max_size=8),
    max_bytes=st.integers(1, 60),
)
def test_whatever_the_sizes_nothing_is_lost_repeated_or_split_and_no_file_is_too_large(
    tmp_path_factory, batches, max_bytes
):
    path = tmp_path_factory.mktemp("rotate") / "events.jsonl"
    sink = JsonlSink(path, max_bytes, keep=64)  # as many lines as there can be: none is deleted
    lines = []
    for batch in batches:
        made = [b"%d:" % (len(lines) + n) + b"x" * size for n, size in enumerate(batch)]
        lines += made
        sink.write(made)
        sink.flush()
    sink.close()
    files = [path.with_name(f"events.jsonl.{n}") for n in range(64, 0, -1)]
    contents = [file.read_bytes() for file in [*files, path] if file.exists()]
    assert b"".join(contents) == b"".join(line + b"\n" for line in lines)
    for content in contents:
        assert len(content) <= max_bytes or content.count(b"\n") == 1
        assert content == b"" or content.endswith(b"\n")


def test_a_rotation_killed_half_way_costs_no_rotated_file(path):
    for n in (1, 3):  # .2 had just become .3
        path.with_name(f"events.jsonl.{n}").write_bytes(b"%d\n" % n)
    sink = JsonlSink(path, max_bytes=2, keep=3)
    sink.write([b"a", b"b"])
    sink.close()
    kept = [path.with_name(f"events.jsonl.{n}").read_bytes() for n in (1, 2, 3)]
    assert kept == [b"a\n", b"1\n", b"3\n"]


def test_a_line_torn_by_a_crash_is_ended_and_never_merged_with_the_next(path):
    path.write_bytes(b'{"n":1}\n{"n":')
    sink = JsonlSink(path, PLENTY, 1)
    sink.write([b'{"n":2}'])
    assert path.read_bytes() == b'{"n":1}\n{"n":\n{"n":2}\n'


def test_a_whole_last_line_gets_no_blank_line_after_it(path):
    path.write_bytes(b'{"n":1}\n')
    JsonlSink(path, PLENTY, 1).write([b'{"n":2}'])
    assert path.read_bytes() == b'{"n":1}\n{"n":2}\n'


def test_a_full_disk_keeps_every_line_until_there_is_space(path):
    sink = JsonlSink(path, PLENTY, 1)
    lines = [b'{"n":%03d}' % n for n in range(100)]
    with disk_with_room_for(105):
        with pytest.raises(SinkUnavailable, match=r"events\.jsonl cannot be written"):
            sink.write(lines[:60])
        with pytest.raises(SinkUnavailable):
            sink.flush()
        assert path.stat().st_size == 105  # the tenth line is torn
        with pytest.raises(SinkUnavailable):
            sink.write(lines[60:])
    sink.flush()
    assert path.read_bytes() == b"".join(line + b"\n" for line in lines)


def test_space_made_by_truncating_the_file_puts_no_half_line_into_it(path):
    sink = JsonlSink(path, PLENTY, 1)
    lines = [b'{"n":%03d}' % n for n in range(30)]
    with disk_with_room_for(105):
        with pytest.raises(SinkUnavailable):
            sink.write(lines)
        os.truncate(path, 0)
        with pytest.raises(SinkUnavailable):
            sink.flush()
    sink.flush()
    assert path.read_bytes() == b"".join(line + b"\n" for line in lines[10:])


def test_a_removed_file_is_made_anew_and_what_may_have_gone_with_it_is_said(path):
    sink = JsonlSink(path, PLENTY, 1)
    sink.write([b"1"])
    path.unlink()
    with pytest.raises(SinkLost, match="was removed"):
        sink.flush()
    sink.write([b"1"])
    sink.flush()
    assert path.read_bytes() == b"1\n"


def test_a_file_removed_when_all_in_it_was_flushed_is_no_loss(path):
    sink = JsonlSink(path, PLENTY, 1)
    sink.write([b"1"])
    sink.flush()
    path.unlink()
    sink.write([b"2"])
    sink.flush()
    assert path.read_bytes() == b"2\n"


def test_a_removed_directory_is_unavailable_until_it_is_back_and_then_the_loss_is_said_once(tmp_path):
    path = tmp_path / "data" / "events.jsonl"
    path.parent.mkdir()
    sink = JsonlSink(path, PLENTY, 1)
    sink.write([b"1"])
    path.unlink()
    path.with_name("events.jsonl.lock").unlink()
    path.parent.rmdir()
    for _ in range(2):
        with pytest.raises(SinkUnavailable):
            sink.flush()
    path.parent.mkdir()
    with pytest.raises(SinkLost):
        sink.flush()
    sink.flush()
    assert path.read_bytes() == b""


def test_reopen_goes_on_in_a_new_file_after_the_old_was_moved(path):
    sink = JsonlSink(path, PLENTY, 1)
    sink.write([b"1"])
    path.rename(path.with_name("moved"))
    sink.write([b"2"])
    sink.reopen()
    sink.write([b"3"])
    sink.flush()
    assert path.with_name("moved").read_bytes() == b"1\n2\n"
    assert path.read_bytes() == b"3\n"


def test_a_second_writer_is_refused_with_the_first_ones_pid_and_let_in_after_it(path):
    first = JsonlSink(path, PLENTY, 1)
    first.write([b"1"])
    with pytest.raises(SinkInUse, match=f"pid {os.getpid()}"):
        JsonlSink(path, PLENTY, 1)
    link = path.with_name("link.jsonl")
    link.symlink_to(path)
    with pytest.raises(SinkInUse):
        JsonlSink(link, PLENTY, 1)
    first.close()
    JsonlSink(path, PLENTY, 1).close()
    assert path.read_bytes() == b"1\n"


def test_a_killed_writer_leaves_no_lock_behind(path):
    program = (
        "import os, signal, pathlib\n"
        "from workers.sinks.jsonl import JsonlSink\n"
        f"sink = JsonlSink(pathlib.Path({str(path)!r}), 1 << 30, 1)\n"
        "sink.write([b'1'])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], timeout=60)
    assert done.returncode == -signal.SIGKILL
    JsonlSink(path, PLENTY, 1).write([b"2"])
    assert path.read_bytes() == b"1\n2\n"


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(SinkUnavailable, match="No such file") as fault:
        JsonlSink(tmp_path / "absent" / "events.jsonl", PLENTY, 1)
    assert str(tmp_path / "absent") in fault.value.remedy


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_something_else_in_its_place_is_refused_at_once(path, make):
    make(path)
    with pytest.raises(SinkUnavailable):
        JsonlSink(path, PLENTY, 1)
    path.rmdir() if path.is_dir() else path.unlink()
    JsonlSink(path, PLENTY, 1).close()  # and the failed one let go of the lock
