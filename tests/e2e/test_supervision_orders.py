"""What people ask of a running supervisor: stop, restart, reload, another number of workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.contract.board import Board
from supervisor.contract.exits import Exit, WorkerExit
from supervisor.rules.lifecycle import State
from tests.installation import at_one_moment
from tests.troupe import Troupe, gone

Playing = Callable[..., Troupe]


def olap_pids(troupe: Troupe, board: Board, workers: int = 4) -> list[int]:
    return [troupe.seat(board, f"olap-{index}").pid for index in range(workers)]


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def with_pipeline_on_disk(playing: Playing, toml: str = "") -> tuple[Troupe, Path]:
    """A pipeline's module that can be broken and mended while it is served."""
    troupe = playing(toml=f'app.pipeline = "pipeline_on_disk"\n{toml}')
    pipeline = troupe.directory / "pipeline_on_disk.py"
    pipeline.write_text("from puppets import *\n")
    troupe.environment["PYTHONPATH"] += f":{troupe.directory}"
    return troupe, pipeline


# -- stop -------------------------------------------------------------------------------------------------


def test_workers_that_ignore_the_request_are_gone_by_one_shared_deadline(playing: Playing) -> None:
    troupe = playing(
        {f"olap-{index}": {"drain": "refuse"} for index in range(4)}, "runtime.drain_timeout_s = 3.0"
    )
    troupe.serving()
    below = [process.pid for process in troupe.processes()[1:]]
    began = time.monotonic()
    assert troupe.stop() == Exit.OK
    assert time.monotonic() - began < 4 * 3  # one deadline after the other would be that
    assert gone(below)


def test_a_second_sigterm_changes_nothing_and_sigint_hastens(playing: Playing) -> None:
    troupe = playing({"olap-0": {"drain": "pause 60"}}, "runtime.drain_timeout_s = 60.0")
    board = troupe.serving()
    assert troupe.process is not None
    troupe.process.send_signal(signal.SIGTERM)
    troupe.wait_logged("SIGTERM: draining")
    troupe.process.send_signal(signal.SIGTERM)
    troupe.process.send_signal(signal.SIGHUP)
    troupe.wait_logged("the supervisor is stopping")
    assert troupe.seat(board, "olap-0").state == State.DRAINING
    assert troupe.stop(signal.SIGINT) == Exit.OK
    assert troupe.log.read_text().count("draining for at most") == 1


def test_a_stop_while_a_worker_waits_out_its_backoff_does_not_wait_for_it(playing: Playing) -> None:
    troupe = playing(
        {"olap-2": {"open": "exit 3"}}, "restart.backoff_first_s = 50.0\nrestart.backoff_cap_s = 50.0"
    )
    troupe.start()
    board = troupe.board()
    troupe.wait_state(troupe.seat(board, "olap-2"), State.BACKOFF)
    began = time.monotonic()
    assert troupe.stop() == Exit.OK
    assert time.monotonic() - began < 10


def test_a_stop_while_workers_are_being_spawned_leaves_nothing(playing: Playing) -> None:
    troupe = playing()
    troupe.start()
    board = troupe.board()
    assert board.header.phase is not None
    troupe.wait(lambda: len(troupe.processes()) > 3, "some processes are there")
    below = [process.pid for process in troupe.processes()[1:]]
    assert troupe.stop() == Exit.OK
    assert gone(below)


def test_the_stop_command_ends_when_the_last_process_is_gone(playing: Playing) -> None:
    troupe = playing({"olap-0": {"drain": "pause 0.5"}})
    troupe.serving()
    assert troupe.process is not None
    answer = troupe.run("stop")
    assert answer.returncode == Exit.OK, answer.stderr
    assert troupe.process.wait(5) == Exit.OK


# -- restart ----------------------------------------------------------------------------------------------


