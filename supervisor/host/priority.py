"""Who goes before whom on a busy machine.

The supervisor goes before its workers: what it does is short, and all of them wait for it. While workers
start, their imports take every CPU there is; a replacement is ordered, a hang noticed and a watchdog answered
by a loop that would wait its turn among them. docs/benchmarks.md has how late its timers are.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from pathlib import Path
from types import FrameType

__all__ = ["give_way", "session_nice", "step_ahead"]

_AHEAD = -10
_REAL_TIME = 1  # the least there is
_LONGEST_RUN_US = 200_000
_AUTOGROUP = Path("/proc/self/autogroup")


def step_ahead() -> None:
    """Take precedence, where that is permitted (root, CAP_SYS_NICE) and nobody has chosen otherwise.

    First a better niceness; then real time, which goes before whatever niceness. Each stands without the
    other. What this process starts does not inherit them, nor do threads (``SCHED_RESET_ON_FORK``, sched(7)).
    To be called from the main thread, for that alone.
    """
    if os.getpriority(os.PRIO_PROCESS, 0) != 0 or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    with contextlib.suppress(OSError):
        _schedule(os.SCHED_OTHER, 0)
        os.setpriority(os.PRIO_PROCESS, 0, _AHEAD)
    with contextlib.suppress(OSError, ValueError):
        # A loop that only turns, by a mistake of ours, would keep a CPU from everybody: the kernel reports
        # one that has not slept for so long (getrlimit(2), RLIMIT_RTTIME), wherever in it that is.
        signal.signal(signal.SIGXCPU, _fall_back)
        _, most = resource.getrlimit(resource.RLIMIT_RTTIME)
        resource.setrlimit(resource.RLIMIT_RTTIME, (_LONGEST_RUN_US, most))
        _schedule(os.SCHED_RR, _REAL_TIME)


def _fall_back(_signal: int, _frame: FrameType | None) -> None:
    """Be as nice as before real time, for good."""
    _schedule(os.SCHED_OTHER, 0)


def _schedule(policy: int, priority: int) -> None:
    os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, os.sched_param(priority))


def session_nice() -> int:
    """The niceness of our session among others; 0 where there are no autogroups."""
    try:
        return int(_AUTOGROUP.read_text().split()[-1])
    except (OSError, ValueError, IndexError):
        return 0


def give_way(nice: int) -> bool:
    """Give the session that this process leads this niceness; whether it has it now.

    With autogroups (sched(7)) the CPUs are shared among sessions first, by a niceness that belongs to the
    session: that of a process counts only beside those of its own session. It is refused where there are no
    autogroups, where we lead no session, and without privileges, too, when somebody else on the machine has
    done it within the last tenth of a second. In a control group of somebody else's it has no effect.
    """
    if os.getsid(0) != os.getpid():
        return False
    try:
        _AUTOGROUP.write_text(str(nice))
    except OSError:
        return False
    return True
