"""One run of one broker, from which Java learns what to load and link ahead of time at every later start."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from supervisor.cluster.ports import choose
from supervisor.cluster.probe import ask
from supervisor.cluster.properties import Node, render
from supervisor.cluster.spawn import spawn

__all__ = ["CLUSTER_ID", "configure", "run"]

CLUSTER_ID = "dHJhaW5pbmctcnVuLW9ubHkA"[:22]
_START_S = 60.0
_STOP_S = 120.0
"""On its end Java writes the cache, which takes several seconds of both cores."""


def configure(directory: Path) -> Path:
    """Write the properties of a cluster of one into ``directory``."""
    (port, controller) = choose(2)
    path = directory / "broker.properties"
    path.write_text(render(1, [Node(1, port, controller)], directory / "data"), encoding="ascii")
    (directory / "port").write_text(str(port), encoding="ascii")
    return path


def run(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> bool:
    """Run the broker until it has answered, then end it; whether it ended by itself in time."""
    port = int((directory / "port").read_text(encoding="ascii"))
    process = spawn(command, directory, directory / "broker.log", environment)
    try:
        deadline = time.monotonic() + _START_S
        while ask(port, timeout=1.0) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        process.terminate()
        process.wait(_STOP_S)
        return True
    except subprocess.TimeoutExpired:
        return False
    finally:
        process.kill()
        process.wait()
