"""Hooks: a program and a URL that are told when a person should know.

Each delivery is a process of its own, so that a name server that does not answer, or a program that hangs,
is waited for by nobody. One at a time for each hook, which keeps the order; a bounded queue behind it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from supervisor.contract.settings import Hooks as HookSettings
from supervisor.host.loop import Loop, Timer
from supervisor.reporting import courier
from supervisor.reporting.journal import Happening

__all__ = ["QUEUE", "Hooks"]

_log = logging.getLogger("supervisor")

QUEUE = 100
"""Events that wait for one hook; with more, the oldest are dropped."""
_OUTPUT_BYTES = 4096
_MOMENT_S = 2.0
# It is why somebody is to get up at night, and comes right before the end.
_MUST_ARRIVE = frozenset({"gave-up"})
# These speak to the service manager for us; a hook has nothing to say there.
_OURS_ALONE = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


class Hooks:
    """A subscriber of the journal: ``journal.subscribe(hooks.hear)``."""

    def __init__(self, settings: HookSettings, loop: Loop) -> None:
        self._loop = loop
        self._wanted: frozenset[str] = frozenset()
        self._lines: list[_Line] = []
        self._closing = False
        self._on_idle: Callable[[], None] | None = None
        self.adopt(settings)

    def adopt(self, settings: HookSettings) -> None:
        """These settings hold from the next event on; what is under way or waits goes where it was bound."""
        self._wanted = frozenset(settings.on)
        for line in self._lines:
            line.retired = True
        self._lines = [line for line in self._lines if line.busy]
        if settings.command:
            command = ["run", *shlex.split(settings.command)]
            self._lines.append(_Line("command", command, {}, settings.timeout_s, self._loop, self._idle))
        if settings.webhook:
            secret = {courier.WEBHOOK: settings.webhook}
            self._lines.append(_Line("webhook", ["post"], secret, settings.timeout_s, self._loop, self._idle))

    @property
    def pids(self) -> frozenset[int]:
        """Processes of ours that are not reaped yet."""
        return frozenset(line.pid for line in self._lines if line.pid is not None)

    def hear(self, happening: Happening) -> None:
        """Pass it on if the settings say so. Never blocks and raises nothing."""
        if happening.event not in self._wanted or self._closing:
            return
        for line in self._lines:
            if not line.retired:
                line.put(happening)

    def close(self, on_idle: Callable[[], None]) -> None:
        """Take no more events, and call ``on_idle`` once nothing is under way any more.

        What is under way gets a moment, what waits is dropped; but that we gave up is still delivered, for at
        most ``hooks.timeout_s``. It may be called before this returns.
        """
        self._closing = True
        self._on_idle = on_idle
        for line in tuple(self._lines):
            line.hasten()
        self._idle()

    def abandon(self) -> None:
        """Kill what is under way and drop what waits: somebody is impatient."""
        self._closing = True
        for line in tuple(self._lines):
            line.abandon()

    def _idle(self) -> None:
        self._lines = [line for line in self._lines if line.busy or not line.retired]
        if self._on_idle is not None and not any(line.busy for line in self._lines):
            on_idle, self._on_idle = self._on_idle, None
            on_idle()


class _Line:
    """To one hook: what waits, and the one process that delivers."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        environment: dict[str, str],
        timeout_s: float,
        loop: Loop,
        on_idle: Callable[[], None],
    ) -> None:
        self.name = name
        self.retired = False
        self._arguments = arguments
        self._environment = environment
        self._timeout_s = timeout_s
        self._loop = loop
        self._on_idle = on_idle
        self._waiting: deque[Happening] = deque()
        self._dropped = 0
        self._errand: _Errand | None = None

    @property
    def busy(self) -> bool:
        return self._errand is not None

    @property
    def pid(self) -> int | None:
        return self._errand.pid if self._errand is not None else None

    def put(self, happening: Happening) -> None:
        self._waiting.append(happening)
        if len(self._waiting) > QUEUE:
            self._waiting.popleft()
            self._dropped += 1
        if not self.busy:
            self._next()

    def hasten(self) -> None:
        self._waiting = deque(event for event in self._waiting if event.event in _MUST_ARRIVE)
        if self._errand is not None and self._errand.event not in _MUST_ARRIVE:
            self._errand.limit(min(_MOMENT_S, self._timeout_s))

    def abandon(self) -> None:
        self._waiting.clear()
        if self._errand is not None:
            self._errand.kill()

    def _next(self) -> None:
        if self._dropped:
            _log.warning("hooks: the %s is too slow: %d events were dropped", self.name, self._dropped)
            self._dropped = 0
        while self._waiting:
            happening = self._waiting.popleft()
            try:
                self._errand = _Errand(
                    self.name, happening, self._arguments, self._environment, self._loop, self._done
                )
            except OSError as error:  # EAGAIN, ENOMEM, EMFILE
                _log.warning("hooks: %s was not told of %s: %s", self.name, happening.event, error.strerror)
            else:
                self._errand.limit(self._timeout_s)
                return

    def _done(self) -> None:
        self._errand = None
        self._next()
        if not self.busy:
            self._on_idle()


