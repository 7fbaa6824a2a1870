"""No grandchild without its worker: process groups, and a guardian that outlives the supervisor by a moment.

While the supervisor lives it kills the group of each worker that has died (``groups``). When it is killed
itself, the kernel kills the workers (``PR_SET_PDEATHSIG``), but not what they have started: that would go on
for ever, with sockets and files open. So there is one small process more, the guardian
(``guardian_process``), which learns of the supervisor's end from a pipe and then kills the groups.

What remains, step by step:

- The supervisor is killed between a worker's start and ``guard``: the worker sees that its parent is gone
  before it imports a pipeline, which alone could start something.
- It is killed between a worker's death and ``release``: the guardian kills the group. The number is still
  that worker's, or its group's, unless it was collected; and ``release`` comes before that.
- The guardian is killed: it is replaced at once, and told everything again. Whoever kills both of them in
  the same moment gets away with it.
- A grandchild has made itself a session of its own (a daemon): it is in no group of ours. A cgroup reaches
  it, where one is delegated (``cgroup``); under systemd the unit's cgroup does, and in a container its end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys
import time
from pathlib import Path

from supervisor.host.loop import Loop, Timer

__all__ = ["Guardian"]

_log = logging.getLogger("supervisor")

_PROGRAM = Path(__file__).with_name("guardian_process.py")
_SETTLED_S = 1.0
"""One that ended sooner than this is replaced after as long; any other at once."""
_FAREWELL_MS = 2_000


class Guardian:
    """Kills the groups of the workers that are left when this process ends, however it ends."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._guarded: dict[int, Path | None] = {}
        self._retry: Timer | None = None
        self._pid = 0
        self._pidfd = self._pipe = -1
        self._started = 0.0
        self._start()

    @property
    def pid(self) -> int | None:
        """The guardian's pid; ``None`` while there is none."""
        return self._pid or None

    def guard(self, pid: int, leaf: Path | None = None) -> None:
        """The group of worker ``pid`` is not to outlive us, nor is what is in its cgroup ``leaf``.

        May be called again, when the worker has been moved to another cgroup.
        """
        self._guarded[pid] = leaf
        self._tell(_guard(pid, leaf))

    def release(self, pid: int) -> None:
        """Worker ``pid`` is dead and its group killed. To be called before it is collected, which frees the
        number."""
        if self._guarded.pop(pid, self) is not self:
            self._tell(f"-{pid}\n")

    def close(self) -> None:
        """Let it kill what is still guarded, and end. Waits for that, at most two seconds."""
        if self._retry is not None:
            self._retry.cancel()
        if not self._pid:
            return
        self._loop.unwatch(self._pidfd)
        os.close(self._pipe)
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if not poll.poll(_FAREWELL_MS):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._collect()

    def _start(self) -> None:
        self._retry = None
        try:
            self._spawn()
        except OSError as error:
            _log.warning("cannot start the guardian: %s; trying again", error)
            self._retry = self._loop.after(_SETTLED_S, self._start)
            return
        self._loop.watch(self._pidfd, self._ended)
        for pid, leaf in self._guarded.items():
            self._tell(_guard(pid, leaf))

    def _spawn(self) -> None:
        # Nobody else may hold the end that we write to; no process that is started inherits it.
        reading, self._pipe = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._pipe, False)
        try:
            # A session of its own: no terminal, and no signal to our group, reaches it. And it is born with
            # all signals blocked: there is no moment in which one that was sent to everybody ends it.
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", str(_PROGRAM)],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, reading, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
                setsigmask=signal.valid_signals(),
            )
        except OSError:
            os.close(self._pipe)
            raise
        finally:
            os.close(reading)
        self._started = time.monotonic()
        try:
            self._pidfd = os.pidfd_open(self._pid)
        except OSError:  # EMFILE
            os.close(self._pipe)  # which ends it
            os.waitpid(self._pid, 0)
            self._pid = 0
            raise

    def _ended(self) -> None:
        """It has ended, although we have not: somebody killed it."""
        self._loop.unwatch(self._pidfd)
        os.close(self._pipe)
        self._collect()
        wait = 0.0 if time.monotonic() - self._started >= _SETTLED_S else _SETTLED_S
        _log.warning("the guardian ended; replaced %s", f"in {wait:g} s" if wait else "at once")
        self._retry = self._loop.after(wait, self._start)

    def _collect(self) -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        os.close(self._pidfd)
        self._pid = 0

    def _tell(self, line: str) -> None:
        if not self._pid:
            return  # the next one is told everything
        try:
            os.write(self._pipe, line.encode())  # shorter than PIPE_BUF: all of it or nothing
        except BlockingIOError:
            # It has not read for thousands of lines; the next one will.
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except BrokenPipeError:
            pass  # it has died, and its pidfd says so


def _guard(pid: int, leaf: Path | None) -> str:
    return f"+{pid} {leaf}\n" if leaf is not None and "\n" not in str(leaf) else f"+{pid}\n"
