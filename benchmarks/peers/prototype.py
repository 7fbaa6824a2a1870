"""The one-file floor (``benchmarks/prototype.py``): exactly once, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.peers.contract import Job, PythonPeer

__all__ = ["Prototype"]


class Prototype(PythonPeer):
    name = "prototype"
    guarantee = "exactly once while nothing fails; begins again from the first event"
    application = "prototype_run.py"

    @property
    def settings(self) -> str:
        return (
            "a process per partition; consume(1000), decode_lines and encode_lines of msgspec, "
            "produce_batch, a transaction each second, linger.ms = 2000, lz4"
        )

    def install(self, cache: Path) -> None:
        self.version = "of this checkout"
        self._python = Path(sys.executable)

    def commands(self, job: Job) -> list[list[str]]:
        return super().commands(job)[:1]