class _Errand:
    """One process that delivers one event."""

    def __init__(
        self,
        hook: str,
        happening: Happening,
        arguments: list[str],
        environment: dict[str, str],
        loop: Loop,
        on_done: Callable[[], None],
    ) -> None:
        self._hook = hook
        self.event = happening.event
        self._loop = loop
        self._on_done = on_done
        self._output = bytearray()
        self._late = False
        self._timer: Timer | None = None
        with contextlib.ExitStack() as undo:
            self._pipe, theirs = os.pipe2(os.O_CLOEXEC)
            undo.callback(os.close, self._pipe)
            # Of our end alone: a program that writes much would get EAGAIN, which none expects.
            os.set_blocking(self._pipe, False)
            try:
                self._process = _start(happening, arguments, environment, theirs)
            finally:
                os.close(theirs)
            undo.callback(self._process.wait)
            undo.callback(self._process.kill)
            self._sentinel = os.pidfd_open(self._process.pid)
            undo.pop_all()
        loop.watch(self._sentinel, self._ended)
        loop.watch(self._pipe, self._read)
        self._reading = True

    @property
    def pid(self) -> int:
        return self._process.pid

    def limit(self, seconds: float) -> None:
        """It may take this long from now."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.after(seconds, self._out_of_time)

    def kill(self) -> None:
        """Kill it, and what it has started. Its group exists as long as it is not reaped."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _out_of_time(self) -> None:
        self._late = True
        self.kill()

    def _read(self) -> None:
        """Keep the beginning of what it says; the rest is read too, or it would wait for us."""
        try:
            piece = os.read(self._pipe, 1 << 16)
        except BlockingIOError:
            return
        self._output += piece[: _OUTPUT_BYTES - len(self._output)]
        if not piece:
            self._stop_reading()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.unwatch(self._pipe)

    def _ended(self) -> None:
        assert self._timer is not None
        self._timer.cancel()
        if self._reading:
            self._read()  # its last words; the two descriptors become readable in any order
            self._stop_reading()
        self.kill()  # whatever it has left behind
        self._loop.unwatch(self._sentinel)
        code = self._process.wait()  # it has ended: this does not wait
        os.close(self._sentinel)
        os.close(self._pipe)
        self._say(code)
        self._on_done()

    def _say(self, code: int) -> None:
        words = " | ".join(self._output.decode("utf-8", "replace").split("\n")).strip(" |")
        if self._late:
            _log.warning("hooks: the %s took too long over %s and was killed", self._hook, self.event)
        elif code:
            _log.warning("hooks: the %s failed at %s (%d): %s", self._hook, self.event, code, words)
        elif words:
            _log.info("hooks: the %s says of %s: %s", self._hook, self.event, words)


def _start(
    happening: Happening, arguments: list[str], environment: dict[str, str], output: int
) -> subprocess.Popen[bytes]:
    """Raises ``OSError`` where the system has no room for another process."""
    # A file in memory and not a pipe: what is in it needs nobody who writes on.
    letter = os.memfd_create("event")
    try:
        os.write(letter, msgspec.json.encode(happening) + b"\n")
        os.lseek(letter, 0, os.SEEK_SET)
        inherited = {name: value for name, value in os.environ.items() if name not in _OURS_ALONE}
        return subprocess.Popen(
            # Neither site-packages nor the directory of the script, which has modules of the names of others.
            [sys.executable, "-S", "-P", str(Path(courier.__file__)), *arguments],
            stdin=letter,
            stdout=output,
            stderr=output,
            env=inherited | environment,
            start_new_session=True,
        )
    finally:
        os.close(letter)
