"""Who goes first on a busy machine: the supervisor, where it may."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = "import os; print(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))"
STEPS = f"""
import os, subprocess, sys, threading
from supervisor.host import priority

os.nice({{chosen}})
priority.step_ahead()
def say():
    print(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.getpriority(os.PRIO_PROCESS, 0), flush=True)
say()
subprocess.run([sys.executable, "-c", "{CHILD}"])
thread = threading.Thread(target=say)
thread.start()
thread.join()
"""
RAISE = """
import os
os.setpriority(os.PRIO_PROCESS, 0, -1)
os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )


def permitted() -> bool:
    return run(RAISE).returncode == 0


def test_the_supervisor_steps_ahead_where_it_may_and_nothing_that_it_starts_inherits_that() -> None:
    ahead = f"{os.SCHED_RR} -10" if permitted() else f"{os.SCHED_OTHER} 0"
    done = run(STEPS.format(chosen=0))
    assert done.stdout.splitlines() == [ahead, f"{os.SCHED_OTHER} 0", f"{os.SCHED_OTHER} 0"], done.stderr


@pytest.mark.parametrize("chosen", [1, 19])
def test_a_priority_that_somebody_chose_stays(chosen: int) -> None:
    assert run(STEPS.format(chosen=chosen)).stdout.splitlines() == [f"{os.SCHED_OTHER} {chosen}"] * 3


@pytest.mark.parametrize("refused", ["setpriority", "sched_setscheduler"])
def test_what_is_refused_is_done_without(refused: str) -> None:
    done = run(
        f"""
import os
from supervisor.host import priority

def refuse(*arguments):
    raise PermissionError(1, "Operation not permitted")

os.{refused} = refuse
priority.step_ahead()
"""
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_supervisor_that_only_turns_does_not_keep_a_cpu_from_everybody() -> None:
    if not permitted():
        pytest.skip("nobody steps ahead here: the system does not permit it")
    done = run(
        """
import os
from supervisor.host import priority

priority.step_ahead()
while os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR:
    pass
print(os.getpriority(os.PRIO_PROCESS, 0))
"""
    )
    assert done.stdout == "-10\n", done.stderr


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
