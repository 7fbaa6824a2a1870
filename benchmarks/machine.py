"""The machine that a benchmark runs on, and how much of it others used meanwhile."""

from __future__ import annotations

import os
import platform
import resource
import time
from datetime import UTC, datetime
from typing import Any

import click
import psutil

from supervisor.host import priority

__all__ = ["Machine"]


class Machine:
    """What it is, and how much of it others used meanwhile."""

    def __init__(self) -> None:
        """Raises ``ClickException`` where nothing that is measured would be true."""
        if nice := priority.session_nice():
            raise click.ClickException(
                f"the session of this terminal has nice {nice} among others (sched(7), autogroup): brokers "
                "and workers have sessions of their own and would get another share of the CPUs than peers; "
                "echo 0 > /proc/self/autogroup"
            )
        self._load = os.getloadavg()[0]
        self._began = time.monotonic()
        self._busy = _busy_s()

    def told(self) -> dict[str, Any]:
        """To be called when all processes of the benchmark have ended: their CPU is counted then."""
        own = sum(
            usage.ru_utime + usage.ru_stime
            for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        )
        seconds = time.monotonic() - self._began
        return {
            "date": datetime.now(UTC).date().isoformat(),
            "system": f"{platform.system()} {platform.release()}",
            "cpus": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "load_before": round(self._load, 2),
            "seconds": round(seconds),
            "cpus_used_by_others": round(max(0.0, _busy_s() - self._busy - own) / seconds, 2),
        }


def _busy_s() -> float:
    times = psutil.cpu_times()
    return times.user + times.system + times.nice
