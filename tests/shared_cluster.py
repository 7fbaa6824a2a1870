"""One Kafka for a whole test run, whose tests are spread over several processes.

pytest starts this module as a process beside its own: the keeper. It starts the brokers when a test first
asks for them, and ends with pytest, however that ends, since it then reads the end of its standard input. The
brokers end with the keeper. So nothing depends on which test process came first, was last, or has died.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

__all__ = ["ADDRESS", "Keeper", "SharedBroker", "SharedCluster", "ask"]

ADDRESS = "TESTS_SHARED_KAFKA"
"""The environment variable that has the path of the keeper's socket."""
_ANSWER_S = 150.0


@dataclass(frozen=True)
class SharedBroker:
    """One broker, which no test may stop."""

    port: int
    pid: int


@dataclass(frozen=True)
class SharedCluster:
    """As much of ``supervisor.cluster.Cluster`` as a test may have that is not alone with it."""

    bootstrap_servers: str
    brokers: dict[int, SharedBroker]


class Keeper:
    """The keeper, as the process that started the tests sees it."""

    def __init__(self) -> None:
        # Not pytest's directory: the path of a unix socket has room for 107 bytes.
        directory = Path(tempfile.mkdtemp(prefix="ks-"))
        address = directory / "socket"
        # Listening before anybody is told of it: who connects waits, and is not refused.
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(address))
            listener.listen(64)
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(listener.fileno()), str(directory)],
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # Ctrl-C is for pytest, which then says that it is over
            )
        self.pid = self._process.pid
        os.environ[ADDRESS] = str(address)

    def close(self) -> None:
        """End it and its brokers; returns when they are gone."""
        del os.environ[ADDRESS]
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def ask(address: str) -> SharedCluster:
    """The cluster of the keeper at ``address``, once it is ready."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_S)
        connection.connect(address)
        with connection.makefile("rb") as stream:
            answer = stream.read()
    assert answer, "the keeper of the shared cluster has died"
    found = msgspec.json.decode(answer, type=SharedCluster | str)
    if isinstance(found, str):
        raise RuntimeError(f"the shared cluster cannot be started: {found}")
    return found


# -- the keeper itself ------------------------------------------------------------------------------------


class _OverError(Exception):
    """Whoever ran the tests has ended."""


def _keep(listener: socket.socket) -> None:
    """Start the cluster once somebody asks, and tell everybody who does where it is."""
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        selector.register(sys.stdin, selectors.EVENT_READ)
        selector.register(listener, selectors.EVENT_READ)
        answer = b""
        while not any(key.fileobj is sys.stdin for key, _ in selector.select()):
            connection, _ = listener.accept()
            with connection:
                answer = answer or msgspec.json.encode(_started(stack))
                with contextlib.suppress(OSError):  # it may have gone meanwhile
                    connection.sendall(answer)


def _started(stack: contextlib.ExitStack) -> SharedCluster | str:
    from supervisor.cluster import Cluster
    from supervisor.contract.faults import Fault

    try:
        cluster = stack.enter_context(Cluster.create(3, None))
        cluster.launch()
        cluster.wait_ready(timeout=120.0, tick=_look_whether_over)
    except Fault as fault:
        return str(fault)
    brokers = {number: SharedBroker(each.port, each.pid or 0) for number, each in cluster.brokers.items()}
    return SharedCluster(cluster.bootstrap_servers, brokers)


def _look_whether_over() -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        if selector.select(0):
            raise _OverError


if __name__ == "__main__":
    try:
        with contextlib.suppress(_OverError), socket.socket(fileno=int(sys.argv[1])) as inherited:
            _keep(inherited)
    finally:
        shutil.rmtree(sys.argv[2])