def test_a_restart_replaces_one_worker_or_all_one_after_the_other(playing: Playing) -> None:
    troupe = playing()
    board = troupe.serving()
    before = olap_pids(troupe, board)
    one = troupe.run("restart", "olap-2")
    assert one.returncode == Exit.OK, one.stderr
    after = olap_pids(troupe, board)
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, True]
    code, out, err = ended(troupe.command("restart"))
    assert code == Exit.OK, err
    assert not set(olap_pids(troupe, board)) & set(after)
    assert "olap-3: replaced" in out + err
    assert {death["exit_code"] for death in troupe.deaths() if death["worker"] != "spare"} == {0}


def preparing(troupe: Troupe) -> dict[int, list[int]]:
    """Which partitions each process in standby was told to prepare for."""
    found = troupe.run_dir.glob("*.prepared")
    return {int(path.stem): json.loads(path.read_text()) for path in found}


def test_a_worker_is_replaced_by_one_that_has_prepared_for_its_partitions(playing: Playing) -> None:
    troupe = playing()
    board = troupe.serving()
    assert troupe.run("restart", "olap-2").returncode == Exit.OK
    assert preparing(troupe) == {olap_pids(troupe, board)[2]: [2]}


def test_a_worker_goes_on_for_as_long_as_its_replacement_prepares(playing: Playing) -> None:
    """Its state may take minutes to read: nobody is to be without an owner for so long."""
    troupe = playing({"spare": {"preparing_s": 4.0}})
    board = troupe.serving()
    seat = troupe.seat(board, "olap-2")
    old = seat.pid
    command = troupe.command("restart", "olap-2")
    troupe.wait(lambda: preparing(troupe), "it is told to prepare")
    committed = board.olap(2).committed
    assert (seat.pid, seat.state) == (old, State.SERVING)
    troupe.wait(lambda: board.olap(2).committed > committed + 50, "the old one works on")
    assert (seat.pid, seat.state) == (old, State.SERVING)
    code, out, err = ended(command)
    assert code == Exit.OK, err
    assert "olap-2: its state is read ahead by its next process" in out + err
    assert preparing(troupe) == {seat.pid: [2]}


def test_where_the_one_that_prepares_dies_another_one_does(playing: Playing) -> None:
    troupe = playing({"spare": {"preparing_s": 60.0, "times": 1}})
    board = troupe.serving()
    command = troupe.command("restart", "olap-2")
    troupe.wait(lambda: preparing(troupe), "it is told to prepare")
    (first,) = preparing(troupe)
    os.kill(first, signal.SIGKILL)
    code, _, err = ended(command)
    assert code == Exit.OK, err
    second = troupe.seat(board, "olap-2").pid
    assert preparing(troupe) == {first: [2], second: [2]}


def test_a_worker_that_there_is_not_is_named_with_those_there_are(playing: Playing) -> None:
    troupe = playing()
    troupe.serving()
    answer = troupe.run("restart", "olap-9")
    assert answer.returncode == Exit.FAILED
    assert "olap-9" in answer.stderr
    assert "olap-3" in answer.stderr


# -- reload -----------------------------------------------------------------------------------------------


def test_a_mistake_in_the_new_configuration_changes_nothing(playing: Playing) -> None:
    troupe = playing()
    board = troupe.serving()
    before = olap_pids(troupe, board)
    troupe.configure("olap.nise = 3")
    answer = troupe.run("reload")
    assert answer.returncode == Exit.CONFIGURATION
    assert "olap.nise" in answer.stderr
    assert troupe.process is not None
    troupe.process.send_signal(signal.SIGHUP)
    troupe.wait_logged("reload failed")
    assert olap_pids(troupe, board) == before


