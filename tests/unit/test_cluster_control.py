from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from supervisor.cluster.control import ControlSocket, Request, Status, command
from supervisor.cluster.layout import Layout, Lock
from supervisor.contract.faults import AlreadyRunning, Fault

STATUS = Status(
    phase="running",
    pid=1,
    directory="/d",
    cluster_id="c",
    bootstrap_servers="127.0.0.1:1",
    keep=True,
    brokers=(),
)


class Keeper:
    """The keeper's end of a real socket, served as the keeper serves it, from a thread."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self.layout.create()
        self.lock = Lock.acquire(self.layout)
        self.requests: list[Request] = []
        self.fault: Fault | None = None
        self.socket = ControlSocket(self.layout, self.handle)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def handle(self, request: Request) -> Status:
        self.requests.append(request)
        if self.fault:
            raise self.fault
        return STATUS

    def serve(self) -> None:
        while not self.ended.wait(0.01):
            self.socket.serve()

    def end(self) -> None:
        self.ended.set()
        self.thread.join()
        self.socket.close()
        self.lock.release()


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    running = Keeper(tmp_path / "cluster")
    yield running
    running.end()


def raw(keeper: Keeper, sent: bytes) -> bytes:
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(10)
        connection.connect(str(keeper.layout.control))
        try:
            connection.sendall(sent)
            return connection.recv(65_536)
        except (ConnectionError, BrokenPipeError):
            return b""


def test_a_request_arrives_and_its_answer_returns(keeper: Keeper) -> None:
    assert command(keeper.layout, Request("kill", 2)) == STATUS
    assert keeper.requests == [Request("kill", 2)]


def test_a_fault_of_the_keeper_is_raised_as_what_it_was(keeper: Keeper) -> None:
    keeper.fault = AlreadyRunning("broker 2 runs", "kill it first")
    with pytest.raises(AlreadyRunning, match="broker 2 runs") as raised:
        command(keeper.layout, Request("launch", 2))
    assert raised.value.remedy == "kill it first"


def test_only_the_owner_can_open_the_socket(keeper: Keeper) -> None:
    assert stat.S_IMODE(keeper.layout.control.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "sent",
    [
        b"\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b'{"operation":"format"}\n',
        b'{"operation":"status","x":1}\n',
        b"\xff\n",
    ],
)
def test_nonsense_is_answered_as_such_and_changes_nothing(keeper: Keeper, sent: bytes) -> None:
    assert b"not a request" in raw(keeper, sent)
    assert keeper.requests == []
    assert command(keeper.layout, Request("status")) == STATUS


def test_an_endless_line_is_cut_off(keeper: Keeper) -> None:
    assert raw(keeper, b"x" * 1_000_000) == b""
    assert command(keeper.layout, Request("status")) == STATUS


def test_who_sends_nothing_does_not_keep_others_waiting(keeper: Keeper) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as silent:
        silent.connect(str(keeper.layout.control))
        began = time.monotonic()
        assert command(keeper.layout, Request("status")) == STATUS
        assert time.monotonic() - began < 5


def test_without_a_keeper_the_remedy_is_to_start_one(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "cluster")
    with pytest.raises(Fault, match="no cluster is running") as raised:
        command(layout, Request("stop"))
    assert raised.value.remedy == "supervisor cluster start"
    # Asking makes nothing.
    assert not layout.root.exists()


def test_a_socket_that_a_killed_keeper_left_means_nothing(keeper: Keeper) -> None:
    keeper.end()
    assert keeper.layout.control.exists()
    with pytest.raises(Fault, match="no cluster is running"):
        command(keeper.layout, Request("status"))
    successor = Keeper(keeper.layout.root)
    assert command(successor.layout, Request("status")) == STATUS
    successor.end()


def test_a_program_that_runs_a_cluster_itself_takes_no_commands(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "cluster")
    layout.create()
    lock = Lock.acquire(layout)
    with pytest.raises(Fault, match=rf"pid {os.getpid()}"):
        command(layout, Request("stop"))
    lock.release()


def test_a_path_longer_than_a_socket_address_works(tmp_path: Path) -> None:
    running = Keeper(tmp_path / ("x" * 200))
    assert len(str(running.layout.control)) > 108
    assert command(running.layout, Request("status")) == STATUS
    running.end()
