"""What a supervisor says of itself to whoever looks: on the board, and to the service manager."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable

import pytest

from supervisor.contract.board import Phase
from supervisor.rules.lifecycle import State
from tests.service_manager import Manager
from tests.troupe import Troupe

Playing = Callable[..., Troupe]


def wait_told(troupe: Troupe, manager: Manager, field: str) -> None:
    """Until a message with the field has come; the messages before it are forgotten."""
    troupe.wait(lambda: any(field in message for message in manager.take()), f"{field} is told")


@pytest.mark.parametrize(
    ("ends", "state"),
    [("exit 3", State.BACKOFF), ("fail 25 too many", State.PARKED)],
    ids=["backoff", "parked"],
)
def test_a_start_is_over_also_where_the_last_worker_waits_or_is_parked_and_a_reload_is_told(
    playing: Playing, ends: str, state: State
) -> None:
    troupe = playing(
        {"olap-0": {"open": ends}},
        "restart.backoff_first_s = 50.0\nrestart.backoff_cap_s = 50.0\nrealtime.enabled = false",
    )
    manager = Manager(str(troupe.directory / "notify"))
    troupe.environment |= manager.environ()
    with contextlib.closing(manager.socket):
        troupe.start("--olap-workers", "1")
        board = troupe.board()
        troupe.wait_state(troupe.seat(board, "olap-0"), state)
        troupe.wait(lambda: board.header.phase == Phase.RUNNING, "the start is over")
        wait_told(troupe, manager, "READY")
        troupe.configure("runtime.canary_s = 0.0")
        assert troupe.process is not None
        troupe.process.send_signal(signal.SIGHUP)
        wait_told(troupe, manager, "RELOADING")
        wait_told(troupe, manager, "READY")
        assert board.header.phase == Phase.RUNNING
