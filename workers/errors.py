"""How a worker ends by its own decision: the error classes are the protocol, each with its exit code."""

from __future__ import annotations

from supervisor.contract.exits import WorkerExit

__all__ = ["BrokersAway", "Contested", "DlqLimitReached", "Doubt", "Fenced", "StateMismatch", "WorkerError"]


class WorkerError(Exception):
    """Ends the worker with ``exit_code``; cause and remedy are reported to the supervisor."""

    def __init__(self, cause: str, remedy: str = "", exit_code: WorkerExit = WorkerExit.CRASH) -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy
        self.exit_code = exit_code
        self.partition: int | None = None
        """The partition it happened on, where that is known."""
        self.offset: int | None = None
        """The offset it was at."""

    def locate(self, partition: int, offset: int | None) -> None:
        """Say where it happened, unless that has been said by somebody nearer to it."""
        if self.partition is None:
            self.partition, self.offset = partition, offset


class Doubt(WorkerError):
    """A transaction whose outcome is not known. A replacement settles it."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause, exit_code=WorkerExit.DOUBT)


class Fenced(WorkerError):
    """Our producer is not the newest with its transactional id."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause, exit_code=WorkerExit.FENCED)


class Contested(WorkerError):
    """Another supervisor of the same name is at work."""

    def __init__(self, cause: str) -> None:
        super().__init__(
            cause,
            "stop the other supervisor with this app.name on this cluster, or rename one",
            WorkerExit.CONTESTED,
        )


class StateMismatch(WorkerError):
    """Offsets and state contradict each other, or input was lost; a person must decide."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy, WorkerExit.STATE)


class BrokersAway(WorkerError):
    """The brokers did not answer in time. Not the worker's fault: it costs no budget."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause, exit_code=WorkerExit.BROKERS_UNREACHABLE)


class DlqLimitReached(WorkerError):
    """Too many records cannot be processed: the partition is to be parked, not its input drained."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy, WorkerExit.DLQ_LIMIT)
