"""Cgroups of workers: on a tree of files that behaves as the kernel's does, and on the kernel's own."""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path

import pytest

from supervisor.contract.settings import Limits
from supervisor.host import cgroup as cgroups
from supervisor.host.cgroup import CgroupTree, oom_kills, own_cgroup

_DEADLINE_S = 60.0


class Kernel:
    """What cgroup v2 does with what is written into its files, as far as it matters here (cgroups(7))."""

    def __init__(self, base: Path, controllers: str = "cpuset cpu io memory pids") -> None:
        self.base = base
        self.refuses: dict[str, int] = {}
        """errno by file name."""
        self.lingering: set[str] = set()
        """Cgroups whose dead are still there."""
        self.make(base)
        (base / "cgroup.controllers").write_text(f"{controllers}\n")
        (base / "cgroup.subtree_control").write_text("\n")
        (base / "cgroup.procs").write_text(f"{os.getpid()}\n")

    def make(self, directory: Path) -> None:
        if directory.exists():
            return
        directory.mkdir()
        (directory / "cgroup.type").write_text("domain\n")
        names = {"cgroup.procs", "cgroup.kill"}
        if directory != self.base:
            enabled = (self.base / "cgroup.subtree_control").read_text().split()
            if "memory" in enabled:
                names |= {"memory.max", "memory.oom.group", "memory.events"}
            if "cpu" in enabled:
                names |= {"cpu.weight"}
        for name in names:
            (directory / name).touch()

    def members(self, directory: Path) -> list[str]:
        return (directory / "cgroup.procs").read_text().split()

    def write(self, path: Path, value: object) -> None:
        text = str(value)
        if path.name in self.refuses:
            raise OSError(self.refuses[path.name], os.strerror(self.refuses[path.name]), str(path))
        if not path.exists():
            raise OSError(errno.ENOENT, "No such file or directory", str(path))
        if path.name == "cgroup.procs":
            self._move(text, path)
        elif path.name == "cgroup.subtree_control":
            self._enable(text, path)
        else:
            path.write_text(text)
        if path.name == "cgroup.kill":
            (path.parent / "cgroup.procs").write_text("")

    def _leaves(self) -> list[Path]:
        return [entry for entry in self.base.iterdir() if entry.is_dir()]

    def _move(self, pid: str, path: Path) -> None:
        if path.parent == self.base and (self.base / "cgroup.subtree_control").read_text().split():
            raise OSError(errno.EBUSY, "Device or resource busy", str(path))
        for directory in (self.base, *self._leaves()):
            left = [member for member in self.members(directory) if member != pid]
            (directory / "cgroup.procs").write_text(" ".join(left))
        path.write_text(" ".join([*self.members(path.parent), pid]))

    def _enable(self, words: str, path: Path) -> None:
        if self.members(path.parent):
            raise OSError(errno.EBUSY, "Device or resource busy", str(path))
        enabled = set(path.read_text().split())
        for word in words.split():
            enabled = enabled | {word[1:]} if word[0] == "+" else enabled - {word[1:]}
        path.write_text(" ".join(sorted(enabled)))

    def removed(self, directory: Path) -> bool:
        if not directory.exists():
            return True
        if self.members(directory) or directory.name in self.lingering:
            return False
        for entry in directory.iterdir():
            entry.unlink()
        directory.rmdir()
        return True


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel(tmp_path / "ours")
    monkeypatch.setattr(cgroups, "_make", kernel.make)
    monkeypatch.setattr(cgroups, "_write", kernel.write)
    monkeypatch.setattr(cgroups, "_removed", kernel.removed)
    monkeypatch.setattr(cgroups, "own_cgroup", lambda: kernel.base)
    monkeypatch.setattr(cgroups, "_SYSTEMD_RUNS", tmp_path / "no systemd")
    return kernel


def opened(limits: Limits | None = None) -> CgroupTree:
    tree = CgroupTree.open(limits or Limits())
    assert tree is not None
    return tree


