"""Workers that die, one by one and all together: what is done, what is remembered, when it is given up."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from supervisor.contract.exits import Exit
from supervisor.rules.lifecycle import State
from supervisor.rules.policy import Cause
from tests.troupe import Troupe, alive, cause, gone

Playing = Callable[..., Troupe]


def test_a_worker_killed_is_replaced_alone_and_the_tally_says_how_it_died(playing: Playing) -> None:
    troupe = playing()
    board = troupe.serving()
    others = {name: troupe.seat(board, name).pid for name in ("olap-0", "olap-1", "olap-3", "realtime-0")}
    seat = troupe.seat(board, "olap-2")
    pid = seat.pid
    os.kill(pid, signal.SIGKILL)
    troupe.wait_replaced(seat, pid)
    (death,) = troupe.deaths("olap-2")
    assert (death["exit_code"], death["cause"], death["pid"]) == (-9, "killed", pid)
    assert (seat.exit_code, cause(seat), seat.restarts) == (-9, Cause.KILLED, 1)
    assert 0 < seat.noticed_ns <= seat.refilled_ns <= seat.owned_ns
    assert {name: troupe.seat(board, name).pid for name in others} == others
    assert troupe.stop() == Exit.OK


def test_all_workers_killed_at_once_are_all_replaced_and_none_is_lost(playing: Playing) -> None:
    troupe = playing()
    board = troupe.serving()
    seats = [troupe.seat(board, f"olap-{index}") for index in range(4)]
    pids = [seat.pid for seat in seats]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for seat, pid in zip(seats, pids, strict=True):
        troupe.wait_replaced(seat, pid)
    assert sorted(death["pid"] for death in troupe.deaths()) == sorted(pids)
    assert [seat.restarts for seat in seats] == [1, 1, 1, 1]


def test_a_worker_that_dies_before_its_first_beat_is_tried_again_and_the_supervisor_lives(
    playing: Playing,
) -> None:
    troupe = playing({"olap-1": {"open": "exit 3", "times": 2}})
    board = troupe.serving()
    assert len(troupe.taken("olap-1")) == 3
    assert troupe.seat(board, "olap-1").restarts == 2


def test_the_delays_of_a_worker_that_crashes_at_once_grow_to_the_cap(playing: Playing) -> None:
    troupe = playing(
        {"olap-0": {"open": "exit 3"}},
        "restart.backoff_first_s = 0.05\nrestart.backoff_cap_s = 0.2\nrestart.budget = 100\n"
        "restart.budget_total = 100\nrestart.backoff_jitter = 0.0",
    )
    troupe.start()
    troupe.wait(lambda: len(troupe.deaths("olap-0")) >= 7, "it has died seven times")
    text = troupe.log.read_text()
    waits = [line.rpartition("replaced ")[2] for line in text.splitlines() if "olap-0 ended" in line]
    assert waits[:6] == ["at once", "in 0.05 s", "in 0.1 s", "in 0.2 s", "in 0.2 s", "in 0.2 s"]
    assert troupe.seat(troupe.board(), "olap-1").state == State.SERVING


def test_a_worker_that_crashes_at_once_takes_no_process_from_those_that_have_none_yet(
    playing: Playing,
) -> None:
    """It is due again long before the next process is ready: in the order of the seats it is always first."""
    troupe = playing(
        {"olap-0": {"open": "exit 3"}},
        "restart.backoff_first_s = 0.001\nrestart.backoff_cap_s = 0.001\nrestart.budget = 1000\n"
        "restart.budget_total = 1000\nruntime.max_starting = 1\nruntime.spares = 0",
    )
    troupe.start()
    board = troupe.board()
    for name in ("olap-1", "olap-2", "olap-3"):
        troupe.wait_state(troupe.seat(board, name), State.SERVING)
    assert troupe.deaths("olap-0")


def test_after_progress_the_first_delay_is_minimal_again(playing: Playing) -> None:
    """Three crashes in the opening, then one after work was committed: that one is replaced at once."""
    troupe = playing(toml="restart.backoff_jitter = 0.0")
    troupe.script({"olap-0": {"open": "exit 3", "times": 3}})
    board = troupe.serving()
    seat = troupe.seat(board, "olap-0")
    before = board.olap(0).committed
    troupe.wait(lambda: board.olap(0).committed > before, "it commits")
    os.kill(seat.pid, signal.SIGKILL)
    troupe.wait_logged("olap-0 ended (SIGKILL); replaced at once")


def test_a_spent_budget_drains_the_others_and_says_which_worker_it_was(playing: Playing) -> None:
    troupe = playing(toml="restart.budget = 2")
    board = troupe.serving()
    seat = troupe.seat(board, "olap-2")
    for _ in range(2):
        pid = seat.pid
        os.kill(pid, signal.SIGSEGV)
        troupe.wait_replaced(seat, pid)
    os.kill(seat.pid, signal.SIGSEGV)
    assert troupe.process is not None
    assert troupe.process.wait(60) == Exit.GAVE_UP
    assert "error: olap-2 cannot go on: SIGSEGV; more than 2 deaths within 180 s" in troupe.log.read_text()
    assert [death["cause"] for death in troupe.deaths("olap-2")] == ["crash"] * 3
    drained = {
        death["worker"]: death["exit_code"] for death in troupe.deaths() if death["worker"] != "olap-2"
    }
    assert {drained[name] for name in ("olap-0", "olap-1", "olap-3", "realtime-0")} == {0}


def test_parked_the_partition_waits_for_a_person_and_the_others_run_on(playing: Playing) -> None:
    troupe = playing({"olap-2": {"then": "signal 11", "times": 3}}, "restart.budget = 2")
    troupe.start("--park")
    board = troupe.board()
    seat = troupe.seat(board, "olap-2")
    troupe.wait_state(seat, State.PARKED)
    assert board.assignment(2).parked_ns
    assert Cause(board.assignment(2).parked_cause) is Cause.BUDGET
    status = troupe.run("status", "--json")
    assert status.returncode == Exit.FAILED
    assert [troupe.seat(board, f"olap-{index}").state for index in (0, 1, 3)] == [State.SERVING] * 3
    troupe.configure("olap.nice = 11\nruntime.canary_s = 0.0")
    answer = troupe.run("reload")
    assert answer.returncode == Exit.OK, answer.stderr
    assert seat.state == State.PARKED, "a reload is not a person who has looked after it"
    answer = troupe.run("restart", "olap-2")
    assert answer.returncode == Exit.OK, answer.stderr
    troupe.wait_state(seat, State.SERVING)
    assert not board.assignment(2).parked_ns
    troupe.wait_logged("olap-2 is well again")


def test_a_restart_by_a_person_makes_the_budget_of_all_workers_fresh(playing: Playing) -> None:
    troupe = playing({"olap-2": {"then": "signal 11", "times": 3}}, "restart.budget_total = 2")
    troupe.start("--park")
    board = troupe.board()
    troupe.wait_state(troupe.seat(board, "olap-2"), State.PARKED)
    assert troupe.run("restart", "olap-2").returncode == Exit.OK
    other = troupe.seat(board, "olap-1")
    pid = other.pid
    os.kill(pid, signal.SIGSEGV)
    troupe.wait_replaced(other, pid)


def test_code_that_cannot_be_imported_ends_everything_with_its_exit_code(playing: Playing) -> None:
    troupe = playing()
    troupe.start("--set", "app.pipeline=no_such_pipeline")
    assert troupe.process is not None
    assert troupe.process.wait(30) == Exit.CONFIGURATION
    assert "no_such_pipeline" in troupe.log.read_text()


def test_too_many_dead_letters_park_the_partition_and_nothing_else(playing: Playing) -> None:
    troupe = playing({"olap-1": {"then": "fail 25 partition 1: too many", "times": 1}})
    troupe.start()
    board = troupe.board()
    troupe.wait_state(troupe.seat(board, "olap-1"), State.PARKED)
    assert Cause(board.assignment(1).parked_cause) is Cause.DLQ_LIMIT
    assert "partition 1: too many" in troupe.log.read_text()
    assert troupe.seat(board, "olap-0").restarts == 0


def test_of_a_worker_with_several_partitions_only_the_bad_one_is_parked(playing: Playing) -> None:
    troupe = playing({"olap-1": {"then": "fail 25 partition 1: too many", "times": 1}})
    troupe.start("--olap-workers", "2")
    board = troupe.board()
    seat = troupe.seat(board, "olap-1")
    troupe.wait(lambda: board.assignment(1).parked_ns != 0, "partition 1 is parked")
    troupe.wait_state(seat, State.SERVING)
    before = board.olap(3).committed
    troupe.wait(lambda: board.olap(3).committed > before, "its other partition is served on")
    assert not board.assignment(3).parked_ns


def test_brokers_that_are_away_cost_no_budget(playing: Playing) -> None:
    troupe = playing({"olap-0": {"then": "fail 69 nobody answers", "times": 3}}, "restart.budget = 1")
    troupe.start()
    troupe.wait(lambda: len(troupe.taken("olap-0")) >= 3, "it was replaced twice")
    assert {death["cause"] for death in troupe.deaths("olap-0")} == {"brokers"}
    assert troupe.seat(troupe.board(), "olap-0").restarts == 0


def test_what_was_in_hand_is_known_after_a_kill(playing: Playing) -> None:
    troupe = playing({"olap-3": {"then": "hang"}}, 'kafka.cluster_id = ""')
    board = troupe.serving()
    troupe.wait(lambda: board.olap(3).in_hand_end > board.olap(3).in_hand, "something is in hand")
    seat = troupe.seat(board, "olap-3")
    pid, offset = seat.pid, board.olap(3).in_hand
    os.kill(pid, signal.SIGKILL)
    troupe.wait_replaced(seat, pid)
    (death,) = troupe.deaths("olap-3")
    assert (death["partition"], death["offset"], death["offset_end"]) == (3, offset, offset + 3)


def test_a_grandchild_goes_with_its_worker(playing: Playing) -> None:
    troupe = playing({"olap-1": {"then": "grandchild"}})
    board = troupe.serving()
    note = troupe.run_dir / "olap-1.grandchild"
    troupe.wait(lambda: note.exists() and note.read_text() != "", "there is a grandchild")
    grandchild = int(note.read_text())
    os.kill(troupe.seat(board, "olap-1").pid, signal.SIGKILL)
    troupe.wait(lambda: not alive(grandchild), "the grandchild is gone", 5)


def test_a_supervisor_killed_takes_everything_with_it_and_a_new_one_starts_at_once(playing: Playing) -> None:
    troupe = playing({"olap-1": {"then": "grandchild", "times": 1}})
    troupe.serving()
    note = troupe.run_dir / "olap-1.grandchild"
    troupe.wait(lambda: note.exists() and note.read_text() != "", "there is a grandchild")
    assert troupe.process is not None
    below = [process.pid for process in troupe.processes()[1:]]
    assert int(note.read_text()) in below
    troupe.process.kill()
    troupe.process.wait()
    assert gone(below)
    troupe.serving()
    assert troupe.stop() == Exit.OK


def test_a_worker_that_ends_by_itself_while_all_stop_is_not_replaced(playing: Playing) -> None:
    troupe = playing({"olap-0": {"drain": "exit 3"}, "olap-1": {"drain": "pause 0.5"}})
    troupe.serving()
    assert troupe.stop() == Exit.OK
    assert len(troupe.taken("olap-0")) == 1
