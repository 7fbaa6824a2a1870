"""``supervisor logs`` as a user runs it; it needs no brokers, and no supervisor that runs."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from supervisor.contract.loglines import Line, encode, stamp

PATIENCE_S = 60.0


@pytest.fixture
def logs(tmp_path):
    return Logs(tmp_path)


class Logs:
    def __init__(self, directory):
        self.directory = directory
        (directory / "log").mkdir()

    def write(self, process, message, level="info", age_s=0.0):
        line = Line(stamp(time.time() - age_s), level, process, 1, message)
        with (self.directory / "log" / f"{process}.log").open("ab") as file:
            file.write(encode(line))

    def command(self, *arguments):
        program = [sys.executable, "-m", "supervisor", "logs", *arguments]
        return [*program, "--set", f"runtime.run_dir={self.directory}"]

    def run(self, *arguments):
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )


def test_files_that_a_supervisor_left_are_shown_as_one_story(logs):
    logs.write("olap-0", "first", age_s=3)
    logs.write("supervisor", "second", age_s=2)
    logs.write("olap-0", "third", level="error", age_s=1)
    done = logs.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["first", "second", "third"]
    assert "\x1b" not in done.stdout
    done = logs.run("--json", "-n", "1", "--level", "warning")
    assert [json.loads(line)["message"] for line in done.stdout.splitlines()] == ["third"]


def test_age_is_told_in_units(logs):
    logs.write("olap-0", "old", age_s=7200)
    for number in range(150):
        logs.write("olap-0", f"new {number}", age_s=30)
    assert len(logs.run("--since", "10m").stdout.splitlines()) == 150
    assert len(logs.run().stdout.splitlines()) == 100
    refused = logs.run("--since", "10 minutes")
    assert refused.returncode == 2
    assert "'10 minutes' is no duration" in refused.stderr


def test_a_worker_that_is_not_there_is_answered_with_the_nearest(logs):
    logs.write("olap-2", "here")
    refused = logs.run("olap2")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[1] == "remedy: the nearest is olap-2; there are olap-2"


def test_it_follows_over_a_rotation_until_ctrl_c(logs):
    logs.write("olap-0", "before")
    process = subprocess.Popen(
        logs.command("olap-0", "-f"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline().endswith("before\n")
        file = logs.directory / "log" / "olap-0.log"
        file.rename(file.with_name("olap-0.log.1"))
        logs.write("olap-0", "after")
        assert process.stdout.readline().endswith("after\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
        assert process.stderr.read().strip() == ""
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("no_color", ["", "1"])
def test_colours_are_for_terminals_where_they_are_not_refused(logs, no_color):
    logs.write("olap-0", "bad\x1b[2J", level="error")
    ours, theirs = pty.openpty()
    done = subprocess.run(
        logs.command(),
        stdout=theirs,
        env={**os.environ, "NO_COLOR": no_color},
        check=False,
        timeout=PATIENCE_S,
    )
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert done.returncode == 0
    assert ("\x1b[31mERROR" in shown) is (not no_color)
    assert "bad\\x1b[2J" in shown


def test_a_reader_that_has_enough_ends_it_without_a_word(logs):
    for number in range(2000):
        logs.write("olap-0", f"{number} " + "x" * 100)
    process = subprocess.Popen(
        logs.command("-n", "2000"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(PATIENCE_S) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.fixture
def unread():
    """The writing end of a pipe that is full and that nobody reads."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    yield writer
    os.close(writer)
    os.close(reader)


def test_an_error_that_nobody_reads_ends_a_command_all_the_same(logs, unread):
    done = subprocess.run(logs.command("nobody"), stderr=unread, check=False, timeout=PATIENCE_S)
    assert done.returncode == 1


def test_a_supervisor_whose_standard_error_nobody_reads_runs_and_stops_as_ever(logs, unread):
    arguments = ["--set", f"runtime.run_dir={logs.directory}", "--bootstrap-servers", "127.0.0.1:1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "supervisor", "start", "--set", "log.level=debug", *arguments], stderr=unread
    )
    deadline = time.monotonic() + PATIENCE_S
    try:
        # It has been told by a worker, which has got through its start: neither waits for its log.
        while "is in standby" not in (said := logs.run("supervisor").stdout):
            assert time.monotonic() < deadline, said
            assert process.poll() is None, said
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
    assert logs.run("supervisor", "-n", "1").stdout.endswith("stopped\n")
