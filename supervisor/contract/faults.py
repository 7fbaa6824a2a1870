"""Errors that a person can act upon: each has a cause, a remedy and an exit code."""

from __future__ import annotations

from supervisor.contract.exits import Exit

__all__ = ["AlreadyRunning", "BrokersUnreachable", "ConfigurationFault", "Fault", "GaveUp"]


class Fault(Exception):
    """An expected failure. The command line prints it as two lines, never as a traceback.

    ``cause`` is one sentence; ``remedy`` says what to do, or is empty where there is nothing to do.
    """

    exit_code: Exit = Exit.FAILED

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy


class ConfigurationFault(Fault):
    exit_code = Exit.CONFIGURATION


class BrokersUnreachable(Fault):
    exit_code = Exit.BROKERS_UNREACHABLE


class AlreadyRunning(Fault):
    exit_code = Exit.ALREADY_RUNNING


class GaveUp(Fault):
    exit_code = Exit.GAVE_UP
