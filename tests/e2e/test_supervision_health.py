"""Workers that neither die nor work, and those that only look so."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from supervisor.contract.exits import Exit
from supervisor.rules.lifecycle import State
from supervisor.rules.policy import Cause
from tests.installation import at_one_moment
from tests.troupe import Troupe, cause

Playing = Callable[..., Troupe]
QUICK = "health.idle_timeout_s = 1.0\nhealth.work_timeout_s = 1.0\nhealth.dump_grace_s = 0.3"


def test_a_stopped_worker_is_killed_after_its_deadline_and_the_others_are_left_alone(
    playing: Playing,
) -> None:
    troupe = playing(toml=QUICK)
    board = troupe.serving()
    seat = troupe.seat(board, "olap-2")
    pid = seat.pid
    others = [troupe.seat(board, f"olap-{index}").pid for index in (0, 1, 3)]
    os.kill(pid, signal.SIGSTOP)
    troupe.wait_replaced(seat, pid)
    assert cause(seat) is Cause.HUNG
    assert "olap-2 (pid" in troupe.log.read_text()
    assert [troupe.seat(board, f"olap-{index}").pid for index in (0, 1, 3)] == others


def test_a_hung_work_loop_is_killed_though_its_process_lives_and_its_stack_is_in_the_log(
    playing: Playing,
) -> None:
    troupe = playing({"olap-1": {"then": "hang", "times": 1}}, QUICK)
    board = troupe.serving()
    seat = troupe.seat(board, "olap-1")
    troupe.wait_replaced(seat, troupe.taken("olap-1")[0])
    text = troupe.log.read_text()
    assert "olap-1" in text
    assert "shows no sign of life" in text
    assert "puppets.py" in text.split("its stack:")[1]
    (death,) = troupe.deaths("olap-1")
    assert death["cause"] == "hung"
    assert "puppets.py" in death["stack_tail"]
    troupe.wait_logged("olap-1 is well again")
    # Not of the one that is about to be killed.
    text = troupe.log.read_text()
    assert text.index("its stack:") < text.index("olap-1 is well again")


def test_a_long_c_call_within_its_limit_is_not_a_hang(playing: Playing) -> None:
    """It holds the interpreter, so that no signal handler and no other thread of it runs meanwhile."""
    troupe = playing(
        {"olap-1": {"then": "hold 2.5", "times": 1}},
        "health.idle_timeout_s = 1.0\nhealth.work_timeout_s = 20.0",
    )
    troupe.start()
    board = troupe.board()
    # Not once everybody serves: on a busy machine the call may be over by then.
    troupe.wait(lambda: board.olap(1).in_hand_end > board.olap(1).in_hand, "the call has begun")
    before = board.olap(1).committed
    troupe.wait(lambda: board.olap(1).committed > before, "it goes on behind the call")
    seat = troupe.seat(board, "olap-1")
    assert (seat.pid, seat.restarts) == (troupe.taken("olap-1")[0], 0)


def test_a_partition_that_stands_still_though_its_worker_beats_is_stalled(playing: Playing) -> None:
    troupe = playing({"olap-3": {"then": "stall", "times": 1}}, "health.stall_timeout_s = 2.0")
    board = troupe.serving()
    seat = troupe.seat(board, "olap-3")
    troupe.wait_replaced(seat, troupe.taken("olap-3")[0])
    assert cause(seat) is Cause.STALLED
    assert "partition 3 stands at offset" in troupe.log.read_text()


def test_without_lag_to_stand_still_is_to_be_idle(playing: Playing) -> None:
    script = {"olap-3": {"then": "stall"}, "probe": {"lag": 0}}
    troupe = playing(script, "health.stall_timeout_s = 1.0")
    board = troupe.serving()
    seat = troupe.seat(board, "olap-3")
    rounds = board.olap(0).committed + 300
    troupe.wait(lambda: board.olap(0).committed > rounds, "three seconds of work are done elsewhere")
    assert seat.restarts == 0


def test_while_brokers_are_away_nobody_is_restarted_and_the_status_says_so(playing: Playing) -> None:
    workers: dict[str, Any] = {f"olap-{index}": {"then": "stall"} for index in range(4)}
    troupe = playing(
        {**workers, "probe": {"lag": 0}}, "health.stall_timeout_s = 2.0\nhealth.idle_timeout_s = 60.0"
    )
    troupe.serving()
    troupe.script({**workers, "probe": {"lag": 0, "brokers": False}})
    troupe.wait_logged("the brokers do not answer")
    status = troupe.run("status")
    assert "degraded: brokers" in status.stdout
    assert status.returncode == Exit.FAILED
    troupe.script({**workers, "probe": {"lag": 5, "brokers": False}})
    # That nothing happens is the point here. Otherwise five looks would have been enough, one each second.
    troupe.elapse(8.0)
    assert not troupe.logged("stands at offset")
    assert troupe.deaths() == []
    troupe.script({})
    troupe.wait_logged("the brokers answer again")
    troupe.wait_logged("stands at offset")
    troupe.wait(lambda: any(death["cause"] == "stalled" for death in troupe.deaths()), "a stall is noticed")


def test_a_supervisor_that_was_stopped_itself_blames_nobody_when_it_goes_on(playing: Playing) -> None:
    """A paused container: everybody stands still together, and the heartbeats are old when it resumes."""
    troupe = playing(toml="health.idle_timeout_s = 2.0")
    board = troupe.serving()
    everybody = troupe.processes()
    for process in everybody:
        process.suspend()
    # What elapses is the point here: nothing can be waited for while everything is stopped.
    troupe.elapse(4.0)
    for process in reversed(everybody):
        process.resume()
    before = board.olap(0).committed
    troupe.wait(lambda: board.olap(0).committed > before + 200, "two seconds of work are done")
    assert troupe.deaths() == []


def test_a_worker_that_grows_too_large_is_replaced_in_order(playing: Playing) -> None:
    troupe = playing(
        {"olap-0": {"then": "grow 300", "times": 1}},
        "limits.memory_soft_mb = 250\nlimits.memory_samples = 2\nlimits.memory_interval_s = 0.2",
    )
    board = troupe.serving()
    seat = troupe.seat(board, "olap-0")
    troupe.wait_replaced(seat, troupe.taken("olap-0")[0])
    (death,) = troupe.deaths("olap-0")
    assert (death["cause"], death["exit_code"]) == ("recycled", 0)
    assert (seat.restarts, seat.recycled) == (0, 1)


def test_one_that_is_much_too_large_is_killed(playing: Playing) -> None:
    troupe = playing(
        {"olap-0": {"then": "grow 300", "times": 1}},
        "limits.memory_hard_mb = 250\nlimits.memory_interval_s = 0.2",
    )
    board = troupe.serving()
    seat = troupe.seat(board, "olap-0")
    troupe.wait_replaced(seat, troupe.taken("olap-0")[0])
    assert cause(seat) is Cause.OUT_OF_MEMORY


def test_workers_that_reach_their_age_together_are_recycled_one_at_a_time(playing: Playing) -> None:
    troupe = playing(toml="limits.max_age_s = 3.0\nlimits.jitter = 0.0\nlimits.memory_interval_s = 0.2")
    board = troupe.serving()
    seats = [troupe.seat(board, f"olap-{index}") for index in range(4)]
    unserved = 0
    while not all(seat.recycled for seat in seats):
        states = at_one_moment(lambda: [seat.state for seat in seats])
        unserved = max(unserved, sum(state != State.SERVING for state in states))
        troupe.elapse(0.002)
    assert unserved <= 1
    assert [seat.restarts for seat in seats] == [0, 0, 0, 0]
    assert troupe.stop() == Exit.OK
