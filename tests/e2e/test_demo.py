"""``supervisor demo`` as a user runs it: its verdict, and that nothing is left however it ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from installation import PATIENCE_S

GONE_S = ENDS_S = PATIENCE_S


class Running:
    """A demo with a temporary directory of its own, and every process that was ever seen below it."""

    def __init__(self, *arguments):
        # Not pytest's directory: the path of a unix socket has room for 107 bytes.
        self.parent = Path(tempfile.mkdtemp(prefix="ks-"))
        self.family = set()
        self.start(*arguments)

    def start(self, *arguments):
        self.progress = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "supervisor", "demo", "--json", *arguments],
            env={**os.environ, "TMPDIR": str(self.parent)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.family.add(psutil.Process(self._process.pid))

    def read_until(self, text):
        """Read progress up to the line that contains ``text``."""
        for line in self._process.stderr:
            self.progress.append(line)
            self.look()
            if text in line:
                return
        raise AssertionError(f"it ended without {text!r}: {self.progress}")

    def look(self):
        """Note all processes that there are below the demo."""
        children = psutil.Process(self._process.pid).children(recursive=True)
        self.family.update(children)
        return children

    def signal(self, number):
        self._process.send_signal(number)

    def hang_up(self):
        """Nobody reads what it says any more."""
        self._process.stderr.close()
        self._process.stderr = None

    def end(self):
        """Its exit code and what it printed, once it has ended by itself."""
        output, errors = self._process.communicate(timeout=ENDS_S)
        self.progress.append(errors or "")
        return self._process.returncode, output

    def left(self):
        """Those that are still there after :data:`GONE_S`."""
        return psutil.wait_procs(self.family, timeout=GONE_S)[1]

    def close(self):
        self._process.kill()
        self._process.communicate()
        for process in self.left():
            process.kill()
        shutil.rmtree(self.parent, ignore_errors=True)


@pytest.fixture
def demo():
    running = []

    def demo(*arguments):
        running.append(Running(*arguments))
        return running[-1]

    yield demo
    for each in running:
        each.close()


def test_every_event_is_accounted_for_though_a_worker_is_killed_and_nothing_is_left(demo):
    running = demo("--duration", "10", "--rate", "200", "--bad", "2%")
    running.read_until("output again")
    code, output = running.end()

    summary = json.loads(output)
    assert code == 0, running.progress
    assert summary["outcome"] == "passed"
    assert (summary["lost"], summary["duplicated"], summary["findings"]) == (0, 0, [])
    assert summary["aggregates_agree"] is True
    # At least the rate that the generator could hold on a busy machine; all that was acknowledged is there.
    assert 200 < summary["acknowledged"] <= summary["events_in"]
    assert summary["dead_letters"] > 0
    assert summary["events_in"] == summary["events_out"] + summary["dead_letters"]
    gap = summary["gap"]
    assert 0 < gap["noticed_ms"] < gap["owned_ms"] < gap["committed_ms"]
    assert summary["restarts"] >= 1
    assert gap["pid"] in {process.pid for process in running.family}
    assert sum(summary["regions"].values()) == summary["events_out"]
    # Three brokers, supervisor, probe, real-time worker, four OLAP workers, spare, generator.
    assert len(running.family) > 12
    assert running.left() == []
    assert list(running.parent.iterdir()) == []


def test_ctrl_c_at_its_first_line_ends_it_at_once_with_130_and_nothing_is_left(demo):
    running = demo()
    running.read_until("begins")
    running.signal(signal.SIGINT)
    code, output = running.end()

    assert code == 128 + signal.SIGINT
    assert json.loads(output)["outcome"] == "interrupted"
    assert running.left() == []
    assert list(running.parent.iterdir()) == []


def test_ctrl_c_while_events_are_generated_takes_everything_down(demo):
    running = demo()
    running.read_until("generating 500")
    assert len(running.look()) > 8
    running.signal(signal.SIGINT)
    code, output = running.end()

    summary = json.loads(output)
    assert code == 128 + signal.SIGINT
    assert (summary["outcome"], summary["lost"]) == ("interrupted", None)
    assert running.left() == []
    assert list(running.parent.iterdir()) == []


def test_killed_it_takes_everything_with_it_and_the_next_one_removes_its_directory(demo):
    running = demo()
    running.read_until("generating 500")
    assert len(running.look()) > 8
    running.signal(signal.SIGKILL)
    assert running.end()[0] == -signal.SIGKILL
    assert running.left() == []
    (abandoned,) = running.parent.iterdir()

    running.start()
    running.read_until("starting 3 brokers")
    running.signal(signal.SIGINT)
    assert running.end()[0] == 128 + signal.SIGINT
    assert not abandoned.exists()
    assert list(running.parent.iterdir()) == []


def test_a_reader_that_goes_away_ends_it_quietly_and_cleanly(demo):
    running = demo()
    running.read_until("begins")
    running.hang_up()

    assert running.end()[0] == 1
    assert running.left() == []
    assert list(running.parent.iterdir()) == []
