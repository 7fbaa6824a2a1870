"""Every exit code of the commands and of the workers: the one table.

``docs/exit-codes.md`` and the systemd unit repeat it; a test compares them.
The codes from 64 on follow BSD ``sysexits.h``.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Exit", "WorkerExit"]


class Exit(IntEnum):
    """How a ``supervisor`` command ends."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DIFFERS = 3
    """``topics plan`` or ``topics check`` found a difference."""
    BROKERS_UNREACHABLE = 69
    GAVE_UP = 70
    """The restart budget is spent."""
    ALREADY_RUNNING = 75
    CONFIGURATION = 78


class WorkerExit(IntEnum):
    """How a worker process ends, when it has the choice."""

    OK = 0
    CRASH = 1
    """An exception nobody expected."""
    ORPHANED = 20
    """The supervisor is gone."""
    DOUBT = 21
    """A transaction ended in doubt; the replacement's epoch settles it."""
    FENCED = 22
    """The producer was fenced: by another owner of the partition, or by the brokers, who end a transaction
    that takes too long. The replacement looks which, before it takes over."""
    STATE = 23
    """Offsets and state contradict each other; a person must decide."""
    CONTESTED = 24
    """Another supervisor of the same name is at work on the partition."""
    DLQ_LIMIT = 25
    """Too many records of a partition cannot be processed; it is parked rather than drained."""
    BROKERS_UNREACHABLE = 69
    CONFIGURATION = 78
