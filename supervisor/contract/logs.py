"""Log lines of every process: to standard error and to a file of its own, and nobody ever waits for either.

The standard library's ``logging``, because structlog would cost each of the processes 124 ms of imports,
which is most of what a restart may cost (measured, docs/architecture.md). What a line looks like is in
``loglines``, how it gets out in ``logoutput``; what the files are for, in docs/logging.md.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from supervisor.contract import loglines
from supervisor.contract.loglines import Line
from supervisor.contract.logoutput import LogFile, Stream
from supervisor.contract.settings import Log

__all__ = ["FILES_ONLY", "SPARES", "capture_prints", "directory", "dropped", "rename", "reopen", "set_up"]

SPARES = "spare"
"""The file that all processes without a role share: their lines are few, and their numbers mean nothing."""

FILES_ONLY = {"files_only": True}
"""``extra`` of a line that standard error gets in another way."""

_STDERR = 2
# How long an orderly end waits for a reader that does not keep up. All of it is in the file.
_PATIENCE_S = 0.3

_output: _Output | None = None


def directory(settings: Log, run_dir: Path) -> Path:
    """Where the log files of an installation are."""
    if settings.directory:
        return Path(settings.directory).expanduser().absolute()
    return run_dir / "log"


def set_up(settings: Log, process: str, run_dir: Path | None = None, *, file: str = "") -> None:
    """Send this process's log lines to standard error and, with ``run_dir``, to its file.

    ``process`` is named in each line, and is the file's name unless ``file`` is. Raises nothing: a file that
    cannot be written is told of on standard error.
    """
    global _output
    if _output is None:
        _output = _Output()
    _output.direct(settings, process, run_dir, file or process)
    root = logging.getLogger()
    root.handlers[:] = [_output]
    root.setLevel(settings.level.upper())
    kafka = logging.getLogger("kafka")
    kafka.filters[:] = [] if settings.level == "debug" else [_Throttle()]
    kafka.setLevel("DEBUG" if settings.level == "debug" else "ERROR")


def rename(process: str) -> None:
    """The process has got a role: from now on its lines bear this name and go to the file of that name."""
    if _output is not None:
        _output.rename(process, process)


def reopen() -> None:
    """Open the log file anew: it was moved, by logrotate for one (SIGUSR1)."""
    if _output is not None:
        _output.reopen()


def dropped() -> int:
    """Lines of this process that got lost on standard error or in the file, whichever has lost more."""
    return _output.dropped if _output is not None else 0


def capture_prints() -> None:
    """Make log lines of what Python code prints, to standard output (info) and error (warning).

    A ``print`` in a pipeline would otherwise stand between the events of the ``stdout`` sink, which writes to
    the descriptor, and would halt the worker once nobody reads. Tracebacks of threads come this way, too.
    """
    sys.stdout = _Prints("stdout", logging.INFO, sys.stdout)
    sys.stderr = _Prints("stderr", logging.WARNING, sys.stderr)


class _Output(logging.Handler):
    """Standard error and the file, under one lock: either is told when the other fails."""

    def __init__(self) -> None:
        super().__init__()
        assert self.lock is not None
        self._changed = threading.Condition(self.lock)
        self._settings = Log()
        self._run_dir: Path | None = None
        self._process = ""
        self._as_text = self._colour = False
        self._stream: Stream | None = None
        self._file: LogFile | None = None
        self._stream_failed = False
        self._file_problem = ""
        self._unfit = 0
        if sys.stderr is not None:  # else it was closed, and number 2 may be anybody's
            try:
                self._stream = Stream(_STDERR, self._changed, lambda count: self._shown(self._gap(count)))
            except OSError:
                self._stream = None

    def direct(self, settings: Log, process: str, run_dir: Path | None, file: str) -> None:
        with self._changed:
            self._settings, self._run_dir = settings, run_dir
            terminal = self._stream is not None and os.isatty(_STDERR)
            self._as_text = settings.format == "text" or (settings.format == "auto" and terminal)
            self._colour = terminal and not os.environ.get("NO_COLOR")
            self.rename(process, file)

    def rename(self, process: str, file: str) -> None:
        with self._changed:
            self._process = process
            if self._file is not None:
                self._file.close()
                self._file = None
            if self._run_dir is not None and self._settings.files:
                self._file = LogFile(
                    directory(self._settings, self._run_dir) / f"{file}.log",
                    self._settings.max_bytes,
                    self._settings.keep,
                    lambda count: loglines.encode(self._gap(count)),
                )

    def reopen(self) -> None:
        with self._changed:
            if self._file is not None:
                self._file.reopen()

    @property
    def dropped(self) -> int:
        return self._unfit + max(output.dropped if output else 0 for output in (self._stream, self._file))

    def emit(self, record: logging.LogRecord) -> None:
        """Called with the lock held, by ``logging``. Whoever logs must not suffer from it."""
        try:
            self._put(self._line(record), files_only=getattr(record, "files_only", False))
        except Exception:  # not handleError(): that prints, and what is printed is logged
            self._unfit += 1

    def _put(self, line: Line, *, files_only: bool) -> None:
        encoded = loglines.encode(line)
        in_file = self._file is not None and self._file.put(encoded)
        if self._file is not None and self._file.problem != self._file_problem:
            self._file_problem = self._file.problem
            if self._file_problem and self._stream is not None:
                self._stream.put(
                    self._shown(
                        self._own(
                            f"the log file {self._file.path} cannot be written: {self._file_problem}; "
                            "its lines go to standard error alone"
                        )
                    )
                )
        if self._stream is None or files_only:
            return
        failed = not self._stream.put(self._shown(line) if self._as_text else encoded)
        if failed and not self._stream_failed and in_file and self._file is not None:
            text = "standard error takes no more lines for now: they are in the log files alone"
            self._file.put(loglines.encode(self._own(text)))
        self._stream_failed = failed

    def flush(self) -> None:
        with self._changed:
            if self._stream is not None:
                self._stream.finish(_PATIENCE_S)

    def close(self) -> None:
        with self._changed:
            if self._file is not None:
                self._file.close()
        super().close()

    def _line(self, record: logging.LogRecord) -> Line:
        try:
            message = record.getMessage()
        except Exception as error:  # arguments that do not fit the format, or cannot be shown
            message = f"{record.msg!r} ({type(error).__name__} as it was to be logged)"
        exception = ""
        if record.exc_info:
            exception = _formatter.formatException(record.exc_info)
        return Line(
            loglines.stamp(record.created),
            record.levelname.lower(),
            self._process,
            record.process or os.getpid(),
            message,
            exception,
            str(getattr(record, "worker", None) or ""),
        )

    def _own(self, message: str) -> Line:
        return Line(loglines.stamp(time.time()), "warning", self._process, os.getpid(), message)

    def _gap(self, count: int) -> Line:
        return self._own(f"{count} log lines dropped here")

    def _shown(self, line: Line) -> bytes:
        if not self._as_text:
            return loglines.encode(line)
        return loglines.text(line, colour=self._colour).encode("utf-8", "backslashreplace")


_formatter = logging.Formatter()


class _Prints(io.TextIOBase):
    """Standard output or error as Python code sees it: each line printed is a line of the log."""

    _LONGEST = 8_000

    def __init__(self, name: str, level: int, original: IO[str] | None) -> None:
        self._log = logging.getLogger(name)
        self._level = level
        self._original = original
        self._begun = ""
        self._lock = threading.Lock()

    encoding = "utf-8"
    errors = "backslashreplace"

    @property
    def buffer(self) -> Any:
        """As it was: who writes bytes means the descriptor itself."""
        return getattr(self._original, "buffer", None)

    def fileno(self) -> int:
        if self._original is None:
            raise io.UnsupportedOperation("fileno")
        return self._original.fileno()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._begun = (self._begun + text).split("\n")
            if len(self._begun) > self._LONGEST:
                lines.append(self._begun)
                self._begun = ""
        for line in lines:
            if line.strip():
                self._log.log(self._level, "%s", line)
        return len(text)

    def flush(self) -> None:
        """Nothing: a line that is begun goes on with the next ``print``."""


class _Throttle(logging.Filter):
    """Lets a line through every ten seconds, with the number of those held back since.

    librdkafka tells of every connection it fails to make: in an outage that is a hundred lines a second from
    each process. One of them is worth reading, since it has the reason (refused, unknown host, certificate).
    Called by whichever threads use a Kafka client, before any lock of ``logging``.
    """

    _EVERY_S = 10.0

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0
        self._held_back = 0
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        with self._lock:
            if now < self._next:
                self._held_back += 1
                return False
            held_back = self._held_back
            self._next, self._held_back = now + self._EVERY_S, 0
        if held_back:
            record.msg = f"{record.getMessage()} ({held_back} such lines held back)"
            record.args = ()
        return True
