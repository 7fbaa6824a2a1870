"""How a worker under a supervisor that is measured says that it has begun."""

from __future__ import annotations

import os

__all__ = ["VARIABLE", "note"]

VARIABLE = "BENCHMARK_NOTES"
"""The environment variable with the path of the pipe."""


def note(moment_ns: int) -> None:
    """Say that this process began at ``moment_ns`` of the monotonic clock, which all processes share."""
    # Not waiting for a reader: where there is none, the benchmark has ended, and so shall we.
    pipe = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_NONBLOCK)
    os.write(pipe, b"%d %d\n" % (moment_ns, os.getpid()))  # shorter than PIPE_BUF: never torn
    os.close(pipe)
