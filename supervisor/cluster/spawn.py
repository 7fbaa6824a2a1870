"""Starts a process that cannot outlive this one, not even by our SIGKILL."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["spawn"]

_PR_SET_PDEATHSIG = 1
# Loaded here and not in the child: between fork and exec nothing may take a lock, and loading does.
_libc = ctypes.CDLL(None, use_errno=True)


def spawn(
    command: Sequence[str], directory: Path, log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start ``command`` in ``directory``, its output appended to ``log``.

    The kernel kills it when the thread that started it ends, so only the main thread may: it raises
    RuntimeError elsewhere. Raises OSError when the program or the log cannot be opened.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "brokers are started from the main thread: they end with the thread that starts them"
        )
    parent = os.getpid()

    def die_with_parent() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # If the parent ended between fork and prctl there is nobody left whose end would be told to us:
        # we were already given to another parent, and must leave by ourselves.
        if os.getppid() != parent:
            os._exit(1)

    # O_APPEND: the log can be cut short while the broker writes, and its next line goes to the new end.
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Its own session: Ctrl-C in the terminal is for us, who then stop the brokers in order.
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
