"""Standard error that nobody reads, full disks, removed files, rotation by two processes at once."""

from __future__ import annotations

import errno
import itertools
import os
import pty
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.contract import logoutput
from supervisor.contract.logoutput import LogFile, Stream

LINE = b"x" * 99 + b"\n"
PATIENCE_S = 30.0


def gap(count: int) -> bytes:
    return b"%d dropped\n" % count


@pytest.fixture
def ends() -> Iterator[Callable[[str], tuple[int, int]]]:
    """A reading and a writing end of something, closed afterwards."""
    opened: list[int] = []

    def ends(kind: str) -> tuple[int, int]:
        if kind == "pipe":
            pair = os.pipe()
        elif kind == "terminal":
            pair = pty.openpty()
        else:
            ours, theirs = socket.socketpair()
            pair = ours.detach(), theirs.detach()
        opened.extend(pair)
        return pair

    yield ends
    for descriptor in opened:
        try:
            os.close(descriptor)
        except OSError:
            assert descriptor in opened  # the test has closed it itself


class Written:
    """A stream, put to with its lock as a logging handler does it."""

    def __init__(self, descriptor: int) -> None:
        self.lock = threading.Condition(threading.RLock())
        self.stream = Stream(descriptor, self.lock, gap)

    def put(self, line: bytes) -> bool:
        with self.lock:
            return self.stream.put(line)

    def put_until_dropped(self) -> int:
        """How many lines it took."""
        count = 0
        while self.put(LINE):
            count += 1
        return count

    def finish(self, seconds: float = PATIENCE_S) -> None:
        with self.lock:
            self.stream.finish(seconds)