def test_only_workers_that_a_change_touches_are_replaced(playing: Playing) -> None:
    troupe = playing(toml="runtime.canary_s = 0.0")
    board = troupe.serving()
    olap, realtime = olap_pids(troupe, board), troupe.seat(board, "realtime-0").pid
    troupe.configure("realtime.nice = 1")
    answer = troupe.run("reload")
    assert answer.returncode == Exit.OK, answer.stderr
    assert olap_pids(troupe, board) == olap
    assert troupe.seat(board, "realtime-0").pid != realtime
    assert troupe.seat(board, "realtime-0").generation == 2
    assert os.getpriority(os.PRIO_PROCESS, troupe.seat(board, "realtime-0").pid) == 1
    nothing = troupe.run("reload")
    assert nothing.returncode == Exit.OK
    assert "nothing has changed" in nothing.stdout + nothing.stderr


def test_what_makes_another_installation_cannot_be_reloaded(playing: Playing) -> None:
    troupe = playing()
    troupe.serving()
    troupe.configure('topics.input.name = "another"')
    answer = troupe.run("reload")
    assert answer.returncode == Exit.CONFIGURATION
    assert "topics.input.name cannot be changed by a reload" in answer.stderr


def test_code_that_cannot_be_imported_is_found_out_before_anybody_is_replaced(playing: Playing) -> None:
    troupe = playing(toml="runtime.canary_s = 0.0")
    board = troupe.serving()
    before = olap_pids(troupe, board)
    troupe.configure('app.pipeline = "no_such_pipeline"')
    answer = troupe.run("reload")
    assert answer.returncode == Exit.CONFIGURATION
    assert "no_such_pipeline" in answer.stderr
    assert olap_pids(troupe, board) == before
    troupe.wait(lambda: troupe.seat(board, "olap-0").state == State.SERVING, "it serves on")


def test_new_workers_that_die_are_rolled_back(playing: Playing) -> None:
    """The first replacement serves and then dies, as new code does that cannot deal with the first record."""
    troupe = playing(toml="runtime.canary_s = 30.0")
    board = troupe.serving()
    troupe.script({"olap-0": {"then": "exit 3", "times": 2}})
    troupe.configure("olap.nice = 11")
    answer = troupe.run("reload")
    assert answer.returncode == Exit.FAILED
    assert "rolled back" in answer.stderr
    seat = troupe.seat(board, "olap-0")
    troupe.wait(lambda: seat.state == State.SERVING and seat.generation == 1, "the old generation serves")
    assert {troupe.seat(board, f"olap-{index}").generation for index in range(4)} == {1}


AWAY = f"fail {WorkerExit.BROKERS_UNREACHABLE} the brokers did not answer"
ELSEWHERE = 'kafka.client."client.rack" = "elsewhere"'


def test_new_workers_that_are_not_connected_take_nobodys_place_though_brokers_answer(
    playing: Playing,
) -> None:
    """Also without a spare that would show that others are. Puppets connect to no broker."""
    troupe = playing(toml="runtime.spares = 0")
    board = troupe.serving()
    before = olap_pids(troupe, board)
    troupe.configure(ELSEWHERE)
    answer = troupe.run("reload")
    assert answer.returncode == Exit.BROKERS_UNREACHABLE
    assert "do not get on with the brokers" in answer.stderr
    assert olap_pids(troupe, board) == before


def test_new_workers_that_reach_no_broker_are_rolled_back_where_others_are_tried(playing: Playing) -> None:
    """Nobody is blamed for brokers that are away. But whether these are any nobody knows yet, and where the
    old ones do not answer either, that is no reason to refuse the reload that may be meant to mend it."""
    troupe = playing(toml="runtime.canary_s = 30.0")
    board = troupe.serving()
    troupe.script({"olap-0": {"open": AWAY, "times": 2}, "probe": {"brokers": False}})
    troupe.wait_logged("the brokers do not answer")
    troupe.configure(ELSEWHERE)
    answer = troupe.run("reload")
    assert answer.returncode == Exit.FAILED
    assert "olap-0 ended after it was replaced: the brokers did not answer: rolled back" in answer.stderr
    troupe.wait_serving(board)
    assert [troupe.seat(board, f"olap-{index}").generation for index in range(4)] == [1] * 4


