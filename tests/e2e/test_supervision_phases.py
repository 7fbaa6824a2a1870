"""What a supervisor says of itself to whoever looks: on the board, and to the service manager."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable

import pytest

from supervisor.contract.board import Phase
from supervisor.contract.exits import Exit
from supervisor.reporting import status
from supervisor.rules.lifecycle import State
from tests.installation import at_one_moment
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


@pytest.mark.parametrize("order", [["restart"], ["restart", "olap-2"], ["scale", "2"]], ids=" ".join)
def test_who_is_replaced_because_a_person_wants_it_is_no_trouble_and_the_phase_says_so(
    playing: Playing, order: list[str]
) -> None:
    troupe = playing()
    board = troupe.serving()
    command = troupe.command(*order)
    phases, healths = set(), set()
    while command.poll() is None:
        phase, health = at_one_moment(lambda: ((seen := status.read(board)).phase, seen.health))
        phases.add(phase)
        healths.add(health)
        troupe.elapse(0.001)
    assert command.communicate()[1] == ""
    assert command.returncode == Exit.OK
    assert phases == {"running", "reloading"}
    assert healths == {"ok"}
    assert status.read(board).phase == "running"


def test_a_worker_that_is_replaced_because_of_a_limit_is_no_trouble_either(playing: Playing) -> None:
    troupe = playing(toml="limits.max_events = 200\nlimits.memory_interval_s = 0.1")
    board = troupe.serving()
    seat = troupe.seat(board, "olap-1")
    healths = set()

    def served_again() -> bool:
        healths.add(at_one_moment(lambda: status.read(board).health))
        return seat.recycled > 0 and seat.state == State.SERVING

    troupe.wait(served_again, "it is replaced")
    assert healths == {"ok"}
