"""`supervisor start` as PID 1, as in a container: signals arrive, and no zombie stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from supervisor.contract.exits import Exit
from tests.procfs import in_masks, pids_inside
from tests.troupe import Troupe

_NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


class Container(Troupe):
    """Process numbers on the board and in the lock are those of its namespace."""

    def start(self, *arguments: str, run_dir: str = "run") -> None:
        self._run_dir = self.directory / run_dir
        command = [sys.executable, "-m", "supervisor", "start", "--config", str(self._config), *arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*_NAMESPACE, *command], env=self.environment, stdout=log, stderr=log
            )

    def _pid(self) -> int:
        return 1

    def init(self) -> psutil.Process:
        """The supervisor, as we see it from outside."""
        assert self.process is not None
        (child,) = psutil.Process(self.process.pid).children()
        return child

    def signal(self, number: signal.Signals, inside: int = 1) -> None:
        """Signal the process that is ``inside`` in there."""
        for process in [self.init(), *self.init().children(recursive=True)]:
            if pids_inside(process.pid)[-1] == inside:
                os.kill(process.pid, number)
                return
        raise AssertionError(f"there is no process {inside}")

    def zombies(self) -> list[psutil.Process]:
        found = []
        for process in self.init().children(recursive=True):
            try:
                if process.status() == psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.NoSuchProcess:
                pass
        return found


@pytest.fixture
def contained() -> Iterator[Callable[..., Container]]:
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here")
    tried = subprocess.run([*_NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"unshare is refused: {tried.stderr.strip()}")
    made: list[Container] = []

    def contained(script: dict[str, Any] | None = None, toml: str = "") -> Container:
        made.append(Container(script, toml=toml))
        return made[-1]

    yield contained
    for container in made:
        container.close()


def test_what_a_killed_worker_leaves_behind_is_killed_and_collected(
    contained: Callable[..., Container],
) -> None:
    """The grandchild's parent is dead when it dies: nobody but PID 1 can collect it."""
    container = contained({"olap-1": {"then": "grandchild", "times": 1}})
    board = container.serving()
    note = container.run_dir / "olap-1.grandchild"
    container.wait(lambda: note.exists() and note.read_text() != "", "there is a grandchild")
    seat = container.seat(board, "olap-1")
    worker = seat.pid
    (grandchild,) = (
        process for process in container.init().children(recursive=True) if "sleep" in process.cmdline()[-1]
    )
    container.signal(signal.SIGKILL, inside=worker)
    container.wait_replaced(seat, worker)
    # With its parent gone it is a child of PID 1, dead, and then no more.
    container.wait(lambda: not psutil.pid_exists(grandchild.pid), "the grandchild is collected", 5)
    container.wait(lambda: container.zombies() == [], "nobody is a zombie", 5)
    assert [death["exit_code"] for death in container.deaths()] == [-signal.SIGKILL], "nobody else is blamed"


def test_every_signal_has_its_meaning(contained: Callable[..., Container]) -> None:
    """Without a handler the kernel drops a signal to PID 1."""
    container = contained()
    board = container.serving("--olap-workers", "2")
    container.signal(signal.SIGTTIN)
    third = container.seat(board, "olap-2")
    container.wait(lambda: third.owned_ns != 0, "there is a third worker")
    container.signal(signal.SIGTTOU)
    container.wait(lambda: third.pid == 0, "it has gone again")
    log = container.run_dir / "log" / "supervisor.log"
    log.rename(log.with_suffix(".moved"))
    container.signal(signal.SIGUSR1)
    container.wait(log.exists, "there is a new log file")
    first = container.seat(board, "olap-0")
    generation = first.generation
    container.configure('log.level = "debug"')
    container.signal(signal.SIGHUP)
    container.wait(lambda: first.generation > generation, "it has been reloaded")
    container.signal(signal.SIGTERM)
    assert container.process is not None
    assert container.process.wait(60) == Exit.OK
    assert container.logged("draining")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_quick_stop_is_one(contained: Callable[..., Container], number: signal.Signals) -> None:
    container = contained(toml="realtime.enabled = false")
    container.serving("--olap-workers", "1")
    container.signal(number)
    assert container.process is not None
    assert container.process.wait(60) == Exit.OK


_PAUSED_AMID_ITS_START = """
import pathlib, sys, time

class Pause:
    def find_spec(self, name, path=None, target=None):
        if name == "supervisor.supervision":
            here = pathlib.Path(__file__).parent
            (here / "begun").touch()
            while not (here / "go").exists():
                time.sleep(0.005)

sys.meta_path.insert(0, Pause())
"""


def test_a_stop_right_after_the_start_is_not_lost(contained: Callable[..., Container]) -> None:
    """`docker stop` would wait for its whole grace period, and then kill."""
    container = contained()
    # The moment between its first step and its handlers is too short to be met by looking.
    (container.directory / "sitecustomize.py").write_text(_PAUSED_AMID_ITS_START)
    container.environment["PYTHONPATH"] += f"{os.pathsep}{container.directory}"
    container.start()
    container.wait((container.directory / "begun").exists, "it has begun")
    assert in_masks(container.init().pid, signal.SIGTERM, "SigBlk") == [True], "it holds signals back"
    container.signal(signal.SIGTERM)
    (container.directory / "go").touch()
    assert container.process is not None
    assert container.process.wait(60) == Exit.OK


def test_it_can_be_stopped_from_outside_where_its_pid_is_another_process(
    contained: Callable[..., Container],
) -> None:
    """Its lock says 1, and here that is the init of the machine."""
    container = contained()
    container.serving()
    assert container.process is not None
    answer = container.run("stop")
    assert answer.returncode == Exit.OK, answer.stderr
    assert answer.stdout == "stopped (pid 1)\n"
    assert container.process.wait(10) == Exit.OK
