"""The run directory: where the board, the sockets and the lock of one installation live.

Whoever can write there can speak for the supervisor, so it is mode 0700 and belongs to the user who runs it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from supervisor.contract.faults import ConfigurationFault, Fault
from supervisor.contract.settings import Settings

__all__ = ["LIVE_SOCKET", "ensure_run_dir", "run_dir", "socket_path"]

LIVE_SOCKET = "live.sock"
"""The live feed: written by the real-time worker, read by ``supervisor tail``."""

_OWN_NAME = "kafka-supervisor"
# sun_path of unix(7) holds 108 bytes, the last of them a NUL.
_SOCKET_PATH_BYTES = 107
_ELSEWHERE = "set runtime.run_dir to a directory of your own"


def run_dir(settings: Settings, environ: Mapping[str, str]) -> Path:
    """Where this installation's run directory is; whether it exists is not looked at.

    ``runtime.run_dir`` if set, else ``$RUNTIME_DIRECTORY/<app>`` (set by systemd), else
    ``$XDG_RUNTIME_DIR/kafka-supervisor/<app>``, else ``<tmp>/kafka-supervisor-<uid>/<app>``.
    """
    if settings.runtime.run_dir:
        return Path(settings.runtime.run_dir).expanduser().absolute()
    app = settings.app.name
    if app in {".", ".."}:
        raise ConfigurationFault(
            f"app.name cannot be {app!r}, since it names a directory", "set app.name to letters and digits"
        )
    # systemd lists several directories with colons between them. A relative path is to be ignored (XDG).
    if (base := environ.get("RUNTIME_DIRECTORY", "").split(":")[0]).startswith("/"):
        return Path(base, app)
    if (base := environ.get("XDG_RUNTIME_DIR", "")).startswith("/"):
        return Path(base, _OWN_NAME, app)
    return Path(environ.get("TMPDIR") or "/tmp", f"{_OWN_NAME}-{os.getuid()}", app).absolute()  # noqa: S108


def ensure_run_dir(path: Path) -> Path:
    """Create the run directory, mode 0700, with whatever is missing above it; return its path.

    Raises :class:`Fault` where it, or the directory it stands in, is another user's, a symbolic link,
    or open to others: in a shared temporary directory somebody may have put it there for us to find.
    """
    missing = [path]
    while not os.path.lexists(missing[-1].parent):
        missing.append(missing[-1].parent)
    _refuse_foreign(missing[-1].parent)
    for directory in reversed(missing):
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise Fault(
                f"the run directory {path} cannot be created: {error.strerror}", _ELSEWHERE
            ) from error
    # Looked at after mkdir: what is there now, ours or somebody's who was quicker, cannot be replaced by
    # another user any more, since the directory above is sticky or ours.
    if len(missing) > 1:
        _refuse_foreign(path.parent)
    _refuse_unsafe(path)
    return path


def socket_path(directory: Path, name: str) -> Path:
    """The path of a unix socket in the run directory.

    Raises :class:`Fault` if it is longer than the 107 bytes that the kernel accepts.
    """
    path = directory / name
    length = len(os.fsencode(path))
    if length > _SOCKET_PATH_BYTES:
        raise ConfigurationFault(
            f"the socket's path has {length} bytes, and a unix socket may have {_SOCKET_PATH_BYTES}: {path}",
            "set runtime.run_dir to a shorter path",
        )
    return path


def _refuse_foreign(parent: Path) -> None:
    owner = parent.lstat().st_uid
    if owner not in {0, os.getuid()}:
        raise Fault(f"{parent}, where the run directory would be, belongs to user {owner}", _ELSEWHERE)


def _refuse_unsafe(path: Path) -> None:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise Fault(f"the run directory {path} is a symbolic link", _ELSEWHERE)
    if not stat.S_ISDIR(status.st_mode):
        raise Fault(f"the run directory {path} is a file, not a directory", _ELSEWHERE)
    if status.st_uid != os.getuid():
        raise Fault(f"the run directory {path} belongs to user {status.st_uid}", _ELSEWHERE)
    if status.st_mode & 0o077:
        raise Fault(
            f"the run directory {path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o})",
            f"chmod 700 {path}",
        )
