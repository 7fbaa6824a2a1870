"""Throughput of ours by the number of OLAP workers and of partitions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.backlog import Backlog
from benchmarks.peers.ours import Ours
from benchmarks.trial import Failed, Ground, run

__all__ = ["EVENLY", "sweep"]

EVENLY = 64_000
"""Events go to the partitions by the thousand: a multiple of this gives each as many, be it 64 of them."""

_CACHE = Path(__file__).resolve().parent / ".cache"
_WORKERS, _OF_PARTITIONS = (1, 2, 4, 8), 8
_PARTITIONS, _AT_MOST = (1, 4, 16, 64), 4


class _Some(Ours):
    """A number of workers, each with as many of the partitions as come to it."""

    def __init__(self, workers: int) -> None:
        super().__init__()
        self._workers = workers

    @property
    def _toml(self) -> str:
        return f"{super()._toml}; olap.workers = {self._workers}"


def sweep(servers: str, count: int, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Events a second, by workers (of eight partitions) and by partitions (with four workers at most)."""
    backlog = Backlog(count)
    trials = [("workers", workers, workers, _OF_PARTITIONS) for workers in _WORKERS]
    trials += [("partitions", number, min(number, _AT_MOST), number) for number in _PARTITIONS]
    for partitions in sorted({partitions for *_, partitions in trials}):
        backlog.load(servers, _source(partitions), partitions)
    found: dict[str, Any] = {"workers": {}, "partitions": {}, "failures": []}
    for number in range(1, rounds + 1):
        for of, value, workers, partitions in trials:
            what = f"{workers} workers, {partitions} partitions"
            try:
                ground = Ground(servers, (), partitions, _CACHE)
                trial = run(_Some(workers), ground, _source(partitions), backlog)
            except Failed as reason:
                found["failures"].append({"round": number, "what": what, "reason": str(reason)})
                say(f"round {number}, {what}: failed: {reason}")
                continue
            found[of].setdefault(str(value), []).append({"rate": trial.rate, "cpu_us": trial.cpu_us})
            say(f"round {number}, {what}: {trial.line()}")
    return {**found, "of_partitions": _OF_PARTITIONS, "at_most_workers": _AT_MOST, "events": count}


def _source(partitions: int) -> str:
    return f"logins-{partitions}"
