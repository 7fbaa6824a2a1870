"""A running supervisor told what to do from another terminal, and what it tells."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor.contract.exits import Exit
from tests.troupe import Troupe

Playing = Callable[..., Troupe]


def status(troupe: Troupe) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(troupe.run("status", "--json").stdout)
    return found


def test_the_status_says_who_owns_what_after_a_change_of_the_number_of_workers(playing: Playing) -> None:
    troupe = playing(partitions=2)
    troupe.serving("--olap-workers", "1")
    assert troupe.run("scale", "+1").returncode == 0
    seen = status(troupe)
    assert [partition["worker"] for partition in seen["partitions"]] == ["olap-0", "olap-1"]
    assert troupe.run("scale", "-1").returncode == 0
    seen = status(troupe)
    assert [partition["worker"] for partition in seen["partitions"]] == ["olap-0", "olap-0"]
    assert [worker["name"] for worker in seen["workers"]] == ["probe", "realtime-0", "olap-0"]


def test_a_death_is_told_to_whoever_follows_the_events(playing: Playing) -> None:
    troupe = playing(partitions=2)
    board = troupe.serving()
    following = troupe.command("events", "--json")
    assert following.stdout is not None
    first = following.stdout.readline()  # it is connected
    killed = troupe.seat(board, "olap-1").pid
    os.kill(killed, signal.SIGKILL)
    troupe.wait_replaced(troupe.seat(board, "olap-1"), killed)
    assert troupe.stop() == 0
    out, err = following.communicate(timeout=30)
    assert (following.returncode, err) == (0, "")
    told = [json.loads(line) for line in [first, *out.splitlines()]]
    (death,) = [line for line in told if line["event"] == "died"]
    assert (death["worker"], death["pid"], death["exit_code"]) == ("olap-1", killed, -9)
    assert death["cause"] == "killed"
    kinds = [line["event"] for line in told]
    assert kinds.index("died") < len(kinds) - 1 - kinds[::-1].index("serving")
    assert kinds[-1] == "stopped"


def test_that_it_gave_up_reaches_the_hook_before_the_end_though_the_hook_is_slow(
    playing: Playing, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    troupe = playing(
        {"olap-1": {"open": "exit 1"}},
        f"""restart.budget = 2
restart.backoff_cap_s = 0.1
hooks.command = "sh -c 'sleep 0.5; cat > {told}'"
""",
        partitions=2,
    )
    troupe.start()
    assert troupe.process is not None
    assert troupe.process.wait(60) == Exit.GAVE_UP, troupe.tail()
    event = json.loads(told.read_text())
    assert (event["event"], event["worker"]) == ("gave-up", "olap-1")


def test_the_socket_is_private_and_what_a_killed_supervisor_left_is_no_obstacle(playing: Playing) -> None:
    troupe = playing(partitions=2)
    troupe.serving()
    path = troupe.run_dir / "control.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(path))
        client.sendall(b"what?\n")
        assert b"refused" in client.recv(4096)
    troupe.stop(signal.SIGKILL)
    assert path.exists()
    troupe.serving()
    assert troupe.run("restart", "olap-0").returncode == 0
    assert troupe.stop() == 0
    assert not path.exists()