@pytest.fixture
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def test_the_supervisor_goes_into_a_leaf_before_controllers_are_given_to_leaves(kernel: Kernel) -> None:
    """The other way round the kernel refuses: no processes in a cgroup that has leaves with controllers."""
    opened()
    assert kernel.members(kernel.base) == []
    assert kernel.members(kernel.base / "supervisor") == [str(os.getpid())]
    assert (kernel.base / "cgroup.subtree_control").read_text() == "cpu memory"


def test_who_helps_the_supervisor_comes_along(kernel: Kernel, sleeper: int) -> None:
    """The guardian is there by then."""
    (kernel.base / "cgroup.procs").write_text(f"{os.getpid()}\n{sleeper}\n")
    opened()
    assert kernel.members(kernel.base / "supervisor") == [str(os.getpid()), str(sleeper)]


def test_a_worker_gets_weight_and_limit_before_it_comes_in(kernel: Kernel, sleeper: int) -> None:
    tree = opened(Limits(memory_hard_mb=300))
    assert tree.place("olap-0", sleeper, 50) == 50
    leaf = kernel.base / f"olap-0.{sleeper}"
    assert tree.leaf("olap-0") == leaf
    assert (leaf / "cpu.weight").read_text() == "50"
    assert (leaf / "memory.max").read_text() == str(300 * 2**20)
    assert (leaf / "memory.oom.group").read_text() == "1"
    assert kernel.members(leaf) == [str(sleeper)]


def test_without_a_limit_there_is_none_and_a_weight_of_zero_is_left_alone(
    kernel: Kernel, sleeper: int
) -> None:
    tree = opened()
    assert tree.place("olap-0", sleeper, 0) == 0
    leaf = kernel.base / f"olap-0.{sleeper}"
    assert (leaf / "memory.max").read_text() == (leaf / "cpu.weight").read_text() == ""
    assert kernel.members(leaf) == [str(sleeper)], "whatever it starts ends with it all the same"


def test_another_limit_holds_for_who_is_there_and_for_who_comes(kernel: Kernel, sleeper: int) -> None:
    tree = opened()
    tree.place("olap-0", sleeper, 50)
    tree.adopt(Limits(memory_hard_mb=300))
    tree.place("olap-1", os.getppid(), 50)
    leaves = [kernel.base / f"olap-0.{sleeper}", kernel.base / f"olap-1.{os.getppid()}"]
    assert [(leaf / "memory.max").read_text() for leaf in leaves] == [str(300 * 2**20)] * 2
    assert [(leaf / "memory.oom.group").read_text() for leaf in leaves] == ["1", "1"]
    tree.adopt(Limits())
    assert [(leaf / "memory.max").read_text() for leaf in leaves] == ["max", "max"]
    assert [(leaf / "memory.oom.group").read_text() for leaf in leaves] == ["0", "0"]


def test_another_weight_is_given_to_who_is_there_and_none_is_the_kernels_own(
    kernel: Kernel, sleeper: int
) -> None:
    tree = opened()
    tree.place("olap-0", sleeper, 50)
    weight = kernel.base / f"olap-0.{sleeper}" / "cpu.weight"
    assert (tree.weigh("olap-0", 70), weight.read_text()) == (70, "70")
    assert (tree.weigh("olap-0", 0), weight.read_text()) == (0, "100")
    assert tree.weigh("olap-7", 70) == 0


def test_who_could_not_be_moved_into_its_leaf_has_no_weight_later_either(
    kernel: Kernel, sleeper: int
) -> None:
    tree = opened()
    kernel.refuses = {"cgroup.procs": errno.EBUSY}
    assert tree.place("olap-0", sleeper, 50) == 0
    assert tree.weigh("olap-0", 70) == 0


