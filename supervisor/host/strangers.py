"""Processes that are nobody's: as PID 1, or as a subreaper, we are made their parent, and must collect them.

When a process ends, the kernel gives its children to PID 1, in a container the supervisor, or to the nearest
ancestor that asked for it (``PR_SET_CHILD_SUBREAPER``). Somebody has to collect them as they end; otherwise a
zombie remains of each, until there is no pid left.

Our own are not to be collected here: their exit codes mean something, and whoever started them takes those.
The rule that makes the two kinds distinguishable without a race: whoever starts a process does so in the
loop's thread, and has it among ``ours`` before the loop goes on. Then, step by step:

- One of ours dies before it is among them: its SIGCHLD is acted upon by the loop, later than that.
- Ours and strangers die together: one SIGCHLD may stand for all. So everything that has ended is looked at,
  again and again, until there is no more.
- The kernel shows whichever it likes first. While that is one of ours, the strangers behind it cannot be
  seen; we look again a little later, when its owner will have collected it.
- A pid is looked at without being collected, and then collected by its number. In between nobody can reuse
  it: it is a zombie until we say so.
- A stranger that was dead before it became ours: the kernel sends SIGCHLD for it all the same.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Collection
from multiprocessing import resource_tracker

from supervisor.host.loop import Loop, Timer

__all__ = ["Strangers", "adopts", "hold_signals"]

_PR_GET_CHILD_SUBREAPER = 37
_AGAIN_S = 0.02
_AGAIN_AT_MOST_S = 0.5
# Those that the supervisor has a handler for as soon as its loop runs.
_HELD = frozenset(
    {
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGHUP,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGTTIN,
        signal.SIGTTOU,
    }
)


def adopts() -> bool:
    """Whether orphans of other processes become children of this one."""
    answer = ctypes.c_int()
    ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    return os.getpid() == 1 or bool(answer.value)


def hold_signals() -> None:
    """As PID 1, keep signals until the loop has its handlers for them (``Loop.on_signals`` lets them in).

    The kernel drops a signal to PID 1 that has no handler: a ``docker stop`` right after the start would wait
    for the whole grace period, and then kill. A signal that is blocked is kept.
    """
    if os.getpid() == 1:
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)


class Strangers:
    """Collects children that we have not started. Where none can come to us it does nothing."""

    def __init__(self, loop: Loop, ours: Callable[[], Collection[int]]) -> None:
        self.reaped = 0
        """How many have been collected."""
        self._loop = loop
        self._ours = ours
        self._timer: Timer | None = None
        self._wait = _AGAIN_S

    def start(self) -> None:
        """Look now, and whenever a child ends. To be called after whatever else sets SIGCHLD."""
        if adopts():
            self._loop.on_signals([signal.SIGCHLD], lambda _number: self._look())
            self._look()  # whatever became PID 1 by exec has its children from before

    def _look(self) -> None:
        ours = {*self._ours(), _tracker()}
        while (pid := _ended()) is not None:
            if pid in ours:
                self._look_again()
                return
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
            self.reaped += 1
        self._wait = _AGAIN_S

    def _look_again(self) -> None:
        """One of ours, which its owner has not collected yet, hides the others."""
        if self._timer is None:
            self._timer = self._loop.after(self._wait, self._on_timer)
            self._wait = min(2 * self._wait, _AGAIN_AT_MOST_S)

    def _on_timer(self) -> None:
        self._timer = None
        self._look()


def _ended() -> int | None:
    """The pid of some child that has ended; it is not collected."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid


def _tracker() -> int | None:
    """multiprocessing's resource tracker, which is replaced when it is found dead."""
    pid: int | None = getattr(resource_tracker._resource_tracker, "_pid", None)
    return pid
