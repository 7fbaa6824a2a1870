"""What a service manager is told, and when: ready, reloading, stopping, moving, alive.

The supervisor says what it does; this remembers what was said, how often is often enough, and what has to be
said again because it was not taken. Without ``$NOTIFY_SOCKET`` every call returns at once.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import MutableMapping
from enum import Enum

from supervisor.host.loop import Loop, Timer
from supervisor.systemd.notify import Notifier

__all__ = ["Systemd", "gave_up", "summary"]

_STATUS_EVERY_S = 2.0  # each one is a signal on the bus, to everybody who listens
_AGAIN_S = 0.5
_EXTEND_EVERY_S = 1.0
# One commit may take as long as a change of leaders does; systemd takes the extension as the new deadline.
_EXTENSION_S = 30.0
_STEADY_S = 60.0
# Below every TimeoutStartSec= of ours (systemd/unit.py) and systemd's default of 90 s.
_PATIENCE_S = 45.0
_KEPT = 8


class _Phase(Enum):
    STARTING = 0
    RUNNING = 1
    RELOADING = 2
    STOPPING = 3


class Systemd:
    """One supervisor's side of sd_notify(3). Every call is valid in every phase; none blocks or raises."""

    def __init__(self, loop: Loop, environ: MutableMapping[str, str] | None = None) -> None:
        """Takes its variables out of ``environ`` (``os.environ`` if not given), so call it before any worker
        is spawned. Where a watchdog is asked for, ``loop`` pings it from now on: a loop that stalls does not.
        """
        self._loop = loop
        self._notifier = Notifier(os.environ if environ is None else environ)
        self._phase = _Phase.STARTING
        self._unsent: deque[dict[str, str | int]] = deque(maxlen=_KEPT)
        self._again: Timer | None = None
        self._text = self._shown = ""
        self._status_timer: Timer | None = None
        self._progress: int | None = None
        self._extended = float("-inf")
        self._ready_since = float("inf")
        self._reset = False
        if self._notifier.watchdog_s is not None:
            # Half of it, as sd_watchdog_enabled(3) says: one that comes late is not yet a death.
            self._ping(self._notifier.watchdog_s / 2)
        if self.active:
            loop.after(_PATIENCE_S, self._settle)

    @property
    def active(self) -> bool:
        """Whether anybody listens; if not, there is no need to make up a status."""
        return self._notifier.active

    def ready(self, text: str = "") -> None:
        """Started. During a reload, which may have begun before, its READY=1 would end that."""
        if self._phase is _Phase.STARTING:
            self._ready_since = time.monotonic()
            self._phase = _Phase.RUNNING
            self._say({"READY": 1}, text)
        elif self._phase is not _Phase.STOPPING:
            self.status(text)

    def reloading(self, text: str = "") -> None:
        """A reload has begun; :meth:`reloaded` ends it, whatever came of it.

        The time is that of now: systemd waits for one later than its SIGHUP. Before the first ``ready`` it is
        not said: systemd would take the READY=1 that follows for the end of the reload, or not at all.
        """
        if self._phase in (_Phase.RUNNING, _Phase.RELOADING):
            self._phase = _Phase.RELOADING
            self._say({"RELOADING": 1, "MONOTONIC_USEC": time.monotonic_ns() // 1000}, text)

    def reloaded(self, text: str = "") -> None:
        """Done with a reload, if one was told of, also with one that was refused."""
        if self._phase is _Phase.RELOADING:
            self._phase = _Phase.RUNNING
            self._say({"READY": 1}, text)

    def stopping(self, text: str = "") -> None:
        """Draining has begun; there is no way back. Later texts, such as why, are still shown."""
        if self._phase is _Phase.STOPPING:
            self.status(text)
            return
        self._phase = _Phase.STOPPING
        self._progress = None
        self._say({"STOPPING": 1}, text)

    def status(self, text: str) -> None:
        """The line that ``systemctl status`` shows: the newest one, at most every two seconds."""
        if not self.active or not text:
            return
        self._text = text
        if self._status_timer is None:
            self._show()

    def moving(self, progress: int) -> None:
        """Tell it of any number that changes only when work was done, such as the sum of committed offsets.

        May be called often and in every phase. While starting, reloading or stopping, a change asks systemd
        for more time, and standing still does not: a hung drain is killed in time. While running, the first
        change a minute after ``ready`` makes systemd forget earlier restarts (``RestartSteps=``); it never
        does by itself, and a supervisor that crashes after half a minute each time should not have it
        forgotten.
        """
        before, self._progress = self._progress, progress
        if not self.active or before is None or before == progress:
            return
        now = time.monotonic()
        if self._phase is not _Phase.RUNNING:
            if now - self._extended >= _EXTEND_EVERY_S and self._notifier.send(
                EXTEND_TIMEOUT_USEC=int(_EXTENSION_S * 1e6)
            ):
                self._extended = now
        elif not self._reset and now - self._ready_since >= _STEADY_S:
            self._reset = self._notifier.send(RESTART_RESET=1)

    def trigger(self) -> None:
        """Ask to be ended as if the watchdog had run out: we know ourselves that we are beyond repair."""
        self._notifier.send(WATCHDOG="trigger")

    def _settle(self) -> None:
        """Be ready even so. That the brokers are away is no failed start: systemd would kill and restart what
        is waiting for them, and watch no loop until then (``WatchdogSec=`` counts from READY=1)."""
        if self._phase is _Phase.STARTING:
            self.ready()

    def _ping(self, interval_s: float) -> None:
        self._notifier.send(WATCHDOG=1)
        self._loop.after(interval_s, lambda: self._ping(interval_s))

    def _say(self, message: dict[str, str | int], text: str) -> None:
        """Send what must arrive, in order; what is not taken is kept and sent again."""
        if not self.active:
            return
        self._text = text or self._text
        if self._text != self._shown:  # also one that waits for its turn: why we stop must not come too late
            self._shown = message["STATUS"] = self._text
        self._unsent.append(message)
        if self._again is None:
            self._flush()

    def _flush(self) -> None:
        self._again = None
        while self._unsent:
            if not self._notifier.send(**self._unsent[0]):
                self._again = self._loop.after(_AGAIN_S, self._flush)
                return
            self._unsent.popleft()

    def _show(self) -> None:
        self._status_timer = None
        if self._text == self._shown:
            return
        # Behind what has not been taken yet, whose older STATUS would otherwise be the last one.
        if not self._unsent and self._notifier.send(STATUS=self._text):
            self._shown = self._text
        self._status_timer = self._loop.after(_STATUS_EVERY_S, self._show)


def summary(*, serving: int, partitions: int, lag: int, restarts: int, trouble: str = "") -> str:
    """The status line of a running supervisor, such as ``serving 4 partitions, lag 1,234, 2 restarts``.

    ``trouble`` comes first, since ``systemctl`` cuts off what is too long for the terminal.
    """
    share = f"{serving} of {partitions}" if serving != partitions else f"{partitions}"
    line = f"serving {share} {_plural(partitions, 'partition')}, lag {lag:,}"
    line += f", {restarts:,} {_plural(restarts, 'restart')}"
    return f"{trouble}; {line}" if trouble else line


def gave_up(worker: str, reason: str) -> str:
    """The status line of a supervisor that ends because of one worker."""
    return f"gave up: {worker}: {reason}"


def _plural(number: int, word: str) -> str:
    return word if number == 1 else f"{word}s"
