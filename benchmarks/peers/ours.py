"""This project's own, as `supervisor start` runs it: supervisor, OLAP workers, spare and probe."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

from benchmarks.peers.contract import Job, Peer

__all__ = ["Ours", "OursCounting"]


class Ours(Peer):
    name = "ours"
    guarantee = "exactly once"
    aggregates = False

    def __init__(self) -> None:
        self.version = importlib.metadata.version("kafka-supervisor")

    @property
    def settings(self) -> str:
        return f"{self._toml}; one OLAP worker per partition, one spare, everything else as it comes"

    @property
    def _toml(self) -> str:
        return f"realtime.enabled = false; olap.aggregates = {str(self.aggregates).lower()}"

    def install(self, cache: Path) -> None:
        return

    def commands(self, job: Job) -> list[list[str]]:
        config = job.directory / "supervisor.toml"
        topics = {"input": job.source, "output": job.target} | {
            name: f"{job.target}-{name}" for name in ("aggregates", "dlq", "changelog")
        }
        lines = [
            f'app.name = "{job.target}"',
            f'kafka.bootstrap_servers = "{job.servers}"',
            f"topics.partitions = {job.partitions}",
            *(f'topics.{topic}.name = "{name}"' for topic, name in topics.items()),
            f'runtime.run_dir = "{job.directory / "run"}"',
            'log.format = "text"',
            *self._toml.split("; "),
        ]
        config.write_text("\n".join(lines) + "\n")
        return [[sys.executable, "-m", "supervisor", "start", "--config", str(config)]]


class OursCounting(Ours):
    name = "ours, with aggregates"
    aggregates = True
