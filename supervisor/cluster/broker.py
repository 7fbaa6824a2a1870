"""One broker: its process, its log, and the state it is in."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from supervisor.cluster import jvm
from supervisor.cluster.properties import Node
from supervisor.cluster.spawn import spawn

__all__ = ["Broker"]

_LOG_LIMIT = 16 << 20
_TAIL_BYTES = 64 << 10
_TROUBLE = re.compile(r"\[ERROR\]|Exception|^Caused by|^Error|OutOfMemory")


class Broker:
    """A broker that can be started, signalled and started again. Not for use by several threads."""

    def __init__(self, node: Node, command: Sequence[str], directory: Path, log: Path) -> None:
        self.number = node.number
        self.port = node.port
        self.log = log
        self._command = list(command)
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self._launched_at = 0

    @property
    def pid(self) -> int | None:
        """The pid while it runs, else None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How it ended (negative: by that signal), None while it runs or where it never did."""
        return None if self._process is None else self._process.poll()

    @property
    def ending(self) -> str:
        """How it ended, in words: ``killed by SIGKILL``, ``exit code 1``; ``never started``."""
        code = self.exit_code
        if code is None:
            return "never started" if self._process is None else "running"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    @property
    def state(self) -> str:
        """``running``, ``paused`` or ``stopped``."""
        if self.pid is None:
            return "stopped"
        return "paused" if self._paused else "running"

    def launch(self) -> None:
        """Start the process; it takes seconds until it answers. Raises OSError when it cannot be started."""
        if self.pid is not None:
            raise RuntimeError(f"broker {self.number} is already running")
        self._paused = False
        self._launched_at = self.log.stat().st_size if self.log.exists() else 0
        self._process = spawn(self._command, self._directory, self.log, jvm.environment())

    def terminate(self) -> None:
        """Ask it to end; a paused broker goes on first, for it could not hear otherwise."""
        if self._paused:
            self.resume()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash or a power cut would, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        self._paused = False
        if self._process is not None:
            self._process.wait()

    def pause(self) -> None:
        """Freeze it: its connections stay open and it does not answer."""
        self._signal(signal.SIGSTOP)
        self._paused = self.pid is not None

    def resume(self) -> None:
        self._signal(signal.SIGCONT)
        self._paused = False

    def _signal(self, number: int) -> None:
        # Popen knows whether the child was reaped, so this never reaches a stranger with a reused pid.
        if self._process is not None:
            self._process.send_signal(number)

    def last_lines(self, count: int = 5) -> list[str]:
        """What the log says since the last start: its last errors, or its last lines where it has none.

        A broker that fails to start goes on to say at length how well it shuts down; stack frames are no help
        either.
        """
        try:
            with self.log.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                start = self._launched_at if self._launched_at <= size else 0
                file.seek(max(start, size - _TAIL_BYTES))
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return []
        said = [line.rstrip()[:300] for line in lines if line.strip() and not line.startswith("\t")]
        return [line for line in said if _TROUBLE.search(line)][-count:] or said[-count:]

    def trim_log(self) -> None:
        """Keep the log below 16 MiB, and as much again of what came before it in ``.log.1``.

        The broker has the file open for appending, so it is copied and cut rather than renamed. A line that
        arrives between the two is lost; a pipe would have cost a copy of every line and a thread.
        """
        try:
            if self.log.stat().st_size <= _LOG_LIMIT:
                return
            with self.log.open("r+b") as file:
                former = file.read(2 * _LOG_LIMIT)
                file.truncate(0)
            self.log.with_name(f"{self.log.name}.1").write_bytes(former)
        except OSError:
            # A full disk: the log must not be what stops the cluster.
            return
