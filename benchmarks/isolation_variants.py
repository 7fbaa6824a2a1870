"""What can be tried against a backlog that makes real-time events late, with a governor and without."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.environment import Absent
from benchmarks.isolation_trial import PARTITIONS, Hold, Stand, nothing
from supervisor.cluster import jvm
from supervisor.cluster.runtime import prepare
from supervisor.contract.board import Role

__all__ = ["GUIDED", "UNGUIDED", "VARIANTS"]

UNGUIDED = "realtime.slo_p99_ms = 0\n"
GUIDED = "realtime.slo_p99_ms = {slo}\n"

_SMALL_FETCHES = (
    'kafka.client = { "fetch.message.max.bytes" = 65536, "queued.min.messages" = 2000, '
    '"queued.max.messages.kbytes" = 1024 }\n'
)
_CPU = Path("/sys/fs/cgroup/cpu")
_LEAST_SHARES = "2"
_QUOTA_BYTES = 1_000_000
"""A second and a broker, for reading and for writing: about 15,000 events/s in all."""


def _olap(stand: Stand) -> list[int]:
    return [stand.installation.pid_of(stand.board, Role.OLAP, index) for index in range(PARTITIONS)]


def _policy(policy: int) -> Hold:
    def hold(stand: Stand) -> None:
        for pid in _olap(stand):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setscheduler(int(thread.name), policy, os.sched_param(0))

    return hold


def _fixed(rate: int) -> Hold:
    def hold(stand: Stand) -> None:
        stand.board.header.partition_rate = rate // PARTITIONS

    return hold


def _least_weight(stand: Stand) -> None:
    """All OLAP workers in a control group of the least weight, of cgroup v1; v2 takes a tree of our own."""
    group = _CPU / f"isolation-{stand.installation.name}"
    try:
        group.mkdir()
    except OSError as error:
        raise Absent(f"{_CPU}: {error.strerror}") from error
    stand.at_end(lambda: _remove(group))
    _write(group / "cpu.shares", _LEAST_SHARES)
    for pid in _olap(stand):
        _write(group / "cgroup.procs", str(pid))


def _remove(group: Path) -> None:
    with contextlib.suppress(OSError):
        group.rmdir()


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise Absent(f"{path}: {error.strerror}") from error


def _quota(stand: Stand) -> None:
    """Broker quotas for the OLAP side's client id, set by Kafka's own tool."""
    runtime = prepare(lambda _: None)
    entity = ("--entity-type", "clients", "--entity-name", f"{stand.installation.name}.olap")
    rates = f"producer_byte_rate={_QUOTA_BYTES},consumer_byte_rate={_QUOTA_BYTES}"
    command = jvm.command(
        *(runtime.java, runtime.jars, jvm.LOG_OPTIONS, "kafka.admin.ConfigCommand"),
        *("--bootstrap-server", stand.servers, "--alter", "--add-config", rates, *entity),
    )
    done = subprocess.run(command, env=jvm.environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Absent(f"ConfigCommand: {done.stdout.strip()[-200:]}")


def _variants() -> Iterator[tuple[str, str, Hold]]:
    yield "nothing: nice 10", UNGUIDED, nothing
    yield "nice 0", f"{UNGUIDED}olap.nice = 0", nothing
    yield "nice 19", f"{UNGUIDED}olap.nice = 19", nothing
    yield "SCHED_BATCH", UNGUIDED, _policy(os.SCHED_BATCH)
    yield "SCHED_IDLE", UNGUIDED, _policy(os.SCHED_IDLE)
    yield "cgroup of the least weight", UNGUIDED, _least_weight
    yield "a CPU each", f"{UNGUIDED}realtime.cpus = [0]\nolap.cpus = [1]", nothing
    yield "broker quotas of 1 MB/s", UNGUIDED, _quota
    yield "fetches of 64 kB", UNGUIDED + _SMALL_FETCHES, nothing
    yield "transactions of 2,000", f"{UNGUIDED}olap.commit_events = 2000\nolap.batch_events = 500", nothing
    yield "transactions of 1 s", f"{UNGUIDED}olap.commit_interval_ms = 1000", nothing
    yield "one OLAP worker", f"{UNGUIDED}olap.workers = 1", nothing
    yield "held to 10,000 events/s", UNGUIDED, _fixed(10_000)
    yield "held to 20,000 events/s", UNGUIDED, _fixed(20_000)
    yield "the governor", GUIDED, nothing


VARIANTS = {name: (toml, hold) for name, toml, hold in _variants()}
"""Configuration and what is done to the running installation, by name; ``{slo}`` is the governor's target."""