def test_the_end_of_a_worker_is_the_end_of_its_leaf_and_of_all_in_it(kernel: Kernel, sleeper: int) -> None:
    tree = opened()
    tree.place("olap-0", sleeper, 50)
    tree.kill("olap-0")
    assert not (kernel.base / f"olap-0.{sleeper}").exists()
    assert tree.leaf("olap-0") is None
    tree.kill("olap-0")
    tree.kill("olap-7")


def test_a_leaf_whose_dead_are_still_there_is_removed_at_the_next_occasion(
    kernel: Kernel, sleeper: int
) -> None:
    tree = opened()
    tree.place("olap-0", sleeper, 50)
    leaf = kernel.base / f"olap-0.{sleeper}"
    kernel.lingering = {leaf.name}
    tree.kill("olap-0")
    assert leaf.exists()
    assert (leaf / "cgroup.kill").read_text() == "1"
    kernel.lingering = set()
    tree.place("olap-1", os.getppid(), 50)
    assert not leaf.exists()


def test_a_successor_has_a_leaf_of_its_own_with_counters_at_zero(kernel: Kernel, sleeper: int) -> None:
    tree = opened()
    tree.place("olap-0", sleeper, 50)
    (kernel.base / f"olap-0.{sleeper}" / "memory.events").write_text("oom 1\noom_kill 1\n")
    assert tree.out_of_memory("olap-0")
    tree.kill("olap-0")
    tree.place("olap-0", os.getppid(), 50)
    assert not tree.out_of_memory("olap-0")
    assert not tree.out_of_memory("olap-1")


def test_at_the_end_everything_is_as_it_was(kernel: Kernel, sleeper: int) -> None:
    tree = opened()
    tree.place("olap-0", sleeper, 50)
    tree.close()
    assert [entry for entry in kernel.base.iterdir() if entry.is_dir()] == []
    assert kernel.members(kernel.base) == [str(os.getpid())]
    assert (kernel.base / "cgroup.subtree_control").read_text() == ""


def test_leaves_of_a_supervisor_that_was_killed_are_removed_and_nobody_elses(kernel: Kernel) -> None:
    for name in ("olap-3.4711", "realtime-0.4712", "somebody else's"):
        kernel.make(kernel.base / name)
    opened()
    assert {entry.name for entry in kernel.base.iterdir() if entry.is_dir()} == {
        "supervisor",
        "somebody else's",
    }


def test_where_a_controller_is_missing_the_rest_is_used(
    kernel: Kernel, sleeper: int, caplog: pytest.LogCaptureFixture
) -> None:
    (kernel.base / "cgroup.controllers").write_text("pids\n")
    with caplog.at_level(logging.INFO):
        tree = opened(Limits(memory_hard_mb=300))
    assert "without cpu and memory" in caplog.text
    assert tree.place("olap-0", sleeper, 50) == 0
    tree.kill("olap-0")
    tree.close()


@pytest.mark.parametrize("refused", ["cpu.weight", "memory.max", "cgroup.procs"])
def test_what_the_kernel_refuses_is_said_once_and_stops_nobody(
    kernel: Kernel, sleeper: int, caplog: pytest.LogCaptureFixture, refused: str
) -> None:
    tree = opened(Limits(memory_hard_mb=300))
    kernel.refuses[refused] = errno.EACCES
    with caplog.at_level(logging.INFO):
        caplog.clear()
        assert tree.place("olap-0", sleeper, 50) == 0
        assert tree.place("olap-1", sleeper, 50) == 0
    assert len(caplog.records) == 1
    assert refused in caplog.text
    kernel.refuses.clear()
    tree.close()


