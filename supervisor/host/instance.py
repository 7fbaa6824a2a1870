"""Single instance: a lock that the kernel gives back, however the holder ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path

from supervisor.contract.faults import AlreadyRunning, Fault

__all__ = ["BOARD", "Claim", "claim", "elsewhere", "holder"]

BOARD = "board"
"""File name of the status board in the run directory."""
_LOCK = "lock"
_ELSEWHERE = "make room there, or set runtime.run_dir to another directory"
_FLOCK = "hhqqi0q"  # l_type, l_whence, l_start, l_len, l_pid, padded as the C compiler does


class Claim:
    """On a run directory; it is given up by :meth:`close`, and when the process ends."""

    def __init__(self, lock: int, run_dir: Path) -> None:
        self._descriptors = [lock]
        # What is old in a temporary directory is swept away by systemd-tmpfiles, a lock that somebody holds
        # too, and then another supervisor could start. It spares what is in a directory that is locked in
        # the BSD way (tmpfiles.d(5), on age).
        with contextlib.suppress(OSError):
            self._descriptors.append(os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            fcntl.flock(self._descriptors[-1], fcntl.LOCK_SH | fcntl.LOCK_NB)

    def close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())


def claim(run_dir: Path) -> Claim:
    """Take the run directory for this process.

    Raises :class:`AlreadyRunning` with the holder's pid. A lock file left by a killed supervisor is no
    obstacle: it is the lock that counts, not the file. Raises :class:`Fault` where there can be no such file.
    """
    descriptor = _open(run_dir, os.O_CREAT)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _request(fcntl.F_WRLCK))
    except (BlockingIOError, PermissionError):
        pid = _written_pid(descriptor)
        os.close(descriptor)
        raise AlreadyRunning(
            f"a supervisor is already running for this app (pid {pid or 'unknown'}, {run_dir})",
            "stop it with `supervisor stop`, or give this one another app.name",
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise Fault(f"cannot lock {run_dir / _LOCK}: {error.strerror}", _ELSEWHERE) from error
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {_namespace()}\n".encode(), 0)
    except OSError as error:
        os.close(descriptor)
        raise Fault(f"cannot write {run_dir / _LOCK}: {error.strerror}", _ELSEWHERE) from error
    return Claim(descriptor, run_dir)


def holder(run_dir: Path) -> int | None:
    """The pid of the supervisor that runs here, or ``None``.

    The lock is asked about and not tried: a status command that held it for a moment would keep a supervisor
    that starts in that moment from starting. Raises :class:`Fault` where it cannot be asked about.
    """
    try:
        descriptor = _open(run_dir)
    except FileNotFoundError:
        return None
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _request(fcntl.F_WRLCK))
        held = struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK
        return _written_pid(descriptor) if held else None
    finally:
        os.close(descriptor)


def elsewhere(run_dir: Path) -> bool:
    """Whether the supervisor that runs here has its pid in another namespace, such as a container's: here
    that number is no process, or another one's.
    """
    descriptor = _open(run_dir)
    try:
        return _written(descriptor)[1] not in {"", _namespace()}
    finally:
        os.close(descriptor)


def _open(run_dir: Path, flags: int = 0) -> int:
    path = run_dir / _LOCK
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    except FileNotFoundError:
        if flags:
            raise Fault(f"cannot open the lock {path}: there is no such directory") from None
        raise
    except OSError as error:
        raise Fault(f"cannot open the lock {path}: {error.strerror}") from error


def _request(kind: int) -> bytes:
    """A ``struct flock`` over the whole file (fcntl(2))."""
    return struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0)


def _written_pid(descriptor: int) -> int | None:
    pid = _written(descriptor)[0]
    return int(pid) if pid.isdigit() else None


def _written(descriptor: int) -> tuple[str, str]:
    """The pid of the holder, and the namespace in which it has that."""
    pid, _, namespace = os.pread(descriptor, 64, 0).decode("ascii", "replace").strip().partition(" ")
    return pid, namespace


def _namespace() -> str:
    """Of pids, ours; nothing where that cannot be seen."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())  # pid:[4026531836]
    except OSError:
        return ""
