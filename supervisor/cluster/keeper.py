"""The process that owns the brokers of ``supervisor cluster start``, in a terminal or in the background."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Literal

import msgspec
import setproctitle

from supervisor.cluster.cluster import DEFAULT_HEAP_MB, Cluster
from supervisor.cluster.control import BrokerStatus, ControlSocket, Reply, Request, Status, reply_of
from supervisor.contract.faults import Fault

__all__ = ["Keeper", "Options"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK_S = 1.0
_TRIM_S = 10.0


class Options(msgspec.Struct, frozen=True):
    """What ``supervisor cluster start`` was told."""

    directory: str
    brokers: int | None = None
    keep: bool | None = None
    port: int | None = None
    preferred_port: int | None = None
    heap_mb: int = DEFAULT_HEAP_MB


class _Interrupted(Exception):
    """A signal or a ``stop`` came while the brokers were starting."""


class Keeper:
    """Starts the brokers, answers commands, stops the brokers. Runs in the main thread, once."""

    def __init__(
        self, options: Options, notify: Callable[[str], None], ready: Callable[[Status], None]
    ) -> None:
        self._options = options
        self._notify = notify
        self._ready = ready
        self._signals = 0
        self._stop = False
        self._phase: Literal["starting", "running", "stopping"] = "starting"
        self._seen_dead: set[int] = set()
        self._trim_at = 0.0

    def run(self) -> None:
        """Return when the brokers are stopped, by signal or command. Raises Fault if they do not start."""
        former = {number: signal.signal(number, self._signal) for number in _SIGNALS}
        try:
            self._run()
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1

    def _run(self) -> None:
        options = self._options
        self._cluster = Cluster.create(
            options.brokers,
            Path(options.directory),
            keep=options.keep,
            ports_from=options.port,
            preferred_port=options.preferred_port,
            heap_mb=options.heap_mb,
            notify=self._notify,
        )
        try:
            self._control = ControlSocket(self._cluster.layout, self._handle)
            with closing(self._control):
                with contextlib.suppress(_Interrupted):
                    self._start()
                    self._watch()
                self._phase = "stopping"
                signals = self._signals
                self._cluster.stop(tick=lambda: self._stopping(signals))
        finally:
            # Something failed, or this finds it done.
            self._cluster.stop(hasten=True)

    def _start(self) -> None:
        self._cluster.launch()
        self._cluster.wait_ready(tick=self._tick)
        self._phase = "running"
        self._ready(self._status())

    def _watch(self) -> None:
        wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        former = signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(wake, selectors.EVENT_READ)
                selector.register(self._control, selectors.EVENT_READ)
                while True:
                    self._tick()
                    self._look_after()
                    # A signal that came after the tick has written to the pipe, so this returns at once.
                    selector.select(_LOOK_S)
        finally:
            signal.set_wakeup_fd(former)
            os.close(wake)
            os.close(waker)

    def _tick(self) -> None:
        self._control.serve()
        if self._stop or self._signals:
            raise _Interrupted

    def _stopping(self, signals: int) -> None:
        self._control.serve()
        if self._signals > signals:
            # Ctrl-C a second time.
            raise InterruptedError

    def _look_after(self) -> None:
        for number, broker in self._cluster.brokers.items():
            if broker.pid is not None:
                self._seen_dead.discard(number)
            elif number not in self._seen_dead:
                self._seen_dead.add(number)
                self._notify(
                    f"broker {number} has ended ({broker.ending}), see {broker.log}; "
                    f"supervisor cluster restart {number} starts it again"
                )
        if time.monotonic() >= self._trim_at:
            self._trim_at = time.monotonic() + _TRIM_S
            for broker in self._cluster.brokers.values():
                broker.trim_log()

    def _handle(self, request: Request) -> Status:
        if request.operation == "stop":
            if request.keep is not None:
                self._cluster.keep = request.keep
            self._stop = True
        elif request.operation != "status":
            if self._phase != "running":
                raise Fault(f"the cluster is {self._phase}", "try again when it runs")
            self._command(request)
        return self._status()

    def _command(self, request: Request) -> None:
        broker = self._cluster.broker(request.broker)
        if request.operation == "launch":
            self._cluster.launch_one(request.broker)
        elif broker.pid is None:
            raise Fault(
                f"broker {request.broker} is not running ({broker.ending})",
                f"supervisor cluster restart {request.broker}",
            )
        elif request.operation == "terminate":
            broker.terminate()
        else:
            broker.kill()

    def _status(self) -> Status:
        cluster = self._cluster
        return Status(
            phase=self._phase,
            pid=os.getpid(),
            directory=str(cluster.directory),
            cluster_id=cluster.cluster_id,
            bootstrap_servers=cluster.bootstrap_servers,
            keep=cluster.keep,
            brokers=tuple(
                BrokerStatus(number, broker.port, broker.state, broker.pid, broker.exit_code, str(broker.log))
                for number, broker in cluster.brokers.items()
            ),
        )


def _main() -> None:
    """``python -m supervisor.cluster.keeper OPTIONS FD``: a keeper in the background. It writes one
    :class:`Reply` to the file descriptor FD when the brokers are ready, or why they are not."""
    options = msgspec.json.decode(sys.argv[1], type=Options)
    setproctitle.setproctitle(f"supervisor: cluster in {options.directory}")
    with open(int(sys.argv[2]), "wb", buffering=0) as answer:  # noqa: PTH123 - a descriptor, not a path

        def tell(reply: Reply) -> None:
            # Who started us may be gone by now, which is no reason to end.
            with contextlib.suppress(OSError, ValueError):
                answer.write(msgspec.json.encode(reply) + b"\n")
                answer.close()

        try:
            Keeper(options, _log, lambda status: tell(Reply(status=status))).run()
        except Fault as fault:
            tell(reply_of(fault))
            _log(fault.cause)
            sys.exit(fault.exit_code)


def _log(text: str) -> None:
    print(time.strftime("%Y-%m-%dT%H:%M:%S%z"), text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    _main()
