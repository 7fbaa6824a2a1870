"""Stream processors under supervisord whose processes get SIGKILL: how long their output is silent.

Several of them run at the same time, each over topics of its own with a load of its own. A victim's
partitions are those that the brokers say it owns. The silence ends when a ``read_committed`` reader is shown
an output of one of them whose event was due after the kill: nobody but a successor can have made it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks import sender
from benchmarks.backlog import create_topic
from benchmarks.environment import Absent, clean, environment
from benchmarks.numbered import Numbered, mark_of
from benchmarks.peers.contract import PROCESSES, Job, Peer
from benchmarks.peers.plain import Plain
from benchmarks.peers.quix import Quix
from benchmarks.peers.streams import Streams
from benchmarks.readback import Account, read_back

__all__ = ["DOCUMENTED", "STATIC", "measure"]

SUPERVISORD = ("supervisor==4.3.0",)
_TIED = (sys.executable, str(Path(__file__).parent / "supervised" / "tied.py"))
_PARTITIONS = 4
_LOOK_S = 0.05
_START_S = 120.0
_FRESH_S = 10.0
"""An output of an event that was due this long ago: work goes on."""
_BETWEEN_S = 5.0
_SILENCE_S = 180.0
_QUIET_S = 75.0
"""Longer than a transaction that was left open lasts."""
_TRANSACTION_MS = 10_000


class _PlainAsItComes(Plain):
    options = {"consumer": {}, "producer": {}}  # noqa: RUF012
    static = False

    def _task(self, job: Job, index: int, ports: list[int]) -> dict[str, Any]:
        return _named(super()._task(job, index, ports), job, index, static=self.static)


class _Static:
    """A mixin for the words."""

    @property
    def settings(self) -> str:
        return f"{super().settings}; a group.instance.id for each process"  # type: ignore[misc]


class _PlainStatic(_Static, _PlainAsItComes):
    name = "plain loop, static"
    static = True


class _QuixAsItComes(Quix):
    options = {  # noqa: RUF012
        "consumer": {},
        "producer": {},
        "application": {"processing_guarantee": "exactly-once"},
    }
    static = False

    def _task(self, job: Job, index: int, ports: list[int]) -> dict[str, Any]:
        return _named(super()._task(job, index, ports), job, index, static=self.static)


class _QuixStatic(_Static, _QuixAsItComes):
    name = "Quix Streams, static"
    static = True
    options = {  # noqa: RUF012
        "consumer": {},
        "producer": {"transaction.timeout.ms": _TRANSACTION_MS},
        "application": {"processing_guarantee": "exactly-once", "commit_interval": 0.1},
    }


class _StreamsAsItComes(Streams):
    options = {"processing.guarantee": "exactly_once_v2", "num.stream.threads": PROCESSES}  # noqa: RUF012


class _StreamsStatic(_StreamsAsItComes):
    name = "Kafka Streams, static"
    options = {**_StreamsAsItComes.options, "group.instance.id": "member"}  # noqa: RUF012


def _named(task: dict[str, Any], job: Job, index: int, *, static: bool) -> dict[str, Any]:
    """The process can be told in its group by its client id; a static member returns under its old name."""
    consumer = {**task["options"]["consumer"], "client.id": f"process-{index}"}
    if static:
        consumer["group.instance.id"] = f"{job.target}-{index}"
    return {**task, "options": {**task["options"], "consumer": consumer}}


DOCUMENTED: tuple[type[Peer], ...] = (_PlainAsItComes, _StreamsAsItComes, _QuixAsItComes)
STATIC: tuple[type[Peer], ...] = (_PlainStatic, _StreamsStatic, _QuixStatic)
"""With what their documentation has for a process that is restarted where it was."""


def measure(
    servers: str,
    kinds: Sequence[type[Peer]],
    kills: int,
    rate: int,
    cache: Path,
    say: Callable[[str], None],
) -> tuple[dict[str, Any], dict[str, str]]:
    """All of ``kinds`` at the same time; what was found, and which ones are absent, for what reason."""
    found: dict[str, Any] = {}
    absent: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        running = [_Supervised(kind(), servers, rate, cache) for kind in kinds]
        for one in running:
            stack.callback(one.close)

        def each(act: Callable[[_Supervised], object]) -> None:
            """Whoever fails is out of it; the others go on."""
            for one in tuple(running):
                try:
                    act(one)
                except (Absent, KafkaException, psutil.Error, RuntimeError) as trouble:
                    absent[one.peer.name] = str(trouble).splitlines()[0]
                    say(f"{one.peer.name}: {trouble}")
                    running.remove(one)

        each(_Supervised.start)
        for _ in range(kills):
            each(_Supervised.wait_flowing)
            time.sleep(_BETWEEN_S)
            each(_Supervised.kill)
            each(lambda one: say(f"{one.peer.name}: {one.wait_visible():,.0f} ms"))
        each(lambda one: found.update({one.peer.name: one.finish()}))
    return found, absent


class _Watch(threading.Thread):
    """Reads committed outputs: the newest event of each partition that was shown, and when the first
    one behind a kill was."""

    def __init__(self, servers: str, topic: str) -> None:
        super().__init__(daemon=True)
        self.done = threading.Event()
        self.newest = [0] * _PARTITIONS
        self.outputs = 0
        self.found_ns: int | None = None
        self._armed: tuple[int, frozenset[int]] = (0, frozenset())
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": f"{topic}-watch",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
            }
        )
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in range(_PARTITIONS)])

    def arm(self, killed_ns: int, partitions: frozenset[int]) -> None:
        self.found_ns = None
        self._armed = (killed_ns, partitions)

    def run(self) -> None:
        while not self.done.is_set():
            message = self._consumer.poll(0.1)
            mark = mark_of(message.value() or b"") if message is not None and not message.error() else None
            if mark is None:
                continue
            self.outputs += 1
            self.newest[mark.partition] = max(self.newest[mark.partition], mark.due_ns)
            killed, partitions = self._armed
            if self.found_ns is None and mark.due_ns > killed and mark.partition in partitions:
                self.found_ns = time.monotonic_ns()
        self._consumer.close()


class _Supervised:
    """One peer under supervisord, its load and the reader of its output."""

    def __init__(self, peer: Peer, servers: str, rate: int, cache: Path) -> None:
        self.peer = peer
        self._servers, self._rate, self._cache = servers, rate, cache
        self._epoch_ns = time.time_ns() - time.monotonic_ns()
        name = f"recovery-{secrets.token_hex(4)}"
        self._directory = tempfile.TemporaryDirectory(prefix="ks-bench-")
        self._job = Job(servers, f"{name}-in", name, _PARTITIONS, Path(self._directory.name))
        self._admin = AdminClient({"bootstrap.servers": servers})
        self._commands: list[list[str]] = []
        self._supervisord: subprocess.Popen[bytes] | None = None
        self._sender: subprocess.Popen[str] | None = None
        self._watch: _Watch | None = None
        self._killed_ns = 0
        self._gaps: list[float] = []

    def start(self) -> None:
        """Raises ``Absent`` where peer or supervisord cannot be had."""
        variables = clean(dict(os.environ), self._cache)
        programs = environment(self._cache, SUPERVISORD, variables)
        self.peer.install(self._cache)
        create_topic(self._servers, self._job.source, _PARTITIONS)
        create_topic(self._servers, self._job.target, _PARTITIONS)
        self._commands = self.peer.commands(self._job)
        configuration = self._job.directory / "supervisord.conf"
        configuration.write_text(self._configuration())
        with (self._job.directory / "log").open("ab") as log:
            self._supervisord = subprocess.Popen(
                [*_TIED, str(programs / "supervisord"), "--configuration", str(configuration)],
                # Not the checkout's: the import name of supervisord is ours, too.
                cwd=self._job.directory,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._watch = _Watch(self._servers, self._job.target)
        self._watch.start()
        source = self._job.source
        self._sender = sender.start(self._servers, source, _PARTITIONS, self._rate, self._epoch_ns)

    def _configuration(self) -> str:
        directory, variables = self._job.directory, self.peer.variables(self._cache)
        lines = [
            "[supervisord]",
            "nodaemon = true",
            f"logfile = {directory / 'supervisord.log'}",
            f"pidfile = {directory / 'supervisord.pid'}",
            f"childlogdir = {directory}",
        ]
        for index, command in enumerate(self._commands):
            # supervisord has a syntax of its own for commands; a script needs none of it.
            script = directory / f"process-{index}.sh"
            exports = [f"export {name}={shlex.quote(value)}" for name, value in _changed(variables)]
            script.write_text("\n".join(["#!/bin/sh", *exports, f"exec {shlex.join(command)}", ""]))
            lines += [
                f"[program:process-{index}]",
                f"command = /bin/sh {script}",
                "autorestart = true",
                f"stdout_logfile = {directory / f'process-{index}.log'}",
                "redirect_stderr = true",
            ]
        return "\n".join([*lines, ""])

    def wait_flowing(self) -> None:
        """Until an output of each partition is fresh, and each process has partitions to lose."""
        watch = self._watch
        assert watch is not None
        self._wait(
            lambda: min(watch.newest) > time.monotonic_ns() - _FRESH_S * 1e9,
            "output of all partitions",
            _START_S,
        )
        self._wait(
            lambda: all(map(self._partitions, range(len(self._commands)))), "a share for each", _START_S
        )

    def kill(self) -> None:
        """SIGKILL to one of its processes, each in turn."""
        assert self._watch is not None
        victim = len(self._gaps) % len(self._commands)
        partitions, pid = self._partitions(victim), self._pid(victim)
        self._killed_ns = time.monotonic_ns()
        self._watch.arm(self._killed_ns, partitions)
        os.kill(pid, signal.SIGKILL)

    def wait_visible(self) -> float:
        """Milliseconds from the kill to the first visible output of the victim's partitions."""
        watch = self._watch
        assert watch is not None
        self._wait(lambda: watch.found_ns is not None, "output after the kill", _SILENCE_S)
        assert watch.found_ns is not None
        self._gaps.append((watch.found_ns - self._killed_ns) / 1e6)
        return self._gaps[-1]

    def finish(self) -> dict[str, Any]:
        """End the load, let it process what is left, and read everything back."""
        watch = self._watch
        assert watch is not None
        assert self._sender is not None
        self._sender.send_signal(signal.SIGINT)
        sent = json.loads(self._sender.communicate(timeout=_START_S)[0])["sent"]
        seen, moved = -1, time.monotonic()
        while time.monotonic() - moved < (_BETWEEN_S if seen >= sum(sent) else _QUIET_S):
            if watch.outputs != seen:
                seen, moved = watch.outputs, time.monotonic()
            time.sleep(_LOOK_S)
        account = Account(sent, Numbered(self._epoch_ns))
        read_back(self._servers, self._job.target, _PARTITIONS, account)
        return {
            "version": self.peer.version,
            "guarantee": self.peer.guarantee,
            "settings": self.peer.settings,
            "silent_ms": [round(gap, 1) for gap in self._gaps],
            **account.told(),
        }

    def close(self) -> None:
        if self._watch is not None:
            self._watch.done.set()
            self._watch.join()
        if self._sender is not None and self._sender.poll() is None:
            self._sender.kill()
            self._sender.wait()
        if self._supervisord is not None:
            below = psutil.Process(self._supervisord.pid).children(recursive=True)
            self._supervisord.terminate()
            try:
                self._supervisord.wait(30)
            except subprocess.TimeoutExpired:
                self._supervisord.kill()
                self._supervisord.wait()
            for process in below:
                # psutil compares the start time, too: no stranger with the same number is ended.
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self._directory.cleanup()

    def _partitions(self, index: int) -> frozenset[int]:
        """Those that the brokers say a process owns."""
        if len(self._commands) == 1:
            return frozenset(range(_PARTITIONS))
        group = self._job.target
        found = self._admin.describe_consumer_groups([group])[group].result()
        return frozenset(
            place.partition
            for member in found.members
            if member.client_id == f"process-{index}" and member.assignment is not None
            for place in member.assignment.topic_partitions
        )

    def _pid(self, index: int) -> int:
        assert self._supervisord is not None
        children = psutil.Process(self._supervisord.pid).children()
        found = [child.pid for child in children if child.cmdline() == self._commands[index]]
        if not found:
            raise RuntimeError(f"{self.peer.name}: process {index} does not run\n{self._log()}")
        return found[0]

    def _wait(self, holds: Callable[[], object], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.peer.name}: not within {seconds:g} s: {what}\n{self._log()}")
            time.sleep(_LOOK_S)

    def _log(self) -> str:
        logs = sorted(self._job.directory.glob("*log*"))
        return "\n".join(line for log in logs for line in log.read_text(errors="replace").splitlines()[-10:])


def _changed(variables: dict[str, str]) -> list[tuple[str, str]]:
    """What a peer's processes need of the environment beyond what supervisord has."""
    return [(name, value) for name, value in variables.items() if os.environ.get(name) != value]
