"""One cgroup (v2) for each worker, where a subtree is delegated to us: its share of the CPU, its limit of
memory, and an end that nothing escapes which it has started, daemons included.

    own cgroup/                 delegated: by systemd (Delegate=), or because a container gave us all of it
    ├── supervisor/             ourselves, the processes without a seat, the guardian
    ├── olap-0.4711/            worker 4711 in seat olap-0: cpu.weight, memory.max
    └── …

A seat has one process at a time, and each process a leaf of its own: its counters begin at zero, and it need
not wait until the kernel is done with those who were killed in its predecessor's.

Writing where one has no business would disturb somebody else's tree, systemd's above all, and root may write
anywhere. So before anything is changed, whatever speaks against it is looked for; then there are no cgroups,
one line in the log says why, and everything else works without.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import time
from pathlib import Path

from supervisor.contract.settings import Limits

__all__ = ["CgroupTree", "oom_kills", "own_cgroup"]

_log = logging.getLogger("supervisor")

_OURSELVES = "supervisor"
_LEAF = re.compile(r"(probe|realtime-\d+|olap-\d+)\.\d+")
_CONTROLLERS = ("cpu", "memory")
_FAREWELL_S = 1.0
_KERNELS_WEIGHT = 100
_SYSTEMD_RUNS = Path("/run/systemd/system")


class _Refused(Exception):
    """There is no tree for us, and this is why."""


class CgroupTree:
    """The leaves below our own cgroup. Made by :meth:`open`."""

    def __init__(self, base: Path, controllers: frozenset[str], memory_max: int) -> None:
        self._base = base
        self._controllers = controllers
        self._memory_max = memory_max
        self._leaves: dict[str, Path] = {}
        self._leftovers: list[Path] = []
        self._said = False

    @classmethod
    def open(cls, limits: Limits) -> CgroupTree | None:
        """Take our own cgroup into use, if that is ours to do; else say why not in the log.

        To be called before any worker is started.
        """
        try:
            base = own_cgroup()
            if base is None:
                raise _Refused("there is no cgroup v2 here")
            return _take(base, limits)
        except _Refused as refused:
            _log.info("no cgroups for the workers: %s", refused)
        except OSError as error:
            _log.info("no cgroups for the workers: %s: %s", error.filename or "cgroup", error.strerror)
        return None

    def place(self, name: str, pid: int, weight: int) -> int:
        """Move process ``pid``, with all of its threads, into a leaf of its own; ``name`` is its seat's.

        Returns the ``cpu.weight`` that is in force there; 0 for none. Memory that it has by then stays
        charged to where it came from: ``memory.max`` limits what it takes from now on.
        """
        if name in self._leaves:
            self._leftovers.append(self._leaves.pop(name))
        self._sweep()
        leaf = self._base / f"{name}.{pid}"
        try:
            _make(leaf)
            self._leaves[name] = leaf
            if "memory" in self._controllers and self._memory_max:
                _write(leaf / "memory.max", self._memory_max)
                # All of the leaf or nothing: a worker whose child was taken away would wait for it.
                _write(leaf / "memory.oom.group", 1)
            if in_force := weight if "cpu" in self._controllers else 0:
                _write(leaf / "cpu.weight", weight)
            _write(leaf / "cgroup.procs", pid)
        except OSError as error:
            self._say(error)
            return 0
        return in_force

    def adopt(self, limits: Limits) -> None:
        """Another limit of memory, also for those who are in their leaves. Whoever is above it is killed by
        the kernel."""
        before, self._memory_max = self._memory_max, _memory_max(limits)
        if before == self._memory_max or "memory" not in self._controllers:
            return
        for leaf in self._leaves.values():
            try:
                _write(leaf / "memory.max", self._memory_max or "max")
                _write(leaf / "memory.oom.group", int(self._memory_max > 0))
            except OSError as error:
                self._say(error)

    def weigh(self, name: str, weight: int) -> int:
        """Give the process in seat ``name`` another ``cpu.weight``; returns the one that is in force, as
        :meth:`place` does."""
        leaf = self._leaves.get(name)
        if leaf is None or "cpu" not in self._controllers:
            return 0
        try:
            if not _members(leaf):
                return 0  # it could not be moved there
            _write(leaf / "cpu.weight", weight or _KERNELS_WEIGHT)
        except OSError as error:
            self._say(error)
            return 0
        return weight

    def leaf(self, name: str) -> Path | None:
        """The cgroup of the process in seat ``name``."""
        return self._leaves.get(name)

    def out_of_memory(self, name: str) -> bool:
        """Whether the kernel killed something in that leaf for want of memory. Ask before :meth:`kill`."""
        leaf = self._leaves.get(name)
        return leaf is not None and bool(oom_kills(leaf))

    def kill(self, name: str) -> None:
        """The worker in seat ``name`` is dead: kill whatever else is in its leaf, and remove that."""
        leaf = self._leaves.pop(name, None)
        if leaf is None:
            return
        _kill(leaf)
        self._leftovers.append(leaf)
        self._sweep()

    def close(self) -> None:
        """Kill what is left in leaves, remove them, and go back to where we were. Waits a second at most."""
        for name in list(self._leaves):
            self.kill(name)
        deadline = time.monotonic() + _FAREWELL_S
        while self._leftovers and time.monotonic() < deadline:
            time.sleep(0.01)
            self._sweep()
        _go_back(self._base, self._controllers)

    def _sweep(self) -> None:
        """Remove the leaves of the dead. Who was killed a moment ago may still be in one: next time."""
        self._leftovers = [leaf for leaf in self._leftovers if not _removed(leaf)]

    def _say(self, error: OSError) -> None:
        if not self._said:
            _log.info("a cgroup cannot be used: %s: %s", error.filename, error.strerror)
            self._said = True


def own_cgroup(proc: Path = Path("/proc")) -> Path | None:
    """The directory of this process's cgroup v2; ``None`` where none is mounted, or ours is not below it."""
    try:
        own = [line[3:] for line in (proc / "self/cgroup").read_text().splitlines() if line[:3] == "0::"]
        mounts = [line.split() for line in (proc / "self/mountinfo").read_text().splitlines()]
    except OSError:
        return None
    for mount in mounts:
        if not own or mount[mount.index("-") + 1] != "cgroup2":
            continue
        # Without a namespace of its own, a container sees its path as the host does, and mounts a part.
        root, point = mount[3], _unescaped(mount[4])
        if own[0] == root or root == "/" or own[0].startswith(f"{root}/"):
            below = own[0].removeprefix(root if root != "/" else "").strip("/")
            return None if ".." in below.split("/") else Path(point, below)
    return None


