"""Worker processes lead sessions, and so process groups: none is collected before its group has been killed.

What a pipeline starts belongs to its worker's group, and is not to outlive the worker. The order matters.
While a dead leader is not collected, the kernel keeps its number: as a pid for the zombie, as the id of the
group for those who are left in it. Once it is collected, and nobody is left in the group, the number is free,
and a ``killpg`` might hit whoever has it next. So: look without collecting, kill the group, then collect.

``multiprocessing`` collects in more places than one: in ``join``, and all that have ended whenever it starts
another process. That is why the kill stands where they all come by, in ``poll``.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from multiprocessing.context import SpawnProcess
from multiprocessing.popen_spawn_posix import Popen
from typing import Any

__all__ = ["Leader"]


class Leader(SpawnProcess):
    """A process to be started with ``spawn``; its target calls ``os.setsid()`` before anything else.

    ``ended`` is called once, with its pid, when it has ended and its group was killed, and while its pid is
    still its own.
    """

    def __init__(self, ended: Callable[[int], None], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._ended = ended

    def __getstate__(self) -> dict[str, object]:
        """What is sent to the new process: all but what is the parent's business."""
        return {name: value for name, value in self.__dict__.items() if name != "_ended"}

    @staticmethod
    def _Popen(process_obj: Leader) -> Popen:  # type: ignore[override]  # noqa: N802
        return _Collector(process_obj)


class _Collector(Popen):
    def __init__(self, process: Leader) -> None:
        self._ended = process._ended
        super().__init__(process)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """As in ``multiprocessing``, where ``flag`` 0 waits; the group is killed before it is collected."""
        if self.returncode is None:
            # Somebody else may have collected it: SIGCHLD ignored, by whoever started us.
            with contextlib.suppress(ChildProcessError):
                if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | flag) is None:
                    return None
                # It may have died before it led a group, and then there is none: nobody else has the number.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                self._ended(self.pid)
        return super().poll(flag)
