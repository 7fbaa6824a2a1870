"""One installation of the product under test, on real brokers: configuration, topics, processes, board."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import psutil
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from supervisor.config.load import load
from supervisor.contract.board import Board, Role, Stage
from supervisor.contract.settings import Settings
from supervisor.host import instance
from supervisor.topics import converge
from workers.kafka import client

PIPELINES = Path(__file__).parent / "pipelines"
PATIENCE_S = 120.0

Seen = TypeVar("Seen")


def at_one_moment(look: Callable[[], Seen]) -> Seen:
    """What ``look()`` finds on the board, which is written meanwhile: what it found twice in a row.

    Whoever reads one seat, has to wait for a CPU, and then reads the next, may see both of them vacant that
    never were at the same time.
    """
    found = look()
    while (again := look()) != found:
        found = again
    return found


class Installation:
    """Unique names on a shared cluster; nothing of it outlives :meth:`close`."""

    def __init__(self, bootstrap_servers: str, *, partitions: int = 4, toml: str = "") -> None:
        # Not pytest's directory: the path of a unix socket has room for 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="ks-"))
        self.name = f"t{secrets.token_hex(4)}"
        self.log = self.directory / "log"
        self._config = self.directory / "supervisor.toml"
        self._config.write_text(
            f"""
app.name = "{self.name}"
kafka.bootstrap_servers = "{bootstrap_servers}"
topics.partitions = {partitions}
topics.input.name = "{self.name}-in"
topics.output.name = "{self.name}-out"
topics.aggregates.name = "{self.name}-aggregates"
topics.dlq.name = "{self.name}-dlq"
topics.changelog.name = "{self.name}-changelog"
runtime.run_dir = "{self.directory / "run"}"
log.format = "text"
{toml}
"""
        )
        self.settings: Settings = load(self._config, {}).settings
        self.partitions = partitions
        self.environment = {**os.environ, "PYTHONPATH": str(PIPELINES)}
        self.under: tuple[str, ...] = ()
        """A program and its arguments, under which the supervisor is started."""
        self.process: subprocess.Popen[bytes] | None = None
        self._run_dir = self.directory / "run"

    def create_topics(self) -> None:
        converge.bootstrap(self.settings, 60)

    def start(self, *arguments: str, run_dir: str = "run") -> None:
        """``supervisor start`` in the foreground of a process of its own."""
        self._run_dir = self.directory / run_dir
        arguments = ("--set", f"runtime.run_dir={self._run_dir}", *arguments)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self.under,
                    *(sys.executable, "-m", "supervisor", "start"),
                    *("--config", str(self._config), *arguments),
                ],
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Any other command, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "supervisor", arguments[0], "--config", str(self._config), *arguments[1:]],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal the supervisor and wait for its end; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory)

    # -- looking --------------------------------------------------------------------------------------

    def board(self) -> Board:
        """The board of the supervisor that was started last."""
        run_dir = self._run_dir
        self.wait(lambda: instance.holder(run_dir) == self._pid(), "the supervisor holds its lock")
        self.wait(
            lambda: (
                (run_dir / "board").exists()
                and Board.open(run_dir / "board").header.supervisor_pid == self._pid()
            ),
            "the board is there",
        )
        return Board.open(run_dir / "board")

    def _pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def wait(self, holds: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until ``holds()``; fails, with the log, if it does not come to hold."""
        deadline = time.monotonic() + patience_s
        while not holds():
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(
                    f"the supervisor ended ({self.process.returncode}) before {what}\n{self.tail()}"
                )
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {patience_s:g} s: {what}\n{self.tail()}")
            time.sleep(0.005)

    def wait_serving(self, board: Board) -> None:
        """Until every seat is served."""
        self.wait(
            lambda: (
                board.header.seats > 1
                and all(board.seat(place).owned_ns for place in range(board.header.seats))
            ),
            "every seat is served",
        )

    def wait_spare(self, board: Board) -> None:
        """Until a process in standby has its clients connected."""
        self.wait(
            lambda: any(
                worker.role == Role.SPARE and worker.stage == Stage.STANDBY and worker.warm
                for worker in map(board.worker, range(board.workers))
            ),
            "a spare has its clients connected",
        )

    def wait_committed(self, board: Board) -> None:
        """Until the OLAP side has committed everything that the input holds now."""
        ends = self.ends(self.settings.topics.input.name)
        self.wait(
            lambda: all(board.olap(partition).committed >= end for partition, end in ends.items()),
            f"everything up to {ends} is committed",
        )

    def pid_of(self, board: Board, role: Role, index: int = 0) -> int:
        """The process in a seat, once there is one."""
        found: list[int] = []

        def look() -> bool:
            for place in range(board.header.seats):
                seat = board.seat(place)
                if (seat.role, seat.index) == (role, index) and seat.pid and seat.owned_ns:
                    found.append(seat.pid)
            return bool(found)

        self.wait(look, f"{role.name}-{index} is served")
        return found[0]

    def processes(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        parent = psutil.Process(self._pid())
        return [parent, *parent.children(recursive=True)]

    def tail(self, lines: int = 40) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    # -- records --------------------------------------------------------------------------------------

    def produce(self, records: Iterable[tuple[bytes | None, bytes | None]], topic: str | None = None) -> int:
        """Send key and value pairs, spread over the partitions in turn; returns how many."""
        producer = Producer(
            {
                "bootstrap.servers": self.settings.kafka.bootstrap_servers,
                "enable.idempotence": True,
                "linger.ms": 5,
            }
        )
        count = 0
        for key, value in records:
            while True:
                try:
                    producer.produce(
                        topic or self.settings.topics.input.name,
                        value,
                        key,
                        partition=count % self.partitions,
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
            count += 1
        assert producer.flush(60) == 0
        return count

    def ends(self, topic: str) -> dict[int, int]:
        """The end offset of each partition as a read_committed reader sees it."""
        consumer = self._consumer()
        found: dict[int, int] = {}
        deadline = time.monotonic() + PATIENCE_S
        while len(found) < self.partitions:
            try:
                where = TopicPartition(topic, len(found))
                found[len(found)] = consumer.get_watermark_offsets(where, 30)[1]
            except KafkaException as error:  # a leader that has just come back
                if not client.passes(error.args[0]) or time.monotonic() > deadline:
                    raise
        consumer.close()
        return found

    def read(self, topic: str) -> list:
        """Every committed record of a topic, partition by partition."""
        consumer = self._consumer()
        messages, ended = [], set()
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(self.partitions)])
        deadline = time.monotonic() + PATIENCE_S
        while len(ended) < self.partitions:
            assert time.monotonic() < deadline, f"{topic} was not read to its end"
            for message in consumer.consume(10_000, 0.1):
                error = message.error()
                if error is None:
                    messages.append(message)
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    ended.add(message.partition())
        consumer.close()
        return sorted(messages, key=lambda message: (message.partition(), message.offset()))

    def _consumer(self) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self.settings.kafka.bootstrap_servers,
                "group.id": f"{self.name}-test",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
            }
        )
