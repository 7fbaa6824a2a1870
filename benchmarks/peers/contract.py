"""What every peer of the throughput benchmark has to tell, and how its processes are started."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environment import clean, environment

__all__ = ["PROCESSES", "Job", "Peer", "PythonPeer", "free_ports", "told"]

ROOT = Path(__file__).parents[2]
PROCESSES = len(os.sched_getaffinity(0))
"""Of a peer that scales by more processes of one consumer group: one a CPU."""

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Job:
    """One run: every event of ``source`` through the login pipeline to ``target``, which is empty."""

    servers: str
    source: str
    target: str
    """Unique, so that groups, transactions and applications may be named for it."""
    partitions: int
    directory: Path
    """For state and configuration; removed behind the run."""


class Peer:
    """One that is measured. Its processes begin to work when they are started, and end by SIGTERM at the
    latest."""

    name = ""
    guarantee = ""
    """What it promises of its output when a process dies."""
    share = 1.0
    """Of the benchmark's events, so that a run of a slow one takes no longer than that of a quick one."""
    version = ""

    @property
    def settings(self) -> str:
        """What differs from its defaults, in words."""
        raise NotImplementedError

    def install(self, cache: Path) -> None:
        """Get all that it needs, into ``cache``. Raises ``Absent`` where it cannot be had."""
        raise NotImplementedError

    def commands(self, job: Job) -> list[list[str]]:
        """The command line of each of its processes; whatever they need in ``job.directory`` is written."""
        raise NotImplementedError

    def variables(self, cache: Path) -> dict[str, str]:
        """The environment of its processes: the checkout's packages, and nothing that a person has set."""
        return {**clean(dict(os.environ), cache), "PYTHONPATH": str(ROOT)}


class PythonPeer(Peer):
    """One with an environment of its own, which runs a script of ``applications`` in one process a CPU."""

    package = ""
    """The distribution; ``requirements`` begin with it."""
    requirements = ""
    """File with every distribution of its environment, pinned."""
    application = ""
    options: Mapping[str, Any] = {}
    """Passed to the application; the settings that are printed."""

    @property
    def settings(self) -> str:
        return "; ".join(filter(None, (f"{PROCESSES} processes", told(self.options))))

    def install(self, cache: Path) -> None:
        lines = (_HERE / "requirements" / self.requirements).read_text(encoding="utf-8").split()
        self.version = lines[0].partition("==")[2]
        self._python = environment(cache, tuple(lines), clean(dict(os.environ), cache)) / "python"

    def commands(self, job: Job) -> list[list[str]]:
        ports = free_ports(PROCESSES)
        script = str(_HERE / "applications" / self.application)
        return [
            [str(self._python), script, json.dumps(self._task(job, index, ports))]
            for index in range(PROCESSES)
        ]

    def _task(self, job: Job, index: int, ports: list[int]) -> dict[str, Any]:
        """The fields of ``applications/task.py``."""
        return {
            "servers": job.servers,
            "source": job.source,
            "target": job.target,
            "directory": str(job.directory),
            "index": index,
            "count": PROCESSES,
            "ports": ports,
            "options": dict(self.options),
        }


def told(options: Mapping[str, Any]) -> str:
    """Options as a line to read."""
    parts = []
    for name, value in options.items():
        if isinstance(value, Mapping) and not value:
            continue
        if isinstance(value, Mapping):
            parts.append(f"{name}: {', '.join(f'{key} = {of}' for key, of in value.items())}")
        else:
            parts.append(f"{name} = {value}")
    return "; ".join(parts)


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody has now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