def read_until(descriptor: int, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        more = os.read(descriptor, 65536).replace(b"\r\n", b"\n")
        assert more
        data += more
    return data


KINDS = ["pipe", "terminal", "socket"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_nobody_reads_holds_nobody_up_and_comes_with_the_number_of_lines_that_are_missing(
    ends: Callable[[str], tuple[int, int]], kind: str
) -> None:
    reader, writer = ends(kind)
    written = Written(writer)
    # A terminal that said it is full may have room again in a moment: then a line between is kept.
    kept = []
    for number in itertools.count():
        if written.put(b"%d %s" % (number, LINE)):
            kept.append(number)
        if written.stream.dropped == 27:
            break
    shown, gaps = [], []
    begun = b""
    while sum(gaps) < 27:
        *rows, begun = (begun + os.read(reader, 65536).replace(b"\r\n", b"\n")).split(b"\n")
        gaps += [int(row.split()[0]) for row in rows if row.endswith(b" dropped")]
        shown += [int(row.split()[0]) for row in rows if not row.endswith(b" dropped")]
    assert (shown, sum(gaps), begun) == (kept, 27, b"")
    # From here on it is as before; nothing is told twice.
    assert written.put(b"again\n")
    assert read_until(reader, b"again\n") == b"again\n"


@pytest.mark.parametrize("kind", KINDS)
def test_the_open_file_that_others_share_stays_in_blocking_mode(
    ends: Callable[[str], tuple[int, int]], kind: str
) -> None:
    _, writer = ends(kind)
    written = Written(writer)
    written.put_until_dropped()
    assert os.get_blocking(writer)


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_is_out_when_the_call_returns_so_that_a_kill_loses_none(
    ends: Callable[[str], tuple[int, int]], kind: str
) -> None:
    reader, writer = ends(kind)
    threads = threading.active_count()
    Written(writer).put(b"last words\n")
    os.set_blocking(reader, False)
    assert os.read(reader, 100).replace(b"\r\n", b"\n") == b"last words\n"
    assert threading.active_count() == threads


def test_a_terminal_stopped_by_ctrl_s_holds_nobody_up(ends: Callable[[str], tuple[int, int]]) -> None:
    reader, writer = ends("terminal")
    written = Written(writer)
    os.write(reader, b"\x13")
    written.put(b"unseen\n")
    written.put(b"unseen, too\n")
    assert written.stream.dropped == 0
    os.write(reader, b"\x11")
    assert read_until(reader, b"too\n").endswith(b"unseen\nunseen, too\n")


def test_what_cannot_be_opened_anew_is_left_to_a_thread(
    ends: Callable[[str], tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's pipe, after `su`: /proc refuses it."""
    monkeypatch.setattr(logoutput, "_never_waiting", lambda descriptor: (None, descriptor))
    reader, writer = ends("pipe")
    written = Written(writer)
    written.put(b"first\n")
    assert read_until(reader, b"first\n") == b"first\n"
    kept = written.put_until_dropped()
    assert read_until(reader, b" dropped\n") == LINE * kept + b"1 dropped\n"


def test_an_unprivileged_process_is_refused_another_users_pipe_and_logs_to_it_all_the_same() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    program = (
        "import os, sys, threading\n"
        "from supervisor.contract.logoutput import Stream\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "lock = threading.Condition(threading.RLock())\n"
        "stream = Stream(2, lock, lambda count: b'')\n"
        "with lock:\n"
        "    stream.put(b'seen\\n')\n"
        "    stream.finish(30)\n"
        "print(stream._send is None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("True\n", "seen\n")


@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_that_is_gone_costs_its_lines_and_nothing_else(
    ends: Callable[[str], tuple[int, int]], kind: str
) -> None:
    reader, writer = ends(kind)
    written = Written(writer)
    os.close(reader)
    assert not written.put(LINE)
    assert not written.put(LINE)
    assert written.stream.dropped == 2


def test_a_reader_that_goes_while_lines_wait_for_it_leaves_no_thread_running_in_circles(
    ends: Callable[[str], tuple[int, int]],
) -> None:
    reader, writer = ends("pipe")
    written = Written(writer)
    kept = written.put_until_dropped()
    os.close(reader)
    written.finish()
    # What was in the pipe counts as written: nobody can know.
    assert 1 < written.stream.dropped <= kept + 1
    before = time.process_time()
    written.finish()
    with written.lock:
        written.lock.wait_for(lambda: False, 0.05)
    assert time.process_time() - before < 0.04


def test_the_end_waits_for_a_reader_for_a_bounded_time(ends: Callable[[str], tuple[int, int]]) -> None:
    _, writer = ends("pipe")
    written = Written(writer)
    written.put_until_dropped()
    before = time.monotonic()
    written.finish(0.05)
    assert time.monotonic() - before >= 0.05  # and it returned


def test_a_forked_child_goes_on_logging_although_threads_stay_behind(
    ends: Callable[[str], tuple[int, int]],
) -> None:
    reader, writer = ends("pipe")
    written = Written(writer)
    kept = written.put_until_dropped()  # the thread runs, in the parent
    with written.lock:  # a child forked while its thread holds it would never get it
        child = os.fork()
        if child == 0:
            written.stream._queue.clear()
            written.stream._queued_bytes = 0
            written.stream.put(b"of the child\n")
    if child == 0:
        written.finish()
        os._exit(0)
    data = b""
    while not (b" dropped\n" in data and b"of the child\n" in data and data.count(LINE) >= kept):
        data += os.read(reader, 65536)
    assert data.count(LINE) == kept
    assert os.waitpid(child, 0)[1] == 0


def test_a_redirection_to_a_file_is_written_behind_what_others_write(tmp_path: Path) -> None:
    """`2>file`, without O_APPEND: opened anew, it would begin at its beginning."""
    with (tmp_path / "redirected").open("wb", buffering=0) as file:
        file.write(b"of another process\n")
        written = Written(file.fileno())
        written.put(b"ours\n")
        file.write(b"of another process\n")
    assert (tmp_path / "redirected").read_bytes() == b"of another process\nours\nof another process\n"


def test_a_redirection_to_a_full_disk_stops_nobody() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        written = Written(full.fileno())
        assert not written.put(LINE)
        assert written.stream.dropped == 1


# -- files ----------------------------------------------------------------------------------------------


def log_file(path: Path, max_bytes: int = 1000, keep: int = 2) -> LogFile:
    return LogFile(path, max_bytes, keep, gap)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets time pass for the file's look, once a second, at what became of it."""
    now = 100.0
    monkeypatch.setattr(logoutput.time, "monotonic", lambda: now)

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    return advance


def test_a_file_is_rotated_before_it_grows_beyond_its_limit(tmp_path: Path) -> None:
    file = log_file(tmp_path / "a.log", max_bytes=250, keep=2)
    for number in range(8):
        assert file.put(b"%d" % number + LINE)
    assert {path.name: path.read_bytes()[:1] for path in tmp_path.iterdir()} == {
        "a.log": b"6",
        "a.log.1": b"4",
        "a.log.2": b"2",
    }
    assert all(path.stat().st_size <= 250 for path in tmp_path.iterdir())


def test_with_none_to_keep_the_full_one_goes(tmp_path: Path) -> None:
    file = log_file(tmp_path / "a.log", max_bytes=250, keep=0)
    for _ in range(3):
        assert file.put(LINE)
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("a.log", 100)]


def test_a_line_longer_than_the_limit_gets_a_file_of_its_own(tmp_path: Path) -> None:
    file = log_file(tmp_path / "a.log", max_bytes=50, keep=1)
    assert file.put(LINE)
    assert file.put(LINE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log", "a.log.1"]


def test_two_that_find_the_file_full_rotate_it_once(tmp_path: Path) -> None:
    """Renamed a second time, it would go over the file that was just put away."""
    one, other = log_file(tmp_path / "a.log", 250, 1), log_file(tmp_path / "a.log", 250, 1)
    assert one.put(LINE)
    assert other.put(LINE)
    assert one.put(b"new " + LINE)  # rotates
    assert other.put(b"also new " + LINE)  # finds its file full, and put away already
    assert (tmp_path / "a.log.1").read_bytes() == LINE * 2
    assert (tmp_path / "a.log").read_bytes() == b"new " + LINE + b"also new " + LINE


def test_who_cannot_have_the_lock_of_a_rotation_writes_on(tmp_path: Path) -> None:
    one, other = log_file(tmp_path / "a.log", 150, 1), log_file(tmp_path / "a.log", 150, 1)
    assert one.put(LINE)
    assert other.put(b"")
    logoutput.fcntl.flock(other._descriptor, logoutput.fcntl.LOCK_EX)
    assert one.put(LINE)
    assert (tmp_path / "a.log").read_bytes() == LINE * 2
    other.close()  # as the kernel does it for who is killed
    assert one.put(LINE)
    assert (tmp_path / "a.log.1").read_bytes() == LINE * 2


WRITE = """
import sys
from pathlib import Path
from supervisor.contract.logoutput import LogFile
file = LogFile(Path(sys.argv[1]), 4_000, 200, lambda count: b"")
sys.stdin.read(1)
for number in range(1000):
    assert file.put(b"%s %d %s\\n" % (sys.argv[2].encode(), number, b"x" * 50))
"""


def test_no_line_is_lost_or_torn_while_processes_write_and_rotate_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITE, str(path), name], stdin=subprocess.PIPE)
        for name in ("old", "new", "newer")
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"x")
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    files = [path, *(tmp_path / f"a.log.{n}" for n in range(200, 0, -1))]
    lines = [line for file in files if file.exists() for line in file.read_bytes().splitlines()]
    for name in (b"old", b"new", b"newer"):
        numbers = sorted(int(line.split()[1]) for line in lines if line.split()[0] == name)
        assert numbers == list(range(1000))
    assert {line.split()[2] for line in lines} == {b"x" * 50}
    # How often is for the scheduler to say: while one of them rotates, the others write on.
    assert (tmp_path / "a.log.1").exists()


def test_a_file_that_was_removed_is_made_anew_within_a_second(
    tmp_path: Path, clock: Callable[[float], None]
) -> None:
    path = tmp_path / "log" / "a.log"
    file = log_file(path)
    assert file.put(b"1\n")
    path.unlink()
    clock(1.0)
    assert file.put(b"2\n")
    path.unlink()
    path.parent.rmdir()
    clock(1.0)
    assert file.put(b"3\n")
    assert path.read_bytes() == b"3\n"
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_what_is_above_the_directory_is_not_made_up(tmp_path: Path, clock: Callable[[float], None]) -> None:
    """A run directory made here would have whatever mode, and be refused at the next start."""
    file = log_file(tmp_path / "run" / "log" / "a.log")
    assert not file.put(LINE)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run").mkdir()
    assert not file.put(LINE)  # not asked for with each line
    clock(1.0)
    assert file.put(LINE)
    assert (tmp_path / "run" / "log" / "a.log").read_bytes() == b"2 dropped\n" + LINE


@pytest.mark.parametrize("written", [0, 40])
def test_a_full_disk_costs_lines_which_are_counted_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """The kernel may take a part of the line that fills the disk: the next begins on a line of its own."""
    file = log_file(tmp_path / "a.log")
    assert file.put(b"before\n")
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:written])

    monkeypatch.setattr(logoutput.os, "write", full)
    assert not file.put(LINE)
    assert file.problem == "No space left on device"
    monkeypatch.setattr(logoutput.os, "write", write)
    assert file.put(b"after\n")
    assert (file.problem, file.dropped) == ("", 1)
    torn = LINE[:written] + b"\n" if written else b""
    assert (tmp_path / "a.log").read_bytes() == b"before\n" + torn + b"1 dropped\nafter\n"


def test_a_line_that_a_power_cut_tore_is_ended_before_the_next(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"half a li")
    assert log_file(tmp_path / "a.log").put(b"whole\n")
    assert (tmp_path / "a.log").read_bytes() == b"half a li\nwhole\n"


def test_a_pipe_in_the_place_of_the_file_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.log")
    file = log_file(tmp_path / "a.log")
    assert not file.put(LINE)
    assert file.problem == "it is not a regular file"


def test_a_directory_that_may_not_be_changed_lets_the_file_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = log_file(tmp_path / "a.log", max_bytes=150)

    def refused(_self: Path, _target: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "replace", refused)
    assert file.put(LINE)
    assert file.put(LINE)
    assert (tmp_path / "a.log").read_bytes() == LINE * 2
    monkeypatch.undo()
    assert file.put(LINE)
    assert (tmp_path / "a.log.1").read_bytes() == LINE * 2
