"""What a worker process does to itself before it works: with real processes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.contract.board import Board
from supervisor.contract.exits import WorkerExit

TAKE_PLACE = """
import multiprocessing, os, pathlib, sys, tempfile
import setproctitle  # now: the unprivileged user may not be let into the directory it lies in
from supervisor.contract.board import Board
from supervisor.contract.messages import Serve
from supervisor.contract.settings import Settings
from workers.main import _announce, _take_place
from workers.pipe import Pipe
board = Board.create(pathlib.Path(tempfile.mkdtemp()) / "board", workers=1, partitions=1)
os.nice(int(sys.argv[1]))
if len(sys.argv) > 3:
    os.setgid(65534); os.setuid(65534)
one = min(os.sched_getaffinity(0))
serve = Serve("olap", 0, (0,), (one,), int(sys.argv[2]))
def show():
    print(os.getpriority(os.PRIO_PROCESS, 0), len(os.sched_getaffinity(0)))
_take_place(serve, Settings(), board.worker(0))
show()
ours, theirs = multiprocessing.Pipe()
_announce(serve, Pipe(ours))
show()
"""


def niceness(before: int, wanted: int, *unprivileged: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", TAKE_PLACE, str(before), str(wanted), *unprivileged],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("wanted", [0, 10, 19])
def test_a_worker_takes_its_cpus_at_once_and_steps_back_once_its_partitions_are_owned(wanted: int) -> None:
    ours = os.getpriority(os.PRIO_PROCESS, 0)  # of whoever runs the tests
    assert niceness(0, wanted) == [f"{max(ours, 0)} 1", f"{max(ours, wanted)} 1"]


def test_a_supervisor_that_was_made_nicer_than_its_workers_does_not_make_them_crash() -> None:
    """`nice -n 15 supervisor start`: raising the priority again takes a privilege that nobody has."""
    privileged = os.geteuid() == 0
    nicer = min(os.getpriority(os.PRIO_PROCESS, 0) + 15, 19)
    found = niceness(15, 10, *(["unprivileged"] if privileged else []))
    assert found == [f"{max(nicer, 0)} 1", f"{max(nicer, 10)} 1"]


END = """
import multiprocessing, os, pathlib, sys, tempfile
from supervisor.contract.board import Board
from supervisor.contract.messages import Serve, encode
from supervisor.contract.settings import Settings
from workers import roles
from workers.main import run

class Role:
    rest_s = 0.0
    def open(self): ...
    def step(self):
        raise {error}
    def drain(self): ...

roles.build = lambda *arguments: Role()
board = Board.create(pathlib.Path(tempfile.mkdtemp()) / "board", workers=1, partitions=1)
ours, theirs = multiprocessing.Pipe()
ours.send_bytes(encode(Serve("olap", 0, (0,), (), 0)))
run(0, str(board.path), theirs, Settings(), os.getppid())
"""


@pytest.mark.parametrize("error", ["BrokenPipeError", "EOFError", "ConnectionResetError"])
def test_a_pipe_that_breaks_in_the_work_is_no_sign_of_a_supervisor_that_is_gone(error: str) -> None:
    """The reader of a sink, the pipeline's own connection: a crash, whose traceback says where."""
    done = subprocess.run(
        [sys.executable, "-c", END.format(error=error)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == WorkerExit.CRASH
    assert error in done.stderr
    assert "in step" in done.stderr


FLOOD = """
import logging, multiprocessing, os, pathlib, sys
from supervisor.contract.board import Board
from supervisor.contract.messages import Serve, Stop, encode
from supervisor.contract.settings import Settings
from workers import roles
from workers.main import run

class Role:
    rest_s = 0.0
    def open(self): ...
    def step(self):
        for number in range(3000):
            logging.getLogger("x").warning("line %d of what nobody reads %s", number, "x" * 200)
        print("printed" * 20_000)
    def drain(self): ...

roles.build = lambda *arguments: Role()
board = Board.create(pathlib.Path(sys.argv[1]) / "board", workers=1, partitions=1)
ours, theirs = multiprocessing.Pipe()
ours.send_bytes(encode(Serve("olap", 0, (0,), (), 0)))
ours.send_bytes(encode(Stop(10)))
run(0, str(board.path), theirs, Settings(), os.getppid())
"""


REOPEN = """
import logging, multiprocessing, os, pathlib, sys
from supervisor.contract.board import Board
from supervisor.contract.messages import Reopen, Serve, Stop, encode
from supervisor.contract.settings import Settings
from workers import roles
from workers.main import run

log = pathlib.Path(sys.argv[1]) / "log" / "olap-0.log"

class Role:
    rest_s = 0.0
    steps = 0
    def open(self): ...
    def step(self):
        self.steps += 1
        logging.getLogger("x").warning("step %d", self.steps)
        if self.steps == 1:
            log.rename(log.with_name("moved"))
            ours.send_bytes(encode(Reopen()))
        if self.steps == 2:
            ours.send_bytes(encode(Stop(10)))
    def reopen(self):
        print("reopened after step", self.steps)
    def drain(self): ...

roles.build = lambda *arguments: Role()
board = Board.create(pathlib.Path(sys.argv[1]) / "board", workers=1, partitions=1)
ours, theirs = multiprocessing.Pipe()
ours.send_bytes(encode(Reopen()))
ours.send_bytes(encode(Serve("olap", 0, (0,), (), 0)))
run(0, str(board.path), theirs, Settings(), os.getppid())
"""


def test_told_that_its_log_was_moved_a_worker_opens_a_new_one_and_goes_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REOPEN, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == WorkerExit.OK, done.stderr
    said = {
        name: [json.loads(line)["message"] for line in (tmp_path / "log" / name).read_bytes().splitlines()]
        for name in ("moved", "olap-0.log")
    }
    assert said["moved"][-1] == "step 1"
    assert said["olap-0.log"] == ["reopened after step 1", "step 2"]


def test_a_worker_whose_standard_error_nobody_reads_serves_and_drains_as_ever(tmp_path: Path) -> None:
    """A full pipe is what supervisord #240 and a stopped container runtime leave a worker with."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    done = subprocess.run(
        [sys.executable, "-c", FLOOD, str(tmp_path)], stdout=writer, stderr=writer, check=False, timeout=60
    )
    os.close(writer)
    os.close(reader)
    assert done.returncode == WorkerExit.OK
    found = [json.loads(line) for line in (tmp_path / "log" / "olap-0.log").read_bytes().splitlines()]
    assert sum("of what nobody reads" in line["message"] for line in found) == 3000
    assert sum(line["message"].startswith("standard error takes no more lines") for line in found) == 1
    board = Board.open(tmp_path / "board")
    assert board.worker(0).log_dropped > 0
