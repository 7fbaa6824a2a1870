"""``supervisor tail`` as a user runs it, against the sink that the real-time worker serves the feed with."""

import json
import os
import pty
import select
import subprocess
import sys
import threading

import pytest

from supervisor.contract.exits import Exit
from workers.sinks.live import LiveSink


class Feed:
    """A worker's loop that serves the feed, and writes an event as often as it polls."""

    def __init__(self, path, events, max_clients=32):
        self._sink = LiveSink(path, max_clients=max_clients)
        self._events = events
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while not self._done.wait(0.005):
            self._sink.poll()
            self._sink.write(self._events)

    def close(self):
        self._done.set()
        self._thread.join()
        self._sink.close()


@pytest.fixture
def serve(tmp_path):
    feeds = []

    def serve(*events, **options):
        feeds.append(Feed(tmp_path / "live.sock", events, **options))
        return feeds[-1]

    yield serve
    for feed in feeds:
        feed.close()


@pytest.fixture
def tail(tmp_path):
    running = []

    def tail(*arguments, **options):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        command = [
            sys.executable,
            "-m",
            "supervisor",
            "tail",
            "--set",
            f"runtime.run_dir={tmp_path}",
            *arguments,
        ]
        running.append(subprocess.Popen(command, **options))
        return running[-1]

    yield tail
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


EAST = b'{"region":"East","ip":null,"n":1}'
WEST = b'{"region":"West","ip":"10.0.0.1","n":2}'


def test_a_pipe_gets_as_many_json_lines_as_asked_and_then_the_end(serve, tail):
    serve(EAST, WEST)
    out, err = (process := tail("-c", "3")).communicate(timeout=60)
    assert process.returncode == Exit.OK
    assert out.encode().splitlines() == [EAST, WEST, EAST]
    assert err == ""


@pytest.mark.parametrize("condition", ["region=West", "n=2", "ip=10.0.0.1"])
def test_grep_shows_only_events_whose_field_has_the_value(serve, tail, condition):
    serve(EAST, WEST, b"not json", b"[]")
    out, _ = tail("-c", "3", "--grep", condition).communicate(timeout=60)
    assert out.encode().splitlines() == [WEST] * 3


def test_several_conditions_must_all_hold_and_null_is_a_value_that_can_be_asked_for(serve, tail):
    serve(EAST, WEST, b'{"region":"East","n":1}')
    out, _ = tail("-c", "2", "--grep", "region=East", "--grep", "ip=null").communicate(timeout=60)
    assert out.encode().splitlines() == [EAST] * 2


def test_without_a_feed_it_says_what_to_start(tail, tmp_path):
    out, err = (process := tail()).communicate(timeout=60)
    assert process.returncode == Exit.FAILED
    assert out == ""
    error, remedy = err.splitlines()
    assert str(tmp_path / "live.sock") in error
    assert remedy.startswith("remedy: supervisor start")


def test_a_full_feed_is_an_error(serve, tail):
    serve(EAST, max_clients=0)
    _, err = (process := tail()).communicate(timeout=60)
    assert process.returncode == Exit.FAILED
    assert err.splitlines()[0] == "error: the live feed has as many readers as it takes"


def test_a_replaced_worker_is_waited_for_and_the_gap_is_said(serve, tail):
    first = serve(EAST)
    process = tail()
    assert process.stdout.readline().encode() == EAST + b"\n"
    first.close()
    serve(WEST)
    assert "was replaced" in process.stderr.readline()
    while (line := process.stdout.readline().encode()) == EAST + b"\n":
        pass
    assert line == WEST + b"\n"


def test_what_was_missed_is_said_on_stderr_and_not_among_the_events(serve, tail):
    serve(b'{"dropped":1234}', EAST, b'{"dropped":1,"n":2}')
    out, err = tail("-c", "2").communicate(timeout=60)
    assert out.encode().splitlines() == [EAST, b'{"dropped":1,"n":2}']
    assert "missed 1,234 events" in err


def test_head_ends_it_without_a_complaint(serve, tail):
    serve(EAST)
    process = tail()
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == Exit.OK
    assert process.stderr.read() == ""


def on_a_terminal(tail, *arguments, environment=None):
    master, slave = pty.openpty()
    process = tail(*arguments, stdout=slave, text=False, env={**os.environ, **(environment or {})})
    os.close(slave)
    shown = b""
    while select.select([master], [], [], 60)[0]:
        try:
            shown += os.read(master, 4096)
        except OSError:
            break  # the other side has ended
    os.close(master)
    assert process.wait(60) == Exit.OK
    return shown.decode()


def test_a_terminal_gets_names_and_values_and_nothing_that_acts_on_it(serve, tail):
    serve('{"device":"\\u001b]0;pwned\\u0007","at":"CA\u009b\u202e","n":[1]}'.encode())
    shown = on_a_terminal(tail, "-c", "1", environment={"NO_COLOR": "1"})
    assert shown == "device=\ufffd]0;pwned\ufffd  at=CA\ufffd\ufffd  n=[1]\r\n"


def test_a_terminal_gets_colour_unless_told_otherwise_and_json_if_asked(serve, tail):
    serve(WEST)
    assert "\x1b[2mregion=\x1b[0mWest" in on_a_terminal(tail, "-c", "1", environment={"NO_COLOR": ""})
    assert json.loads(on_a_terminal(tail, "-c", "1", "--json")) == json.loads(WEST)


@pytest.mark.parametrize("arguments", [["--grep", "region"], ["--grep", "=x"], ["-c", "0"]])
def test_what_makes_no_sense_is_a_usage_error(tail, arguments):
    process = tail(*arguments)
    _, err = process.communicate(timeout=60)
    assert process.returncode == Exit.USAGE
    assert arguments[0] in err
