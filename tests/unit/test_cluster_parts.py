"""The smaller parts: probe, memory check, spawn, logs."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from multiprocessing.connection import wait
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.cluster.broker import Broker
from supervisor.cluster.checks import memory_fault
from supervisor.cluster.ports import choose
from supervisor.cluster.probe import View, ask, parse_metadata
from supervisor.cluster.properties import Node
from supervisor.cluster.runtime import Runtime
from supervisor.cluster.spawn import spawn


def text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def metadata(cluster_id: str, brokers: list[int], controller: int) -> bytes:
    listed = b"".join(
        struct.pack(">i", n) + text("127.0.0.1") + struct.pack(">ih", 9092, -1) for n in brokers
    )
    head = struct.pack(">ii", 1, len(brokers)) + listed
    return head + text(cluster_id) + struct.pack(">ii", controller, 0)


def test_a_metadata_answer_is_read() -> None:
    assert parse_metadata(metadata("abc", [1, 3], 3)) == View("abc", frozenset({1, 3}), 3)


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused_and_not_misread(data: bytes) -> None:
    try:
        view = parse_metadata(data)
    except (ValueError, struct.error):
        return
    assert data[:4] == struct.pack(">i", 1)
    assert len(data) >= 14 + 12 * len(view.brokers)


@given(st.integers(0, 60))
def test_a_cut_off_answer_is_refused(size: int) -> None:
    whole = metadata("abc", [1, 3], 3)[:-4]  # Without the topics, which nobody reads.
    with pytest.raises((ValueError, struct.error)):
        parse_metadata(whole[: min(size, len(whole) - 1)])


def test_a_port_where_nobody_listens_does_not_answer() -> None:
    assert ask(choose(1)[0], timeout=5) is None


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 8, struct.pack(">i", 4)]
)
def test_a_server_that_is_no_broker_does_not_answer(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert ask(server.getsockname()[1], timeout=5) is None
        thread.join()


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert ask(server.getsockname()[1], timeout=0.05) is None


def test_too_little_memory_is_told_with_both_numbers() -> None:
    fault = memory_fault(brokers=3, heap_mb=512, available_mb=2435)
    assert fault is not None
    assert "2436 MB" in fault.cause
    assert "2435 MB are available" in fault.cause
    assert "--brokers 1" in fault.remedy


def test_just_enough_memory_is_enough() -> None:
    assert memory_fault(brokers=3, heap_mb=512, available_mb=2436) is None
    assert memory_fault(brokers=1, heap_mb=512, available_mb=812) is None


@pytest.mark.parametrize(("optimize", "level"), [(False, "1"), (True, "4")])
def test_brokers_that_run_on_use_every_compiler(optimize: bool, level: str) -> None:
    runtime = Runtime(Path("java"), (Path("kafka.jar"),), Path("bootstrap"), None)
    command = runtime.broker_command("broker.properties", 512, optimize=optimize)
    levels = [word.partition("=")[2] for word in command if word.startswith("-XX:TieredStopAtLevel=")]
    assert levels[-1] == level  # of several Java takes the last


@pytest.mark.parametrize("optimize", [False, True])
def test_a_broker_has_one_collector(optimize: bool) -> None:
    """Java refuses to start with two."""
    runtime = Runtime(Path("java"), (Path("kafka.jar"),), Path("bootstrap"), None)
    command = runtime.broker_command("broker.properties", 512, optimize=optimize)
    chosen = {word[5:]: word[4] == "+" for word in command if re.fullmatch(r"-XX:.Use\w+GC", word)}
    assert [name for name, used in chosen.items() if used] == ["UseG1GC" if optimize else "UseSerialGC"]


def test_a_spawned_process_dies_with_its_killed_parent(tmp_path: Path) -> None:
    program = (
        "import os, sys, time; from pathlib import Path; from supervisor.cluster.spawn import spawn\n"
        "child = spawn(['sleep', '300'], Path(sys.argv[1]), Path(sys.argv[1]) / 'log', os.environ)\n"
        "print(child.pid, flush=True); time.sleep(300)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert psutil.Process(child).name() == "sleep"
        watched = os.pidfd_open(child)
        parent.send_signal(signal.SIGKILL)
    assert wait([watched], 30), f"process {child} still runs"
    os.close(watched)


def test_only_the_main_thread_may_spawn(tmp_path: Path) -> None:
    raised: list[BaseException] = []

    def attempt() -> None:
        try:
            spawn(["true"], tmp_path, tmp_path / "log", os.environ)
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert "main thread" in str(raised[0])


def process(tmp_path: Path, *command: str) -> Broker:
    return Broker(Node(1, 9092, 9093), command, tmp_path, tmp_path / "broker-1.log")


def test_a_broker_tells_its_state_and_how_it_ended(tmp_path: Path) -> None:
    broker = process(tmp_path, "sleep", "300")
    assert (broker.state, broker.pid, broker.ending) == ("stopped", None, "never started")
    broker.launch()
    assert broker.state == "running"
    broker.pause()
    assert broker.state == "paused"
    # It could not hear of its end while paused.
    broker.terminate()
    deadline = time.monotonic() + 30
    while broker.pid is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert (broker.state, broker.exit_code, broker.ending) == ("stopped", -15, "killed by SIGTERM")
    broker.launch()
    broker.kill()
    assert broker.ending == "killed by SIGKILL"
    broker.kill()
    broker.pause()
    assert broker.state == "stopped"


def test_the_last_lines_leave_out_stack_frames(tmp_path: Path) -> None:
    broker = process(tmp_path, "true")
    assert broker.last_lines() == []
    broker.log.write_text("one\ntwo\nthree\n\tat a.B.c(D.java:1)\n\t... 5 more\n\n")
    assert broker.last_lines(2) == ["two", "three"]
    broker.log.write_bytes(b"\xff\xfe" * 10_000_000 + b"\nend\n")
    assert broker.last_lines(1) == ["end"]


def test_an_error_is_quoted_rather_than_the_farewell_after_it(tmp_path: Path) -> None:
    errors = ["[ERROR] no start", "java.net.BindException: Address already in use"]
    program = "printf '%s\\n\\tat a.B\\n' '" + "' '".join(errors) + "'; yes '[INFO] bye' | head -n 100"
    broker = process(tmp_path, "sh", "-c", program)
    broker.log.write_text("[ERROR] of a former life\n")
    broker.launch()
    deadline = time.monotonic() + 30
    while broker.pid is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert broker.last_lines() == errors


def test_a_log_is_cut_and_the_broker_goes_on_writing_at_its_new_end(tmp_path: Path) -> None:
    line = "x" * 1023
    count = 17 * 1024
    program = f"yes {line} | head -n {count}; read wait < {tmp_path}/go; echo after"
    os.mkfifo(tmp_path / "go")
    broker = process(tmp_path, "sh", "-c", program)
    broker.launch()
    deadline = time.monotonic() + 60
    while broker.log.stat().st_size < count * 1024:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    broker.trim_log()
    assert broker.log.stat().st_size == 0
    assert (tmp_path / "broker-1.log.1").stat().st_size == count * 1024
    (tmp_path / "go").write_text("now\n")
    while broker.pid is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert broker.log.read_bytes() == b"after\n"
