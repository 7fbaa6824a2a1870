"""A command of ours as a process of its own: ``supervisor start`` and ``supervisor generate``."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from supervisor.cluster.spawn import spawn
from supervisor.contract.faults import Fault

__all__ = ["Part"]

_TAIL_BYTES = 32 << 10
_LINES = 6
_POLL_S = 0.02


class Part:
    """A running process; it cannot outlive this one."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path, *, kept: bool) -> None:
        """Start ``supervisor ARGUMENTS`` in the directory of its log, which is ``kept`` or not.

        Raises :class:`Fault` if it cannot be started.
        """
        self.name = name
        self._log = log
        self._kept = kept
        # -P: a folder named "supervisor" in the working directory is not the one that is meant.
        command = [sys.executable, "-P", "-m", "supervisor", *arguments]
        # The demo shows itself and not what somebody's shell has configured.
        environment = {key: text for key, text in os.environ.items() if not key.startswith("SUPERVISOR_")}
        try:
            self._process = spawn(command, log.parent, log, environment)
        except OSError as error:
            raise Fault(f"the {name} cannot be started: {error}", "see that the disk is not full") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal; None while it runs."""
        return self._process.poll()

    def log_lines(self) -> list[str]:
        """The end of its log, without empty lines."""
        with self._log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
        return [line.rstrip() for line in text.splitlines() if line.strip()]

    def require_running(self) -> None:
        """Raises :class:`Fault`, with the last lines of its log, if it has ended."""
        code = self.exit_code
        if code is not None:
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            raise self.fault(f"ended unexpectedly ({how})")

    def fault(self, what: str) -> Fault:
        """What went wrong with it, and the last lines of its log."""
        lines = "".join(f"\n  {line[:300]}" for line in self.log_lines()[-_LINES:])
        said = f"; its last lines were:{lines}" if lines else ""
        remedy = f"see {self._log}" if self._kept else "run it again with --keep, to have the whole log"
        return Fault(f"the {self.name} {what}{said}", remedy)

    def end(self, number: signal.Signals, patience_s: float, tick: Callable[[], bool]) -> int:
        """Signal it and wait until it is gone; returns its exit code.

        It is killed after ``patience_s``, or as soon as ``tick``, called all the while, returns true.
        """
        deadline = time.monotonic() + patience_s
        # Popen knows whether it was reaped, so this reaches nobody else's process.
        self._process.send_signal(number)
        while self._process.poll() is None and time.monotonic() < deadline and not tick():
            time.sleep(_POLL_S)
        self._process.kill()
        return self._process.wait()