def test_an_outage_of_the_brokers_that_there_are_is_waited_for_by_a_reload(playing: Playing) -> None:
    troupe = playing(toml="runtime.canary_s = 0.0")
    board = troupe.serving()
    troupe.script({"olap-0": {"open": AWAY, "times": 2}})
    troupe.configure("olap.nice = 11")
    answer = troupe.run("reload")
    assert answer.returncode == Exit.OK, answer.stderr
    troupe.wait_serving(board)
    assert len(troupe.deaths("olap-0")) == 2
    assert [troupe.seat(board, f"olap-{index}").generation for index in range(4)] == [2] * 4


def test_a_roll_back_does_not_wait_for_old_workers_that_do_not_get_on_either(playing: Playing) -> None:
    """Else no reload could follow, and mend it."""
    troupe = playing(toml="runtime.canary_s = 6.0")
    board = troupe.serving()
    seat = troupe.seat(board, "olap-0")
    troupe.script({"olap-0": {"open": "stall", "times": 2}})
    troupe.configure("olap.nice = 11")
    reload = troupe.command("reload")
    troupe.wait(lambda: seat.generation == 2 and seat.owned_ns != 0, "the canary serves, and commits nothing")
    troupe.script({"olap-0": {"open": AWAY}})
    code, _, err = ended(reload)
    assert code == Exit.FAILED
    assert "canary" in err
    assert "rolled back" in err
    troupe.script({})
    troupe.configure("runtime.canary_s = 0.0")
    mended = troupe.run("reload")
    assert mended.returncode == Exit.OK, mended.stderr
    troupe.wait_serving(board)
    assert [troupe.seat(board, f"olap-{index}").nice for index in range(4)] == [11] * 4


def test_where_the_old_code_cannot_be_started_any_more_a_roll_back_leaves_the_others_with_the_new(
    playing: Playing,
) -> None:
    toml = "runtime.canary_s = 0.0\nrestart.backoff_cap_s = 0.2\nruntime.drain_timeout_s = 60.0"
    troupe, pipeline = with_pipeline_on_disk(playing, toml)
    # The third is not replaced before the second one dies, so that two have to be rolled back.
    troupe.script({"olap-2": {"drain": "pause 5", "times": 1}})
    board = troupe.serving()
    pipeline.rename(troupe.directory / "pipeline_renamed.py")
    troupe.configure('app.pipeline = "pipeline_renamed"')
    reload = troupe.command("reload")
    second = troupe.seat(board, "olap-1")
    troupe.wait(lambda: second.generation == 2 and second.owned_ns != 0, "two are replaced")
    os.kill(second.pid, signal.SIGKILL)
    code, out, err = ended(reload)
    assert code == Exit.FAILED
    assert "olap-0 keeps its new process" in out
    assert "rolled back" in err
    mended = troupe.run("reload")
    assert mended.returncode == Exit.OK, mended.stderr
    troupe.wait_serving(board)


def test_what_the_new_workers_had_parked_is_served_again_by_the_old_ones(playing: Playing) -> None:
    troupe = playing(toml="runtime.canary_s = 30.0")
    board = troupe.serving()
    limit = f"fail {WorkerExit.DLQ_LIMIT} too many dead letters"
    troupe.script({"olap-0": {"then": limit, "times": 2}})
    troupe.configure("olap.nice = 11")
    answer = troupe.run("reload")
    assert answer.returncode == Exit.FAILED
    assert "rolled back" in answer.stderr
    troupe.wait_serving(board)
    assert board.assignment(0).parked_ns == 0
    assert troupe.seat(board, "olap-0").generation == 1


