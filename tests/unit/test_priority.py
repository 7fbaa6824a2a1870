"""Who goes first on a busy machine: the supervisor, where it may."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STEPS = """
import os
from supervisor.host import priority

def found():
    return os.getpriority(os.PRIO_PROCESS, 0)

os.nice({chosen})
priority.step_ahead()
ahead = found()
priority.step_back()
print(ahead, found())
"""
RAISE = "import os; os.setpriority(os.PRIO_PROCESS, 0, -1)"


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )


def permitted() -> bool:
    return run(RAISE).returncode == 0


def test_the_supervisor_steps_ahead_where_it_may_and_a_worker_back() -> None:
    assert run(STEPS.format(chosen=0)).stdout.split() == ["-10" if permitted() else "0", "0"]


@pytest.mark.parametrize("chosen", [1, 19])
def test_a_priority_that_somebody_chose_stays(chosen: int) -> None:
    assert run(STEPS.format(chosen=chosen)).stdout.split() == [str(chosen)] * 2


def test_a_worker_of_a_supervisor_that_is_ahead_starts_at_its_own_priority() -> None:
    if not permitted():
        pytest.skip("nobody steps ahead here: the system does not permit it")
    done = run(
        """
import multiprocessing, os, pathlib, tempfile
from supervisor.contract.board import Board
from supervisor.contract.messages import Serve, Stop, encode
from supervisor.contract.settings import Settings
from supervisor.host import priority
from workers import roles
from workers.main import run

class Role:
    rest_s = 0.0
    def open(self):
        os.write(1, b"%d " % os.getpriority(os.PRIO_PROCESS, 0))
    def step(self): ...
    def drain(self):
        os.write(1, b"%d" % os.getpriority(os.PRIO_PROCESS, 0))

roles.build = lambda *arguments: Role()
priority.step_ahead()
board = Board.create(pathlib.Path(tempfile.mkdtemp()) / "board", workers=1, partitions=1)
ours, theirs = multiprocessing.Pipe()
ours.send_bytes(encode(Serve("olap", 0, (0,), (), 7)))
ours.send_bytes(encode(Stop(10)))
run(0, str(board.path), theirs, Settings(), os.getppid())
"""
    )
    assert done.stdout.split() == ["0", "7"], done.stderr


# -- sessions -------------------------------------------------------------------------------------------

GIVE_WAY = """
import os
from supervisor.host import priority

before = priority.session_nice()
print(priority.give_way(19), priority.session_nice() == before)
os.setsid()
while not priority.give_way(7):  # without privileges, one in a tenth of a second
    pass
print(priority.session_nice())
"""


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="no autogroups here")
def test_only_a_session_of_ones_own_is_made_to_give_way() -> None:
    assert run(GIVE_WAY).stdout.split() == ["False", "True", "7"]


def test_a_child_is_set_back_while_it_still_imports_and_one_that_has_ended_is_no_error() -> None:
    if not permitted():
        pytest.skip("nobody steps ahead here: the system does not permit it")
    done = run(
        """
import os, subprocess
from supervisor.host import priority

priority.step_ahead()
child = subprocess.Popen(["sleep", "60"])
before = os.getpriority(os.PRIO_PROCESS, child.pid)
priority.step_back(child.pid)
print(before, os.getpriority(os.PRIO_PROCESS, child.pid))
child.kill()
child.wait()
priority.step_back(child.pid)
"""
    )
    assert done.stdout.split() == ["-10", "0"], done.stderr
