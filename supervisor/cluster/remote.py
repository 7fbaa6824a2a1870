"""A cluster that another process keeps: start that process, command it, wait for what it does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from supervisor.cluster.control import BrokerStatus, Reply, Request, Status, command
from supervisor.cluster.keeper import Options
from supervisor.cluster.layout import Layout, Lock
from supervisor.cluster.probe import ask
from supervisor.contract.faults import BrokersUnreachable, Fault

__all__ = ["answers", "kill", "restart", "start", "status", "stop"]

_POLL_S = 0.1
_STOP_S = 30.0
"""Longer than the keeper gives its brokers before it kills them."""
_READY_S = 60.0


def start(options: Options) -> Status:
    """Start a keeper in the background and wait until its brokers are ready.

    Raises the Fault that it met; nothing is left running then. An exception in the wait (Ctrl-C) ends it.
    """
    layout = Layout(Path(options.directory))
    layout.create()
    receiving, sending = os.pipe()
    with open(receiving, "rb") as answer:  # noqa: PTH123 - a descriptor, not a path
        try:
            with layout.keeper_log.open("ab") as log:
                keeper = subprocess.Popen(
                    # -P: a folder named "supervisor" in the current directory is not the one that is meant.
                    [sys.executable, "-P", "-m", "supervisor.cluster.keeper",
                     msgspec.json.encode(options).decode(), str(sending)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    pass_fds=(sending,), start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            raise Fault(f"the keeper cannot be started: {error}", "see that the disk is not full") from error
        finally:
            os.close(sending)
        try:
            # Its end closes the pipe, whatever it died of, so this does not hang.
            line = answer.readline()
        except BaseException:
            keeper.terminate()
            keeper.wait()
            raise
    if line:
        return msgspec.json.decode(line, type=Reply).unwrap()
    raise Fault(
        f"the keeper ended with {keeper.wait()} before its brokers were ready", f"see {layout.keeper_log}"
    )


def status(layout: Layout) -> Status:
    """Raises Fault when no cluster runs there."""
    return command(layout, Request("status"))


def answers(broker: BrokerStatus) -> bool:
    """Whether a broker answers a client now; waits up to a second for one that hangs."""
    return broker.state == "running" and ask(broker.port, timeout=1.0) is not None


def stop(layout: Layout, keep: bool | None) -> None:
    """Stop the cluster and wait until its directory is free. ``keep`` None: the data as said at the start."""
    keeper = command(layout, Request("stop", keep=keep)).pid
    deadline = time.monotonic() + _STOP_S
    while Lock.holder(layout) == keeper:
        if time.monotonic() > deadline:
            raise Fault(
                f"the cluster in {layout.root} (pid {keeper}) has not stopped after {_STOP_S:.0f} s",
                f"kill -9 {keeper} ends it and every broker",
            )
        time.sleep(_POLL_S)


def kill(layout: Layout, number: int) -> None:
    """SIGKILL one broker. Raises Fault if there is none of that number, or it is not running."""
    command(layout, Request("kill", number))


def restart(layout: Layout, number: int, notify: Callable[[str], None]) -> None:
    """End one broker gracefully if it runs, start it, and wait until it answers.

    Raises BrokersUnreachable, with what its log says, if it ends or does not answer in a minute.
    """
    if _broker(status(layout), number).pid is not None:
        notify(f"broker {number} is stopping")
        command(layout, Request("terminate", number))
        deadline = time.monotonic() + _STOP_S
        while _broker(status(layout), number).pid is not None:
            if time.monotonic() > deadline:
                command(layout, Request("kill", number))
                break
            time.sleep(_POLL_S)
    command(layout, Request("launch", number))
    notify(f"broker {number} is starting")
    deadline = time.monotonic() + _READY_S
    while not answers(broker := _broker(status(layout), number)):
        if broker.pid is None or time.monotonic() > deadline:
            what = "ended while starting" if broker.pid is None else f"does not answer after {_READY_S:.0f} s"
            raise BrokersUnreachable(f"broker {number} {what}", f"see {broker.log}")
        time.sleep(_POLL_S)


def _broker(current: Status, number: int) -> BrokerStatus:
    for broker in current.brokers:
        if broker.number == number:
            return broker
    numbers = ", ".join(str(broker.number) for broker in current.brokers)
    raise Fault(f"there is no broker {number}", f"the cluster has: {numbers}")