def test_a_reload_gets_through_though_the_old_code_cannot_be_started_any_more(playing: Playing) -> None:
    """The module was renamed on disk, and one process starts at a time: the old one would always be next."""
    toml = "runtime.max_starting = 1\nruntime.canary_s = 0.0\nrestart.backoff_cap_s = 0.5"
    troupe, pipeline = with_pipeline_on_disk(playing, toml)
    board = troupe.serving()
    pipeline.rename(troupe.directory / "pipeline_renamed.py")
    killed = troupe.seat(board, "olap-0").pid
    os.kill(killed, signal.SIGKILL)
    troupe.wait_logged("a process without a role ended")
    troupe.configure('app.pipeline = "pipeline_renamed"')
    answer = troupe.run("reload")
    assert answer.returncode == Exit.OK, answer.stderr
    troupe.wait_serving(board)


def test_a_canary_that_commits_nothing_is_rolled_back(playing: Playing) -> None:
    troupe = playing(toml="runtime.canary_s = 1.5")
    board = troupe.serving()
    before = olap_pids(troupe, board)
    troupe.script({"olap-0": {"open": "stall", "times": 2}})
    troupe.configure("olap.nice = 11")
    answer = troupe.run("reload")
    assert answer.returncode == Exit.FAILED
    assert "canary" in answer.stderr
    assert olap_pids(troupe, board)[1:] == before[1:]


def test_at_most_one_worker_is_away_during_a_reload(playing: Playing) -> None:
    troupe = playing(toml="runtime.canary_s = 0.0")
    board = troupe.serving()
    seats = [troupe.seat(board, f"olap-{index}") for index in range(4)]
    troupe.configure("olap.nice = 11")
    assert troupe.process is not None
    troupe.process.send_signal(signal.SIGHUP)
    unserved = 0
    while any(seat.generation == 1 for seat in seats):
        states = at_one_moment(lambda: [seat.state for seat in seats])
        unserved = max(unserved, sum(state != State.SERVING for state in states))
        troupe.elapse(0.001)
    assert unserved <= 1
    troupe.wait_logged("workers replaced")


# -- scale ------------------------------------------------------------------------------------------------


def test_workers_are_added_and_removed_live_within_their_bounds(playing: Playing) -> None:
    troupe = playing()
    board = troupe.serving()
    untouched = [troupe.seat(board, name).pid for name in ("realtime-0", "probe")]
    fewer = troupe.run("scale", "2")
    assert fewer.returncode == Exit.OK, fewer.stderr
    assert [board.assignment(p).seat - 1 for p in range(4)] == [2, 3, 2, 3]
    assert troupe.seat(board, "olap-3").state == State.CLOSED
    too_many = troupe.run("scale", "5")
    assert too_many.returncode == Exit.CONFIGURATION
    assert "5" in too_many.stderr
    assert "4 partitions" in too_many.stderr
    none = troupe.run("scale", "0")
    assert none.returncode != Exit.OK
    more = troupe.run("scale", "+2")
    assert more.returncode == Exit.OK, more.stderr
    troupe.wait_state(troupe.seat(board, "olap-3"), State.SERVING)
    assert [troupe.seat(board, name).pid for name in ("realtime-0", "probe")] == untouched


def test_a_number_that_was_asked_for_outlives_a_reload_that_is_about_something_else(playing: Playing) -> None:
    troupe = playing(toml="runtime.canary_s = 0.0")
    board = troupe.serving()
    for workers, line in ((3, "restart.budget = 11"), (2, "olap.workers = 2")):
        assert troupe.run("scale", "3").returncode == Exit.OK
        troupe.configure(line)
        answer = troupe.run("reload")
        assert answer.returncode == Exit.OK, answer.stderr
        assert len({board.assignment(p).seat for p in range(4)}) == workers


