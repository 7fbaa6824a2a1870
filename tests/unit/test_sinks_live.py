import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from supervisor.contract.settings import Jsonl, Realtime
from workers.sinks import SinkFault, SinkInUse, SinkUnavailable, open_sinks
from workers.sinks.live import LiveSink

LINE = b'{"n":%d}'


@pytest.fixture
def path(tmp_path):
    return tmp_path / "live.sock"


@pytest.fixture
def serve(path):
    sinks = []

    def serve(**options):
        sinks.append(LiveSink(path, **options))
        return sinks[-1]

    yield serve
    for sink in sinks:
        sink.close()


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(path))
        self._buffer = b""

    def lines(self, count):
        while self._buffer.count(b"\n") < count:
            piece = self.socket.recv(1 << 20)
            assert piece, "the feed ended"
            self._buffer += piece
        *lines, self._buffer = self._buffer.split(b"\n", count)
        return lines

    def waiting(self):
        """What has arrived and is unread, without waiting."""
        self.socket.setblocking(False)
        try:
            while piece := self.socket.recv(1 << 20):
                self._buffer += piece
        except BlockingIOError:
            pass
        self.socket.settimeout(30)
        return self._buffer


@pytest.fixture
def connect(path):
    clients = []

    def connect():
        clients.append(Client(path))
        return clients[-1]

    yield connect
    for client in clients:
        client.socket.close()


def test_clients_get_what_comes_after_they_connect(serve, connect):
    sink = serve()
    sink.write([b"before"])
    first = connect()
    sink.poll()
    sink.write([b"1"])
    second = connect()
    sink.poll()
    sink.write([b"2"])
    assert first.waiting() == b"1\n2\n"
    assert second.waiting() == b"2\n"


def test_the_socket_is_for_its_owner_alone_and_the_umask_is_as_before(serve, path):
    before = os.umask(0o022)
    try:
        serve()
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_client_that_reads_nothing_loses_the_oldest_whole_lines_and_is_told_how_many(serve, connect):
    sink = serve(buffer_bytes=50_000)
    client = connect()
    sink.poll()
    for n in range(100_000):
        sink.write([LINE % n])
    got = []
    while not got or got[-1].get("n") != 99_999:
        got.append(json.loads(client.lines(1)[0]))
        sink.poll()
    dropped = [line["dropped"] for line in got if "dropped" in line]
    numbers = [line["n"] for line in got if "n" in line]
    assert len(dropped) == 1
    assert dropped[0] + len(numbers) == 100_000
    at = got.index({"dropped": dropped[0]})
    assert numbers[:at] == list(range(at))  # what had been sent already
    assert numbers[at:] == list(range(at + dropped[0], 100_000))


def test_a_slow_client_takes_nothing_from_a_quick_one(serve, connect):
    sink = serve(buffer_bytes=10_000)
    connect()
    quick = connect()
    sink.poll()
    got = b""
    for n in range(50_000):
        sink.write([LINE % n])
        if n % 50 == 49:
            got = quick.waiting()
    assert got.split(b"\n")[:-1] == [LINE % n for n in range(50_000)]


def test_with_nobody_or_only_sleepers_looking_a_write_never_waits(serve, connect):
    sink = serve(buffer_bytes=100_000)
    for _ in range(3):
        connect()
    sink.poll()
    done = threading.Event()

    def write():
        for _ in range(200):
            sink.write([LINE % n for n in range(1000)])
        done.set()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    assert done.wait(60)


def test_a_line_larger_than_the_buffer_is_dropped_and_counted(serve, connect):
    sink = serve(buffer_bytes=1_000)
    client = connect()
    sink.poll()
    sink.write([b"x" * 2_000])
    sink.write([b"small"])
    assert client.lines(2) == [b'{"dropped":1}', b"small"]


