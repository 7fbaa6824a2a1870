"""One supervisor per run directory, held by the kernel: with real processes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.contract.faults import AlreadyRunning, Fault
from supervisor.host import instance
from tests.procfs import open_below

HOLD = (
    "import pathlib, sys; from supervisor.host import instance\n"
    "claim = instance.claim(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()\n"
)
RACE = (
    "import pathlib, sys; from supervisor.host import instance\n"
    "from supervisor.contract.faults import AlreadyRunning\n"
    "print('ready', flush=True); sys.stdin.readline()\n"
    "try:\n    claim = instance.claim(pathlib.Path(sys.argv[1])); print('held', flush=True)\n"
    "except AlreadyRunning:\n    print('refused', flush=True)\n"
    "sys.stdin.read()\n"
)

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_nobody_holds_a_directory_that_was_never_claimed(tmp_path: Path) -> None:
    assert instance.holder(tmp_path) is None
    assert instance.holder(tmp_path / "missing") is None


def test_the_second_is_refused_and_told_who_is_first(tmp_path: Path, start: Start) -> None:
    first = start(HOLD)
    assert says(first) == "held"
    with pytest.raises(AlreadyRunning, match=f"pid {first.pid}"):
        instance.claim(tmp_path)
    assert instance.holder(tmp_path) == first.pid


def test_being_refused_takes_nothing_from_the_first(tmp_path: Path, start: Start) -> None:
    first = start(HOLD)
    says(first)
    for _ in range(3):
        with pytest.raises(AlreadyRunning, match=f"pid {first.pid}"):
            instance.claim(tmp_path)
    assert open_below(tmp_path) == []


def test_the_lock_of_a_killed_holder_is_free_though_its_file_is_there(tmp_path: Path, start: Start) -> None:
    first = start(HOLD)
    says(first)
    first.kill()
    first.wait()
    assert (tmp_path / "lock").read_text() == f"{first.pid} {instance._namespace()}\n"
    assert instance.holder(tmp_path) is None
    claim = instance.claim(tmp_path)
    assert instance.holder(tmp_path) == os.getpid()
    claim.close()


def test_a_longer_pid_left_in_the_file_does_not_mix_with_the_new_one(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("12345678901234567890\n")
    claim = instance.claim(tmp_path)
    assert instance.holder(tmp_path) == os.getpid()
    claim.close()


def test_of_several_at_once_exactly_one_gets_it(start: Start) -> None:
    racers = [start(RACE) for _ in range(4)]
    assert [says(racer) for racer in racers] == ["ready"] * 4
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    assert sorted(says(racer) for racer in racers) == ["held", "refused", "refused", "refused"]


def test_asking_who_holds_it_never_keeps_anybody_from_claiming(tmp_path: Path, start: Start) -> None:
    """A question that took the lock for a moment would let some of these claims fail."""
    code = (
        "import pathlib, sys; from supervisor.host import instance\n"
        "print('asking', flush=True)\n"
        "while True: instance.holder(pathlib.Path(sys.argv[1]))\n"
    )
    instance.holder(tmp_path)
    instance.claim(tmp_path).close()
    asker = start(code)
    assert says(asker) == "asking"
    for _ in range(1_000):
        instance.claim(tmp_path).close()
    assert asker.poll() is None


def test_asking_within_the_holder_itself_does_not_give_the_lock_up(tmp_path: Path) -> None:
    """A classic POSIX lock is lost when its process closes any descriptor of the file."""
    claim = instance.claim(tmp_path)
    assert instance.holder(tmp_path) == os.getpid()
    with pytest.raises(AlreadyRunning):
        instance.claim(tmp_path)
    claim.close()
    assert instance.holder(tmp_path) is None


def test_a_child_of_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    claim = instance.claim(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        close_fds=False,
    ) as child:
        assert says(child) == "up"
        claim.close()
        assert instance.holder(tmp_path) is None


@pytest.mark.parametrize("content", ["", "no pid\n", "-5\n", "\x00\xff"])
def test_a_held_lock_without_a_readable_pid_is_still_held(tmp_path: Path, content: str) -> None:
    claim = instance.claim(tmp_path)
    (tmp_path / "lock").write_text(content)
    assert instance.holder(tmp_path) is None
    with pytest.raises(AlreadyRunning, match="pid unknown"):
        instance.claim(tmp_path)
    claim.close()


def test_a_lock_that_cannot_be_opened_is_a_fault_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(Fault, match="Is a directory"):
        instance.claim(tmp_path)
    with pytest.raises(Fault, match="Is a directory"):
        instance.holder(tmp_path)


def test_who_is_in_another_pid_namespace_is_known_to_be(tmp_path: Path) -> None:
    """Its pid is somebody else's here: in a container it is 1, and here that is the machine's init."""
    claim = instance.claim(tmp_path)
    assert not instance.elsewhere(tmp_path)
    (tmp_path / "lock").write_text("1 pid:[1]\n")
    assert instance.elsewhere(tmp_path)
    assert instance.holder(tmp_path) == 1
    claim.close()


def test_a_lock_of_an_earlier_version_is_taken_for_one_of_this_namespace(tmp_path: Path) -> None:
    claim = instance.claim(tmp_path)
    (tmp_path / "lock").write_text(f"{os.getpid()}\n")
    assert not instance.elsewhere(tmp_path)
    claim.close()


def test_the_directory_is_spared_by_those_who_sweep_what_is_old(tmp_path: Path) -> None:
    """systemd-tmpfiles takes an exclusive BSD lock of a directory before it looks into it (tmpfiles.d(5))."""
    sweeper = os.open(tmp_path, os.O_RDONLY)
    claim = instance.claim(tmp_path)
    with pytest.raises(BlockingIOError):
        fcntl.flock(sweeper, fcntl.LOCK_EX | fcntl.LOCK_NB)
    claim.close()
    fcntl.flock(sweeper, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(sweeper)
