import contextlib
import fcntl
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workers.sinks import SinkClosed, SinkUnavailable
from workers.sinks.stdout import StdoutSink


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def test_a_reader_that_stands_still_never_blocks_a_write_and_loses_nothing(pipe):
    reading, writing = pipe
    sink = StdoutSink(writing)
    lines = [b'{"n":%07d}' % n for n in range(20_000)]  # several times what a pipe holds
    sink.write(lines)
    with pytest.raises(SinkUnavailable, match="slow"):
        sink.flush()
    os.set_blocking(reading, False)
    got = bytearray()
    while len(got) < 20_000 * 14:
        got += os.read(reading, 1 << 20)
        sink.poll()
    sink.flush()
    assert got.split(b"\n")[:-1] == lines


def test_a_backlog_of_a_mebibyte_asks_the_worker_to_wait_and_keeps_the_lines(pipe):
    reading, writing = pipe
    sink = StdoutSink(writing)
    line = b"x" * 999
    for _ in range(10):
        sink.write([line] * 100)
    with pytest.raises(SinkUnavailable):
        sink.write([line] * 200)
    given = 0
    while given < 1_200_000:
        given += len(os.read(reading, 1 << 20))
        sink.poll()
    sink.flush()
    os.set_blocking(reading, False)
    with pytest.raises(BlockingIOError):
        os.read(reading, 1)


def test_flush_gives_up_soon_however_slowly_the_reader_reads(pipe):
    _, writing = pipe
    sink = StdoutSink(writing)
    sink.write([b"x" * 999] * 200)
    before = time.monotonic()
    with pytest.raises(SinkUnavailable):
        sink.flush()
    assert time.monotonic() - before < 5


def test_a_closed_pipe_says_so_each_time_and_poll_stays_quiet(pipe):
    reading, writing = pipe
    sink = StdoutSink(writing)
    os.close(reading)
    for _ in range(2):
        with pytest.raises(SinkClosed):
            sink.write([b"{}"])
    with pytest.raises(SinkClosed):
        sink.flush()
    sink.poll()
    sink.close()


def test_the_shared_descriptor_stays_in_blocking_mode(pipe):
    _, writing = pipe
    StdoutSink(writing).write([b"{}"])
    assert not fcntl.fcntl(writing, fcntl.F_GETFL) & os.O_NONBLOCK


def test_a_descriptor_made_non_blocking_by_somebody_else_loses_nothing(pipe):
    reading, writing = pipe
    os.set_blocking(writing, False)
    sink = StdoutSink(writing)
    sink.write([b"x" * 999] * 200)
    got = 0
    while got < 200_000:
        got += len(os.read(reading, 1 << 20))
        sink.poll()
    sink.flush()
    assert got == 200_000


def test_a_full_disk_behind_stdout_keeps_the_lines_until_there_is_space(tmp_path):
    path = tmp_path / "out"
    with path.open("wb") as file:
        sink = StdoutSink(file.fileno())
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        try:
            with pytest.raises(SinkUnavailable):
                sink.write([b"x" * 999] * 20)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sink.flush()
    assert path.read_bytes() == (b"x" * 999 + b"\n") * 20


def test_head_ends_the_writing_process_without_a_traceback():
    program = (
        "from workers.sinks import SinkClosed\n"
        "from workers.sinks.stdout import StdoutSink\n"
        "sink = StdoutSink()\n"
        "try:\n"
        "    while True: sink.write([b'{}']); sink.flush()\n"
        "except SinkClosed: pass\n"
    )
    done = subprocess.run(
        f'{sys.executable} -c "{program}" | head -n 3; echo ${{PIPESTATUS[0]}}',
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )
    assert done.stdout == "{}\n{}\n{}\n0\n"
    assert done.stderr == ""