def test_more_clients_than_allowed_are_told_and_one_that_leaves_makes_room(serve, connect):
    sink = serve(max_clients=2)
    first, _ = connect(), connect()
    sink.poll()
    third = connect()
    sink.poll()
    assert "error" in json.loads(third.lines(1)[0])
    assert third.socket.recv(1) == b""
    first.socket.close()
    sink.poll()
    fourth = connect()
    sink.poll()
    sink.write([b"1"])
    assert fourth.waiting() == b"1\n"


def test_a_client_that_ended_its_own_side_still_reads(serve, connect):
    sink = serve()
    client = connect()
    client.socket.sendall(b"hello?\n")
    client.socket.shutdown(socket.SHUT_WR)
    for _ in range(3):
        sink.poll()
    sink.write([b"1"])
    assert client.waiting() == b"1\n"


def test_a_client_that_vanishes_in_the_middle_does_no_harm(serve, connect):
    sink = serve()
    gone, stays = connect(), connect()
    sink.poll()
    gone.socket.close()
    sink.write([b"1"])
    sink.write([b"2"])
    sink.poll()
    assert stays.waiting() == b"1\n2\n"


def test_a_living_predecessor_is_respected(serve, connect, path):
    sink = serve()
    with pytest.raises(SinkInUse, match=f"pid {os.getpid()}"):
        LiveSink(path)
    client = connect()
    sink.poll()
    sink.write([b"1"])
    assert client.waiting() == b"1\n"


def test_a_living_predecessor_is_respected_even_when_its_lock_was_removed(serve, path):
    serve()
    path.with_name("live.sock.lock").unlink()
    with pytest.raises(SinkInUse, match="serves the live feed"):
        LiveSink(path)
    assert path.exists()


def test_the_socket_of_a_killed_predecessor_is_replaced(serve, connect, path):
    program = (
        "import os, signal, pathlib\n"
        "from workers.sinks.live import LiveSink\n"
        f"sink = LiveSink(pathlib.Path({str(path)!r}))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert path.exists()
    sink = serve()
    client = connect()
    sink.poll()
    sink.write([b"1"])
    assert client.waiting() == b"1\n"


def test_a_file_that_is_no_socket_is_left_alone(path):
    path.write_text("precious")
    with pytest.raises(SinkUnavailable, match="no socket"):
        LiveSink(path)
    assert path.read_text() == "precious"


def test_a_missing_directory_and_a_long_path_are_said(tmp_path):
    with pytest.raises(SinkUnavailable):
        LiveSink(tmp_path / "absent" / "live.sock")
    with pytest.raises(SinkUnavailable, match="too long"):
        LiveSink(tmp_path / ("x" * 110))


def test_close_sends_what_is_owed_removes_the_socket_and_leaves_a_successors_alone(serve, connect, path):
    sink = serve()
    client = connect()
    sink.poll()
    sink.write([b"last"])
    sink.close()
    assert client.waiting() == b"last\n"
    assert not path.exists()
    LiveSink(path)  # bound anew, never closed
    sink.close()
    assert path.exists()


def test_a_live_feed_costs_little_when_nobody_looks(serve):
    sink = serve()
    lines = [LINE % n for n in range(1000)]
    before = time.process_time()
    for _ in range(1000):
        sink.write(lines)
        sink.poll()
    assert time.process_time() - before < 1


def test_the_configured_sinks_are_opened_once_each_and_in_order(tmp_path):
    sinks = open_sinks(Realtime(sinks=["live", "jsonl", "stdout", "live"]), tmp_path)
    assert [sink.name for sink in sinks] == ["live", "jsonl", "stdout"]
    assert (tmp_path / "live.sock").exists()
    assert (tmp_path / "events.jsonl").exists()
    for sink in sinks:
        sink.close()


def test_when_one_cannot_be_opened_the_others_are_let_go(tmp_path):
    elsewhere = Jsonl(path=str(tmp_path / "absent" / "x"))
    with pytest.raises(SinkFault):
        open_sinks(Realtime(sinks=["live", "jsonl"], jsonl=elsewhere), tmp_path)
    assert not (tmp_path / "live.sock").exists()
    open_sinks(Realtime(sinks=["live"]), tmp_path)[0].close()