def oom_kills(cgroup: Path) -> int | None:
    """How many processes of a cgroup, and of those below it, the kernel has killed for want of memory, be it
    the cgroup's own limit or the machine's; ``None`` where it does not say."""
    try:
        lines = (cgroup / "memory.events").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("oom_kill ")))
    except (OSError, StopIteration, IndexError, ValueError):
        return None


def _unescaped(path: str) -> str:
    """A path of mountinfo, with its \\040 for a blank and the like."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def _take(base: Path, limits: Limits) -> CgroupTree:
    """Move ourselves into a leaf and have the controllers for the others."""
    _refuse_what_is_not_ours(base)
    available = frozenset((base / "cgroup.controllers").read_text().split())
    controllers = available.intersection(_CONTROLLERS)
    for left in base.iterdir():
        if _LEAF.fullmatch(left.name):
            _removed(left)  # of a supervisor that was killed
    _make(base / _OURSELVES)
    try:
        # In this order: a cgroup with processes in it cannot give controllers to those below (cgroups(7)).
        for pid in _members(base):  # ourselves, and who helps us
            _write(base / _OURSELVES / "cgroup.procs", pid)
        if controllers:
            _write(base / "cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(controllers)))
    except OSError:
        _go_back(base, frozenset())
        raise
    missing = [name for name in _CONTROLLERS if name not in controllers]
    _log.info(
        "each worker has a cgroup below %s%s", base, f", without {' and '.join(missing)}" if missing else ""
    )
    return CgroupTree(base, controllers, _memory_max(limits))


def _memory_max(limits: Limits) -> int:
    return limits.memory_hard_mb * 1024 * 1024


def _refuse_what_is_not_ours(base: Path) -> None:
    if not (base / "cgroup.type").exists():
        raise _Refused("we are in the root cgroup, which is the machine's")
    kind = (base / "cgroup.type").read_text().strip()
    if kind != "domain":
        raise _Refused(f"{base} is of type {kind}")
    if not os.access(base, os.W_OK) or not os.access(base / "cgroup.procs", os.W_OK):
        raise _Refused(f"{base} is not writable")
    if _SYSTEMD_RUNS.exists() and not _delegated(base):
        raise _Refused(f"systemd has not delegated {base} (Delegate=)")
    if not all(_is_ours(pid) for pid in _members(base)):
        raise _Refused(f"{base} has other processes in it")


def _members(cgroup: Path) -> list[int]:
    return [int(pid) for pid in (cgroup / "cgroup.procs").read_text().split()]


def _is_ours(pid: int) -> bool:
    """Whether it is this process or a child of it."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True  # it has ended
    # The name before the state may hold blanks and parentheses; the parent is the second field behind it.
    return os.getpid() in (pid, int(status.rpartition(")")[2].split()[1]))


def _delegated(base: Path) -> bool:
    for attribute in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(base, attribute) == b"1":
                return True
    # systemd before 251 leaves a mark that root alone can see; but it gives the directory to the unit's user.
    return os.getuid() != 0 and base.stat().st_uid == os.getuid()


def _go_back(base: Path, controllers: frozenset[str]) -> None:
    """Leave our leaf, with whoever else is in it, and remove it; as far as that goes."""
    ours = base / _OURSELVES
    with contextlib.suppress(OSError):
        if controllers:
            _write(base / "cgroup.subtree_control", " ".join(f"-{name}" for name in sorted(controllers)))
        for pid in _members(ours):
            _write(base / "cgroup.procs", pid)
    _removed(ours)


def _kill(leaf: Path) -> None:
    try:
        _write(leaf / "cgroup.kill", 1)
    except FileNotFoundError:  # before Linux 5.14, or removed
        with contextlib.suppress(OSError):
            for pid in _members(leaf):
                os.kill(pid, signal.SIGKILL)
    except OSError as error:
        _log.info("cannot kill what is in %s: %s", leaf, error.strerror)


def _make(leaf: Path) -> None:
    leaf.mkdir(exist_ok=True)


def _write(path: Path, value: object) -> None:
    # Not write_text: its O_TRUNC | O_CREAT would make an ordinary file of a misspelt name.
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, str(value).encode())
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(descriptor)


def _removed(leaf: Path) -> bool:
    try:
        leaf.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
