"""The directory of a cluster: what lies where, whose it is, and what it is a cluster of.

``cluster.json``   identity and ports, see :class:`Identity`
``broker-N.log``   what broker N says; ``broker-N.log.1`` what it said before
``broker-N.properties``, ``data-N/``
``run/``           0700: ``lock`` (held while the cluster runs), ``control.sock``, ``keeper.log``
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from pathlib import Path

import msgspec

from supervisor.cluster.jars import write_atomically
from supervisor.cluster.properties import Node
from supervisor.contract.faults import AlreadyRunning, ConfigurationFault, Fault

__all__ = ["Identity", "Layout", "Lock", "default_directory"]


class Identity(msgspec.Struct, frozen=True):
    """What the data in the directory belongs to."""

    cluster_id: str
    kafka: str
    nodes: tuple[Node, ...]
    keep: bool
    """Whether the data outlives the cluster. If not, the next start removes what a killed keeper left."""


def default_directory() -> Path:
    """Where the cluster is when no directory is named: ``$XDG_STATE_HOME`` or ``~/.local/state``."""
    base = os.environ.get("XDG_STATE_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    return root / "kafka-supervisor" / "cluster"


class Layout:
    """Paths within one cluster's directory, which need not exist yet."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.run = self.root / "run"
        self.lock = self.run / "lock"
        self.control = self.run / "control.sock"
        self.keeper_log = self.run / "keeper.log"
        self.identity = self.root / "cluster.json"

    def log(self, number: int) -> Path:
        return self.root / f"broker-{number}.log"

    def data(self, number: int) -> Path:
        return self.root / f"data-{number}"

    def properties(self, number: int) -> Path:
        return self.root / f"broker-{number}.properties"

    def create(self) -> None:
        """Make the directory. Raises a Fault when it holds other things, or cannot be written."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.run.exists() and any(self.root.iterdir()):
                raise ConfigurationFault(
                    f"{self.root} is not empty and holds no cluster",
                    "name a new or empty directory with --dir",
                )
            self.run.mkdir(mode=0o700, exist_ok=True)
            found = self.run.stat()
            if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise ConfigurationFault(
                    f"{self.run} is open to other users, who could command the cluster",
                    f"chmod 700 {self.run}",
                )
        except OSError as error:
            raise Fault(
                f"the directory {self.root} cannot be used: {error.strerror}", "name another one with --dir"
            ) from error

    def is_fresh(self) -> bool:
        """Whether no cluster has put anything here yet."""
        return not self.identity.exists() and not any(self.root.glob("data-[0-9]*"))

    def read_identity(self) -> Identity | None:
        """What was written last, None where nothing was. Raises ConfigurationFault if it is not readable."""
        try:
            return msgspec.json.decode(self.identity.read_bytes(), type=Identity)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigurationFault(
                f"{self.identity} cannot be read: {error}",
                "name another directory with --dir, or delete this one",
            ) from error

    def write_identity(self, identity: Identity) -> None:
        write_atomically(self.identity, msgspec.json.format(msgspec.json.encode(identity)) + b"\n")

    def discard(self) -> None:
        """Remove data and logs: only what a cluster puts there, and the directory if nothing else is left."""
        for pattern in (
            "data-[0-9]*",
            "broker-[0-9]*.log",
            "broker-[0-9]*.log.1",
            "broker-[0-9]*.properties",
        ):
            for path in self.root.glob(pattern):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
        self.identity.unlink(missing_ok=True)

    def remove(self) -> None:
        """Discard, then remove the directory itself where nothing foreign is in it. Needs the lock."""
        self.discard()
        shutil.rmtree(self.run, ignore_errors=True)
        try:
            self.root.rmdir()
        except OSError:
            return  # Something that is not ours is in it.


class Lock:
    """Says that a cluster runs in a directory. The system releases it with the process, however that ends, so
    a pid in a file, which may by now be another process's, decides nothing."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, layout: Layout) -> Lock:
        """Take the lock and write our pid into it. Raises AlreadyRunning where another process holds it."""
        while True:
            descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                os.close(descriptor)
                raise AlreadyRunning(
                    f"a cluster is already running in {layout.root} (pid {pid or 'unknown'})",
                    f"supervisor cluster stop --dir {layout.root}",
                ) from None
            # Between open and flock its former holder may have removed the file with the directory; then we
            # hold the lock of a name that nobody finds, and a second start would get one of its own.
            if _same_file(descriptor, layout.lock):
                break
            os.close(descriptor)
            layout.create()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return cls(descriptor)

    @staticmethod
    def holder(layout: Layout) -> int | None:
        """The pid of the process that runs the cluster there, None where none does (0: it is unknown)."""
        try:
            descriptor = os.open(layout.lock, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            # Shared, so that two who ask at once do not take each other for a keeper.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            return int(text) if text.isdecimal() else 0
        finally:
            os.close(descriptor)
        return None

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
