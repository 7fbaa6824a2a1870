"""The pipeline under ours: the puppets of the tests, which say when they begin.

An OLAP worker begins with ``open()``: it has its role, its name, its CPUs and its priority by then. Under the
other supervisors a worker begins with its first instruction.
"""

from __future__ import annotations

import time
from typing import Any

from note import note
from puppets import DIMENSIONS, Event, enrich

from supervisor.contract.messages import Serve
from workers import roles
from workers.main import WorkerRole

__all__ = ["DIMENSIONS", "Event", "enrich"]

_build: Any = roles.build  # that of the puppets


def _noting(serve: Serve, *others: Any, **more: Any) -> WorkerRole:
    role: WorkerRole = _build(serve, *others, **more)
    if serve.role == "olap":
        opened = role.open

        def begin() -> None:
            note(time.monotonic_ns())
            opened()

        role.open = begin  # type: ignore[method-assign]
    return role


roles.build = _noting