def test_sigttou_stops_at_one_worker(playing: Playing) -> None:
    troupe = playing()
    board = troupe.serving("--olap-workers", "2")
    assert troupe.process is not None
    troupe.process.send_signal(signal.SIGTTOU)
    troupe.wait_state(troupe.seat(board, "olap-1"), State.CLOSED)
    troupe.process.send_signal(signal.SIGTTOU)
    troupe.process.send_signal(signal.SIGTTIN)
    for name in ("olap-0", "olap-1"):
        troupe.wait_state(troupe.seat(board, name), State.SERVING)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_partitions_that_are_added_are_served_without_a_restart(playing: Playing, workers: str) -> None:
    troupe = playing()
    board = troupe.serving("--olap-workers", workers)
    troupe.script({"probe": {"partitions": 6}})
    troupe.wait(lambda: all(board.olap(p).committed > 0 for p in range(6)), "all six are served")
    assert board.header.topic_partitions == 6
    owners = {board.assignment(p).seat for p in range(6)}
    assert len(owners) == (6 if workers == "0" else 2)
    assert troupe.deaths("probe") == []


@pytest.mark.parametrize(("workers", "owners"), [("0", 6), ("2", 2)])
def test_partitions_that_cannot_be_served_yet_are_shown_and_served_in_the_end(
    playing: Playing, workers: str, owners: int
) -> None:
    """A process that was to become one of their workers dies: nobody has asked who could try again."""
    troupe, pipeline = with_pipeline_on_disk(playing, "restart.backoff_cap_s = 0.2")
    board = troupe.serving("--olap-workers", workers)
    pipeline.write_text("this is not Python\n")
    troupe.script({"probe": {"partitions": 6}})
    for _ in range(2):  # the second one is a try by itself
        count = troupe.log.read_text().count("the change of workers or partitions failed")
        troupe.wait(
            lambda count=count: (
                troupe.log.read_text().count("the change of workers or partitions failed") > count
            ),
            "it has failed",
        )
    seen = troupe.run("status", "--json")
    assert seen.returncode == Exit.FAILED
    assert json.loads(seen.stdout)["health"] == "degraded"
    pipeline.write_text("from puppets import *\n")
    troupe.wait(lambda: all(board.olap(p).committed > 0 for p in range(6)), "all six are served")
    assert len({board.assignment(p).seat for p in range(6)}) == owners
    assert troupe.run("status").returncode == Exit.OK


def test_a_scale_that_fails_is_told_and_leaves_the_number_as_it_was(playing: Playing) -> None:
    """As it was asked for, too: one per partition stays one per partition."""
    troupe, pipeline = with_pipeline_on_disk(playing, "restart.backoff_cap_s = 0.2")
    board = troupe.serving()
    pipeline.write_text("this is not Python\n")
    answer = troupe.run("scale", "2")
    assert answer.returncode == Exit.FAILED
    assert "a process ended before it was ready" in answer.stderr
    pipeline.write_text("from puppets import *\n")
    troupe.script({"probe": {"partitions": 6}})
    troupe.wait(lambda: all(board.olap(p).committed > 0 for p in range(6)), "all six are served")
    assert len({board.assignment(p).seat for p in range(6)}) == 6


# -- others -----------------------------------------------------------------------------------------------


def test_a_second_start_is_refused_and_a_lock_left_by_a_kill_is_no_obstacle(playing: Playing) -> None:
    troupe = playing()
    troupe.serving()
    second = troupe.run("start")
    assert second.returncode == Exit.ALREADY_RUNNING
    assert troupe.process is not None
    troupe.process.kill()
    troupe.process.wait()
    troupe.serving()


def test_orders_wait_for_each_other_and_two_reloads_at_once_are_harmless(playing: Playing) -> None:
    troupe = playing(toml="runtime.canary_s = 0.0")
    board = troupe.serving()
    troupe.configure("olap.nice = 11")
    under_way = [
        troupe.command(*order) for order in (["reload"], ["reload"], ["restart", "olap-1"], ["scale", "3"])
    ]
    for process in under_way:
        code, _, err = ended(process)
        assert code == Exit.OK, err
    assert len([death for death in troupe.deaths("olap-2") if death["cause"] == "stopped"]) <= 2
    troupe.wait(lambda: troupe.seat(board, "olap-3").state == State.CLOSED, "there are three")


