"""What keeps one Kafka for all test processes ends with the run, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from shared_cluster import ADDRESS

TESTS = Path(__file__).parents[1]
RUN = f"""
import os, sys
sys.path.insert(0, {str(TESTS)!r})
from shared_cluster import ADDRESS, Keeper
keeper = Keeper()
print(keeper.pid, os.environ[ADDRESS], flush=True)
sys.stdin.read()
keeper.close()
"""


@pytest.mark.parametrize("ends", ["by itself", "by a signal", "by a kill"])
def test_the_keeper_goes_with_whoever_started_it_and_leaves_nothing(ends: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != ADDRESS}
    run = subprocess.Popen(
        [sys.executable, "-c", RUN],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with run:
        assert run.stdout is not None
        pid, address = run.stdout.readline().split()
        keeper = psutil.Process(int(pid))
        assert Path(address).exists()
        if ends == "by a signal":
            run.send_signal(signal.SIGINT)
        elif ends == "by a kill":
            run.kill()
    assert keeper.wait(60) in (0, None)
    assert not Path(address).parent.exists()
