from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.cluster import ports
from supervisor.contract.faults import Fault


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_taken_port_is_named_with_its_holder(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(Fault) as raised:
        ports.consecutive(port, 1)
    assert f"port {port} is taken by" in raised.value.cause
    assert f"(pid {os.getpid()})" in raised.value.cause
    assert "--port" in raised.value.remedy


def test_a_port_that_only_lingers_after_its_server_is_free(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    served, _ = listener.accept()
    # Who closes first keeps the connection in TIME_WAIT.
    served.close()
    client.close()
    listener.close()
    assert ports.is_free(port)


def test_chosen_ports_are_free_distinct_and_not_for_outgoing_connections() -> None:
    floor = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    chosen = ports.choose(6)
    assert len(set(chosen)) == 6
    assert all(ports.is_free(port) for port in chosen)
    assert max(chosen) < floor


def test_preferred_ports_are_taken_where_they_are_free(listener: socket.socket) -> None:
    taken = listener.getsockname()[1]
    (free,) = ports.choose(1)
    first, second = ports.choose(2, preferred=[taken, free])
    assert first == free
    assert second not in (taken, free)


def test_ports_that_others_of_us_chose_are_left_alone() -> None:
    (port,) = ports.choose(1)
    assert ports.choose(1, preferred=[port], taken=[port]) != [port]


@pytest.mark.parametrize("first", [0, 80, 65_534, 70_000])
def test_ports_outside_the_usable_range_are_refused(first: int) -> None:
    with pytest.raises(Fault, match="do not fit"):
        ports.consecutive(first, 3)


def test_a_port_whose_broker_is_down_is_chosen_by_no_other_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    down, free = ports.choose(2)
    held = ports.Held([down])
    monkeypatch.setattr(random, "randrange", lambda *_: free)
    assert ports.choose(1, preferred=[down]) == [free]
    with pytest.raises(Fault, match=f"port {down} is taken by a cluster whose broker is down"):
        ports.consecutive(down, 1)
    held.release()
    held.release()
    assert ports.choose(1, preferred=[down]) == [down]
    assert ports.consecutive(down, 1) == [down]


def test_the_broker_of_who_holds_a_port_can_listen_on_it() -> None:
    (port,) = ports.choose(1)
    held = ports.Held([port])
    socket.create_server(("127.0.0.1", port)).close()
    held.release()


def test_of_two_who_chose_one_port_at_once_the_second_is_told_and_holds_none() -> None:
    free, taken = ports.choose(2)
    first = ports.Held([taken])
    with pytest.raises(Fault, match=f"port {taken} is taken"):
        ports.Held([free, taken])
    assert ports.is_free(free)
    first.release()