def test_usr1_opens_log_files_anew_and_usr2_ends_nothing(playing: Playing) -> None:
    troupe = playing()
    board = troupe.serving()
    file = troupe.run_dir / "log" / "supervisor.log"
    moved = file.with_name("supervisor.log.moved")
    file.rename(moved)
    assert troupe.process is not None
    troupe.process.send_signal(signal.SIGUSR1)
    troupe.wait(lambda: file.exists() and "opened anew" in file.read_text(), "the file is there again")
    troupe.process.send_signal(signal.SIGUSR2)
    troupe.wait_logged("SIGUSR2 has no meaning")
    assert moved.exists()
    assert troupe.seat(board, "olap-0").state == State.SERVING


def test_a_layout_that_gives_a_parked_worker_other_partitions_serves_those(playing: Playing) -> None:
    troupe = playing({"olap-0": {"then": "fail 25 partition 0: too many", "times": 1}})
    troupe.start()
    board = troupe.board()
    troupe.wait_state(troupe.seat(board, "olap-0"), State.PARKED)
    answer = troupe.run("scale", "2")
    assert answer.returncode == Exit.OK, answer.stderr
    troupe.wait(lambda: board.olap(2).committed > 0, "olap-0 serves partition 2")
    assert board.assignment(0).parked_ns


def test_code_broken_on_disk_stops_nobody_who_serves_and_mended_brings_spares_back(playing: Playing) -> None:
    troupe, pipeline = with_pipeline_on_disk(playing)
    board = troupe.serving()
    pipeline.write_text("this is not Python\n")
    seats = [troupe.seat(board, f"olap-{index}") for index in range(2)]
    pids = [seat.pid for seat in seats]
    for pid in pids:  # the spare takes over from one of them
        os.kill(pid, signal.SIGKILL)
    troupe.wait_logged("a process without a role ended")
    assert troupe.process is not None
    assert troupe.process.poll() is None
    pipeline.write_text("from puppets import *\n")
    for seat, pid in zip(seats, pids, strict=True):
        troupe.wait_replaced(seat, pid)


def test_what_is_the_supervisors_own_holds_after_a_reload_and_replaces_nobody(playing: Playing) -> None:
    troupe = playing(toml="runtime.canary_s = 0.0\nlimits.memory_interval_s = 0.1")
    board = troupe.serving()
    before = olap_pids(troupe, board)
    weighed = troupe.seat(board, "olap-1")
    troupe.wait(lambda: weighed.rss_bytes > 0, "its limits are looked at")
    for line in ("restart.backoff_first_s = 1000.0", "restart.backoff_cap_s = 1000.0"):
        troupe.configure(line)
    assert troupe.run("reload").returncode == Exit.OK
    assert olap_pids(troupe, board) == before
    seat = troupe.seat(board, "olap-0")
    troupe.script({"olap-0": {"open": "exit 3"}})
    os.kill(seat.pid, signal.SIGKILL)
    troupe.wait_state(seat, State.BACKOFF)
    assert seat.retry_ns - time.monotonic_ns() > 500 * 1e9
    troupe.script({})
    assert troupe.run("restart", "olap-0").returncode == Exit.OK
    troupe.configure("limits.max_events = 1")
    assert troupe.run("reload").returncode == Exit.OK
    troupe.wait(lambda: weighed.recycled > 0, "who was there before is replaced by the new limit")


def test_a_reload_of_the_log_holds_for_the_supervisor_itself(playing: Playing) -> None:
    troupe = playing(toml="runtime.canary_s = 0.0")
    troupe.serving()
    troupe.configure('log.format = "json"')
    assert troupe.run("reload").returncode == Exit.OK
    troupe.wait_logged('"process":"supervisor"')
