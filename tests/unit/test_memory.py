"""Memory of a process, and deaths for want of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psutil
import pytest

from supervisor.host.memory import OomKills, rss_bytes


def test_the_resident_memory_of_a_process_is_what_the_system_says() -> None:
    with subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL) as process:
        # Exec is under way until Popen returns; what the loader maps after that is a few pages.
        found = rss_bytes(process.pid)
        assert found is not None
        assert abs(found - psutil.Process(process.pid).memory_info().rss) < 8 * 2**20
        process.kill()


def test_it_grows_with_what_is_used() -> None:
    before = rss_bytes(os.getpid())
    hoard = bytearray(b"x") * (64 * 2**20)
    after = rss_bytes(os.getpid())
    assert before is not None
    assert after is not None
    assert after - before > 0.9 * len(hoard)


def test_a_process_that_is_gone_or_dead_has_none() -> None:
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert rss_bytes(process.pid) is None, "a zombie is no small process"
    assert rss_bytes(process.pid) is None
    assert rss_bytes(2**22 + 1) is None


class Cgroup:
    """The kernel's count, and a clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 0.0
        self.count(0)
        self.kills = OomKills(path, lambda: self.now)

    def count(self, kills: int) -> None:
        (self.path / "memory.events").write_text(f"low 0\noom {kills}\noom_kill {kills}\n")


@pytest.fixture
def cgroup(tmp_path: Path) -> Cgroup:
    return Cgroup(tmp_path)


def test_a_death_as_the_count_grows_is_for_want_of_memory_and_the_next_one_is_not(cgroup: Cgroup) -> None:
    assert not cgroup.kills.claim()
    cgroup.count(1)
    assert cgroup.kills.claim()
    assert not cgroup.kills.claim()


def test_two_kills_are_two_deaths(cgroup: Cgroup) -> None:
    cgroup.count(2)
    assert [cgroup.kills.claim() for _ in range(3)] == [True, True, False]


def test_a_kill_of_long_ago_which_no_worker_died_of_is_not_claimed(cgroup: Cgroup) -> None:
    """It was a grandchild; the worker that somebody kills a minute later was not out of memory."""
    cgroup.count(1)
    cgroup.kills.look()
    cgroup.now = 60.0
    assert not cgroup.kills.claim()
    cgroup.count(2)
    assert cgroup.kills.claim()


def test_kills_before_the_supervisor_started_are_not_its_workers(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("oom_kill 7\n")
    assert not OomKills(tmp_path).claim()


@pytest.mark.parametrize("mounted", [True, False])
def test_where_the_kernel_does_not_say_nothing_is_claimed(tmp_path: Path, mounted: bool) -> None:
    assert not OomKills(tmp_path if mounted else None).claim()


def test_asking_for_our_own_cgroup_raises_nothing_anywhere() -> None:
    assert not OomKills.of_this_process().claim()