def test_a_tree_that_cannot_be_had_is_left_as_it_was(
    kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    kernel.refuses["cgroup.subtree_control"] = errno.EBUSY
    with caplog.at_level(logging.INFO):
        assert CgroupTree.open(Limits()) is None
    assert "cgroup.subtree_control: Device or resource busy" in caplog.text
    assert kernel.members(kernel.base) == [str(os.getpid())]
    assert not (kernel.base / "supervisor").exists()


def test_other_peoples_cgroups_are_not_touched(
    kernel: Kernel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def why() -> str:
        caplog.clear()
        with caplog.at_level(logging.INFO):
            assert CgroupTree.open(Limits()) is None
        assert kernel.members(kernel.base)[0] == str(os.getpid())
        assert not (kernel.base / "supervisor").exists()
        assert {record.levelno for record in caplog.records} == {logging.INFO}
        (record,) = caplog.records
        return record.getMessage()

    (kernel.base / "cgroup.procs").write_text(f"{os.getpid()}\n{os.getppid()}\n")
    assert "has other processes in it" in why()
    (kernel.base / "cgroup.procs").write_text(f"{os.getpid()}\n")
    (kernel.base / "cgroup.type").write_text("threaded\n")
    assert "is of type threaded" in why()
    (kernel.base / "cgroup.type").unlink()
    assert "the root cgroup" in why()
    (kernel.base / "cgroup.type").write_text("domain\n")
    with monkeypatch.context() as patched:
        patched.setattr(cgroups, "_SYSTEMD_RUNS", tmp_path)
        # Root may write everywhere: there it is systemd's mark that counts.
        patched.setattr(os, "getuid", lambda: 0)
        assert "systemd has not delegated" in why()
    with monkeypatch.context() as patched:
        patched.setattr(os, "access", lambda *_arguments: False)
        assert "is not writable" in why()
    monkeypatch.setattr(cgroups, "own_cgroup", lambda: None)
    assert "there is no cgroup v2 here" in why()


def test_what_systemd_has_delegated_is_ours(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "_SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(os, "getxattr", lambda _path, name: b"1" if name == "user.delegate" else b"")
    opened()


def test_a_kernel_without_cgroup_kill_kills_one_by_one(kernel: Kernel) -> None:
    tree = opened()
    with subprocess.Popen(["sleep", "600"]) as process:
        tree.place("olap-0", process.pid, 50)
        (kernel.base / f"olap-0.{process.pid}" / "cgroup.kill").unlink()
        tree.kill("olap-0")
        assert process.wait(_DEADLINE_S) == -9


@pytest.mark.parametrize(
    ("own", "mounts", "found"),
    [
        ("0::/a.slice/b.service", ["/ /sys/fs/cgroup cgroup2"], "/sys/fs/cgroup/a.slice/b.service"),
        ("0::/", ["/ /sys/fs/cgroup cgroup2"], "/sys/fs/cgroup"),
        ("2:cpu:/x\n0::/a", ["/ /sys/fs/cgroup/cpu cgroup", "/ /sys/fs/cgroup/unified cgroup2"], "unified/a"),
        ("0::/docker/1234", ["/docker/1234 /sys/fs/cgroup cgroup2"], "/sys/fs/cgroup"),
        ("0::/docker/1234/x", ["/docker/1234 /sys/fs/cgroup cgroup2"], "/sys/fs/cgroup/x"),
        ("0::/docker/12345", ["/docker/1234 /sys/fs/cgroup cgroup2"], None),
        ("0::/a", ["/ /mnt/c\\040g cgroup2"], "/mnt/c g/a"),
        ("0::/../other", ["/ /sys/fs/cgroup cgroup2"], None),
        ("2:cpu:/x", ["/ /sys/fs/cgroup cgroup2"], None),
        ("0::/a", ["/ /sys/fs/cgroup tmpfs"], None),
    ],
)
def test_where_our_own_cgroup_is(tmp_path: Path, own: str, mounts: list[str], found: str | None) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text(own + "\n")
    lines = []
    for mount in mounts:
        root, point, kind = mount.split()
        lines.append(f"30 23 0:26 {root} {point} rw,nosuid shared:4 - {kind} {kind} rw\n")
    (tmp_path / "self/mountinfo").write_text("".join(lines))
    place = own_cgroup(tmp_path)
    assert (place is None) if found is None else str(place).endswith(found)


def test_without_proc_there_is_no_cgroup(tmp_path: Path) -> None:
    assert own_cgroup(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [("low 0\noom 2\noom_kill 3\noom_group_kill 1\n", 3), ("", None), ("oom_kill\n", None), (None, None)],
)
def test_the_kernels_count_of_kills(tmp_path: Path, text: str | None, found: int | None) -> None:
    if text is not None:
        (tmp_path / "memory.events").write_text(text)
    assert oom_kills(tmp_path) == found


# -- the kernel's own -----------------------------------------------------------------------------------

REAL = """
import json, os, pathlib, subprocess, sys, time
from supervisor.host.cgroup import CgroupTree
from supervisor.contract.settings import Limits
from supervisor.host.guardian import Guardian
from supervisor.host.loop import Loop

base = pathlib.Path(sys.argv[1])
(base / "cgroup.procs").write_text(str(os.getpid()))
loop = Loop()
guardian = Guardian(loop)
tree = CgroupTree.open(Limits())

def worker():
    "It starts a daemon, in a session of its own, out of reach of its group."
    started = subprocess.Popen(
        ["sh", "-c", "read go; setsid sh -c 'echo $$; exec sleep 600' & wait"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0,
    )
    return started

first, second = worker(), worker()
daemons = []
for number, process in enumerate((first, second)):
    tree.place(f"olap-{number}", process.pid, 50)
    guardian.guard(process.pid, tree.leaf(f"olap-{number}"))
    process.stdin.write("go\\n"); process.stdin.flush()
    daemons.append(int(process.stdout.readline()))
leaves = sorted(entry.name.split(".")[0] for entry in base.iterdir() if entry.is_dir())
watched = os.pidfd_open(daemons[0])
first.kill(); first.wait()
tree.kill("olap-0")
import select
select.select([watched], [], [], 30)
print(json.dumps({"leaves": leaves, "daemon": daemons[1],
                  "in its leaf": (tree.leaf("olap-1") / "cgroup.procs").read_text().split()}), flush=True)
if sys.stdin.readline().strip() == "close":
    tree.close()
    guardian.close()
    print(json.dumps(sorted(entry.name for entry in base.iterdir() if entry.is_dir())), flush=True)
"""


@pytest.fixture
def delegated() -> Iterator[Path]:
    """A cgroup of our own for the length of a test, where we may make one."""
    own = own_cgroup()
    if own is None:
        pytest.skip("no cgroup v2 is mounted here")
    if Path("/run/systemd/system").exists():
        pytest.skip("the tree is systemd's")
    base = own / f"kafka-supervisor-test-{secrets.token_hex(4)}"
    try:
        base.mkdir()
        (base / "cgroup.kill").stat()
    except OSError as error:
        pytest.skip(f"no cgroup can be made, or none that can be killed: {error}")
    yield base
    (base / "cgroup.kill").write_text("1")
    for leaf in [*(entry for entry in base.iterdir() if entry.is_dir()), base]:
        deadline = time.monotonic() + _DEADLINE_S
        while not removed(leaf):  # until the kernel has done with the dead in it
            assert time.monotonic() < deadline, leaf


def removed(leaf: Path) -> bool:
    try:
        leaf.rmdir()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("end", ["close", "kill"])
def test_a_daemon_that_left_its_group_does_not_leave_its_cgroup(delegated: Path, end: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", REAL, str(delegated)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        found = json.loads(line)
        assert found["leaves"] == ["olap-0", "olap-1", "supervisor"]
        assert str(found["daemon"]) in found["in its leaf"]
        watched = os.pidfd_open(found["daemon"])
        if end == "kill":
            process.kill()  # the guardian knows the leaf
        else:
            process.stdin.write("close\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline()) == []
        assert wait([watched], _DEADLINE_S)
        os.close(watched)
