"""The whole work, under the system call filters of the unit."""

from __future__ import annotations

import os
import signal
import socket
import sys

import pytest
import sandbox
from installation import Installation

from supervisor.contract.board import Role
from supervisor.contract.settings import Settings
from supervisor.systemd import unit

EVENTS = 400


@pytest.mark.skipif(bool(sandbox.missing()), reason=sandbox.missing() or "-")
def test_events_are_processed_and_a_killed_worker_is_replaced_under_the_units_filters(cluster):
    installation = Installation(cluster.bootstrap_servers)
    made = unit.service_of(Settings(), ["supervisor", "start"], "/etc/supervisor.toml")
    path = installation.directory / "kafka-supervisor.service"
    path.write_text(unit.service(made))
    installation.under = (sys.executable, sandbox.__file__, str(path))
    try:
        installation.create_topics()
        installation.start()
        board = installation.board()
        installation.wait_serving(board)
        killed = installation.pid_of(board, Role.OLAP, 1)
        os.kill(killed, signal.SIGKILL)
        installation.wait(lambda: installation.pid_of(board, Role.OLAP, 1) != killed, "olap-1 is replaced")
        installation.produce((b"k", b'{"user_id":"u%d"}' % number) for number in range(EVENTS))
        installation.wait_committed(board)
        assert installation.stop() == 0
        assert len(installation.read(installation.settings.topics.output.name)) == EVENTS
        assert "Traceback" not in installation.tail(10_000)
    finally:
        installation.close()


def test_a_service_manager_is_told_of_a_whole_life(cluster):
    """Case 40: ready, pings meanwhile, reloading, ready, stopping; and no worker can speak for us."""
    installation = Installation(cluster.bootstrap_servers)
    address = installation.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.setblocking(False)
        installation.environment |= {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "400000"}
        seen: list[str] = []
        try:
            installation.create_topics()
            installation.start()
            installation.wait(lambda: has(manager, seen, "READY=1"), "it is ready")
            board = installation.board()
            worker = installation.pid_of(board, Role.OLAP)
            with open(f"/proc/{worker}/environ", "rb") as environ:  # noqa: PTH123
                assert b"NOTIFY_SOCKET" not in environ.read()
            seen.clear()
            installation.wait(lambda: has(manager, seen, "WATCHDOG=1"), "it pings")
            os.kill(installation.processes()[0].pid, signal.SIGHUP)
            installation.wait(lambda: has(manager, seen, "RELOADING=1"), "it reloads")
            installation.wait(lambda: has(manager, seen, "READY=1"), "it has reloaded")
            assert installation.stop() == 0
            assert has(manager, seen, "STOPPING=1")
        finally:
            installation.close()


def has(manager: socket.socket, seen: list[str], field: str) -> bool:
    """Whether a datagram with the field has come."""
    while True:
        try:
            seen.append(manager.recv(65536).decode())
        except BlockingIOError:
            return any(field in datagram.split("\n") for datagram in seen)
