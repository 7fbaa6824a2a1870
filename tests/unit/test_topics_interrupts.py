"""Signals while brokers are asked: heeded between requests, never within the client's C code."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

import pytest

from supervisor.contract.settings import Kafka, Settings
from supervisor.host.interrupts import Interrupted, Interrupts
from supervisor.topics.connection import Connection, Deadline
from supervisor.topics.converge import apply, survey
from supervisor.topics.model import Broker
from supervisor.topics.observer import Observer

NO_BROKER = Settings(kafka=Kafka(bootstrap_servers="127.0.0.1:1"))
LONG_S = 120.0


@pytest.mark.parametrize("ask", [survey, apply])
def test_an_interrupt_that_has_come_is_heeded_before_anything_is_asked(ask: Callable[..., object]) -> None:
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted) as interrupted:
            ask(NO_BROKER, LONG_S, heed=interrupts.check)
    assert interrupted.value.number == signal.SIGINT


def test_an_interrupt_raises_nothing_where_it_comes_and_ends_the_wait_where_it_is_heeded() -> None:
    calls = 0

    def heed() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            os.kill(os.getpid(), signal.SIGTERM)  # the handler runs here, and raises nothing
        else:
            interrupts.check()

    with Interrupts() as interrupts, pytest.raises(Interrupted) as interrupted:
        survey(NO_BROKER, LONG_S, heed=heed)
    assert (calls, interrupted.value.number) == (2, signal.SIGTERM)


def test_an_interrupt_ends_the_wait_for_what_a_broker_that_hangs_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("supervisor.topics.connection._FIRST_ATTEMPT_S", LONG_S)
    connected: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as silent, Interrupts() as interrupts:
        hanging = Broker(1, *silent.getsockname())

        def heed() -> None:
            if not connected:
                connected.append(silent.accept()[0])
                os.kill(os.getpid(), signal.SIGTERM)
            interrupts.check()

        observer = Observer(Connection(NO_BROKER.kafka, heed))
        with pytest.raises(Interrupted):
            observer.views(["logins"], [hanging], Deadline(LONG_S))
    with connected[0] as connection:
        # Its client asks on, and nobody has waited until it gave up.
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            _read_to_its_end(connection)


def _read_to_its_end(connection: socket.socket) -> None:
    while connection.recv(1 << 16):
        pass
