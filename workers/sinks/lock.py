"""One writer per path, by a lock that ends with its process."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from workers.sinks.base import SinkInUse, SinkUnavailable

__all__ = ["PathLock"]


class PathLock:
    """Holds ``<path>.lock`` while it lives; the kernel lets go of it even after SIGKILL.

    The lock is a file of its own, since the file it guards is renamed by rotation and removed by people.
    It stays when released: to remove it would let two processes hold two files of that name.

    Raises :class:`SinkInUse` if another process holds it, :class:`SinkUnavailable` if it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        file = path.with_name(path.name + ".lock")
        try:
            self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise SinkUnavailable(
                f"{file} cannot be opened: {error.strerror}",
                f"see that {path.parent} exists and is writable",
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise SinkInUse(
                f"{path} is being written by another process (pid {holder})",
                "stop it, or give this installation a path of its own",
            ) from None
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same, only without a name
            os.truncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next one in. Harmless when repeated."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
