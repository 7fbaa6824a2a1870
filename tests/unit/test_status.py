"""A status, read off boards that are as the supervisor leaves them in each situation."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from supervisor.contract.board import Board, Phase, Role, Seat, Stage
from supervisor.contract.faults import Fault
from supervisor.host import instance
from supervisor.reporting import status
from supervisor.rules.lifecycle import State
from supervisor.rules.policy import Cause

S = 1_000_000_000
NOW = 1_000 * S
SEATS = [(Role.PROBE, 0), (Role.REALTIME, 0), (Role.OLAP, 0), (Role.OLAP, 1)]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board.create(tmp_path / "board", workers=8, partitions=8)


@pytest.fixture
def running(board: Board) -> Board:
    """Three partitions, two OLAP workers, everybody serving, brokers heard of a second ago."""
    header = board.header
    header.supervisor_pid, header.started_ns = 77, NOW - 60 * S
    header.seats, header.topic_partitions, header.brokers_alive = len(SEATS), 3, 3
    header.brokers_asked_ns = header.brokers_answered_ns = NOW - S
    for place, (role, index) in enumerate(SEATS):
        seat = board.seat(place)
        seat.role, seat.index, seat.state = role, index, State.SERVING
        seat.worker, seat.pid = place + 2, 100 + place
        slot = board.worker(place + 1)
        slot.stage, slot.heartbeat_ns, slot.events = Stage.CONSUMING, NOW - 2 * S, 10 * place
    for partition, place in enumerate((2, 3, 2)):
        board.assignment(partition).seat = place + 1
    header.phase = Phase.RUNNING
    return board


def test_every_seat_is_shown_with_its_process_and_partitions(running: Board) -> None:
    workers = status.read(running, NOW).workers
    assert [(worker.name, worker.partitions) for worker in workers] == [
        ("probe", ()),
        ("realtime-0", (0, 1, 2)),
        ("olap-0", (0, 2)),
        ("olap-1", (1,)),
    ]
    last = workers[3]
    assert (last.state, last.stage, last.pid, last.events) == ("serving", "consuming", 103, 30)
    assert (last.restarts, last.last_exit, last.heartbeat_age_s) == (0, None, 2.0)


def test_a_vacant_seat_has_no_process_but_tells_how_the_last_one_ended(running: Board) -> None:
    seat = running.seat(2)
    seat.worker = seat.pid = 0
    seat.state, seat.restarts, seat.exit_code, seat.noticed_ns = State.BACKOFF, 4, -9, NOW - S
    worker = status.read(running, NOW).workers[2]
    assert (worker.state, worker.stage, worker.pid, worker.heartbeat_age_s) == ("backoff", None, None, None)
    assert (worker.restarts, worker.last_exit, worker.events) == (4, -9, 0)


def test_an_exit_with_zero_is_told_from_none_at_all(running: Board) -> None:
    running.seat(2).noticed_ns = NOW
    assert [worker.last_exit for worker in status.read(running, NOW).workers] == [None, None, 0, None]


def test_partitions_come_with_their_lag_and_counts(running: Board) -> None:
    record = running.olap(2)
    record.position, record.committed, record.committed_ns = 950, 900, NOW - S // 2
    record.events, record.outputs, record.dead_letters = 50, 49, 1
    record.late, record.lost, record.transactions = 3, 7, 5
    running.topic(2).end = 1_000
    assigned = running.assignment(2)
    assigned.deaths, assigned.unowned_ns = 2, S // 4
    record.quarantined = 1
    found = {partition.partition: partition for partition in status.read(running, NOW).partitions}
    assert sorted(found) == [0, 1, 2]
    assert found[2] == status.Partition(
        partition=2,
        worker="olap-0",
        parked_age_s=None,
        parked_cause=None,
        position=950,
        committed=900,
        end=1_000,
        lag=100,
        events=50,
        outputs=49,
        dead_letters=1,
        late=3,
        lost=7,
        transactions=5,
        committed_age_s=0.5,
        deaths=2,
        quarantined=1,
        unowned_s=0.25,
    )
    assert found[1].worker == "olap-1"
    assert found[1].committed_age_s is None


def test_a_lag_is_never_negative_when_the_probe_looked_before_the_worker_went_on(running: Board) -> None:
    running.olap(0).committed = running.realtime(0).position = 20
    running.topic(0).end = 10
    seen = status.read(running, NOW)
    assert seen.partitions[0].lag == 0
    assert seen.realtime is not None
    assert seen.realtime.lag == 0


def test_the_real_time_side_sums_its_lag_and_tells_ages(running: Board) -> None:
    slot = running.worker(2)
    slot.shown = 12
    slot.latency.add([1] * 98 + [500, 500])
    for partition in range(3):
        running.topic(partition).end = 10
        running.realtime(partition).position = 10 - partition
    assert status.read(running, NOW).realtime == status.Realtime(shown=12, lag=3, p50_ms=1, p99_ms=480)


def test_without_a_real_time_process_there_are_no_real_time_numbers(running: Board) -> None:
    running.seat(1).worker = 0
    assert status.read(running, NOW).realtime is None


def test_all_serving_is_ok(running: Board) -> None:
    assert status.read(running, NOW).health == "ok"


def test_before_the_probe_has_found_the_topics_it_is_starting(running: Board) -> None:
    running.header.seats = 1
    assert status.read(running, NOW).health == "starting"


def test_seats_that_are_filled_for_the_first_time_are_starting(running: Board) -> None:
    running.header.phase = Phase.STARTING
    running.seat(3).state = State.OPENING
    assert status.read(running, NOW).health == "starting"


def test_a_seat_that_is_lost_at_the_start_is_degraded(running: Board) -> None:
    running.header.phase = Phase.STARTING
    running.seat(3).state, running.seat(3).restarts = State.OPENING, 1
    assert status.read(running, NOW).health == "degraded"


@pytest.mark.parametrize("cause", [Cause.NONE, Cause.STOPPED, Cause.RECYCLED])
@pytest.mark.parametrize("state", [State.RETIRING, State.VACANT, State.OPENING])
def test_a_worker_whose_turn_it_is_in_a_reload_is_no_trouble(
    running: Board, state: State, cause: Cause
) -> None:
    running.header.phase = Phase.RELOADING
    running.seat(3).state, running.seat(3).cause = state, cause
    seen = status.read(running, NOW)
    assert (seen.health, seen.phase) == ("ok", "reloading")


@pytest.mark.parametrize("state", [State.VACANT, State.OPENING, State.BACKOFF])
def test_a_seat_that_is_not_served_is_degraded_whoever_is_to_blame(running: Board, state: State) -> None:
    running.seat(3).state = state
    assert status.read(running, NOW).health == "degraded"


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.RELOADING])
def test_a_partition_that_was_added_and_that_nobody_has_yet_is_degraded(running: Board, phase: Phase) -> None:
    running.header.phase = phase
    running.header.topic_partitions = 4
    seen = status.read(running, NOW)
    assert (seen.health, seen.partitions[3].worker) == ("degraded", None)


@pytest.mark.parametrize("state", [State.VACANT, State.OPENING, State.BACKOFF])
def test_a_crash_during_a_reload_is_degraded(running: Board, state: State) -> None:
    """A restart, too, may have to wait for a process that cannot be started: nothing may hide behind it."""
    running.header.phase = Phase.RELOADING
    running.seat(3).state, running.seat(3).cause = state, Cause.CRASH
    assert status.read(running, NOW).health == "degraded"


def test_while_it_stops_it_says_so_and_shows_the_seats_that_are_closed(running: Board) -> None:
    running.header.phase = Phase.STOPPING
    running.seat(3).state = State.CLOSED
    seen = status.read(running, NOW)
    assert (seen.health, seen.workers[3].state) == ("stopping", "closed")


def test_a_worker_that_was_scaled_away_is_not_shown_and_no_trouble(running: Board) -> None:
    running.seat(3).state = State.CLOSED
    running.assignment(1).seat = 3
    seen = status.read(running, NOW)
    assert seen.health == "ok"
    assert [worker.name for worker in seen.workers] == ["probe", "realtime-0", "olap-0"]
    assert seen.workers[2].partitions == (0, 1, 2)


def test_a_partition_belongs_to_the_seat_that_it_was_given_whatever_its_number(running: Board) -> None:
    running.assignment(0).seat = 4
    running.assignment(1).seat = 0
    seen = status.read(running, NOW)
    assert [partition.worker for partition in seen.partitions] == ["olap-1", None, "olap-0"]
    assert [worker.partitions for worker in seen.workers[2:]] == [(2,), (0,)]


def test_a_parked_partition_is_degraded_though_every_seat_is_served(running: Board) -> None:
    record = running.assignment(2)
    record.parked_ns, record.parked_cause = NOW - 5 * S, Cause.DLQ_LIMIT
    seen = status.read(running, NOW)
    assert seen.health == "degraded: parked"
    assert (seen.partitions[2].parked_age_s, seen.partitions[2].parked_cause) == (5.0, "dlq_limit")
    assert seen.partitions[0].parked_age_s is None


def test_a_parked_seat_without_partitions_is_degraded_too(running: Board) -> None:
    running.seat(1).state = State.PARKED
    assert status.read(running, NOW).health == "degraded: parked"


def test_a_seat_tells_what_its_process_may_use_and_why_the_last_one_ended(running: Board) -> None:
    seat = running.seat(3)
    seat.noticed_ns, seat.exit_code, seat.cause = NOW - S, -9, Cause.OUT_OF_MEMORY
    seat.generation, seat.recycled, seat.rss_bytes = 3, 2, 80_000_000
    seat.nice, seat.cpus, seat.cpu_weight = 10, 0b1010, 50
    running.worker(4).partition = 2
    worker = status.read(running, NOW).workers[3]
    assert (worker.last_exit, worker.cause, worker.partition) == (-9, "out_of_memory", 1)
    assert (worker.generation, worker.recycled, worker.rss_bytes) == (3, 2, 80_000_000)
    assert (worker.nice, worker.cpus, worker.cpu_weight) == (10, (1, 3), 50)


def test_a_seat_that_waits_tells_when_it_is_filled_again(running: Board) -> None:
    seat = running.seat(3)
    seat.state, seat.worker, seat.retry_ns = State.BACKOFF, 0, NOW + S // 2
    worker = status.read(running, NOW).workers[3]
    assert (worker.retry_in_s, worker.nice, worker.partition) == (0.5, None, None)
    assert status.read(running, NOW + S).workers[3].retry_in_s == 0.0


def test_deaths_that_count_are_told(running: Board) -> None:
    running.header.deaths = 7
    assert status.read(running, NOW).deaths == 7


def test_a_seat_that_is_not_served_after_a_death_is_degraded(running: Board) -> None:
    running.seat(3).state, running.seat(3).restarts = State.VACANT, 1
    assert status.read(running, NOW).health == "degraded"


@pytest.mark.parametrize(
    ("answered_ago_s", "health"),
    [(0.0, "ok"), (10.0, "ok"), (10.1, "degraded: brokers"), (None, "degraded: brokers")],
)
def test_silent_brokers_are_told_apart_from_workers(
    running: Board, answered_ago_s: float | None, health: str
) -> None:
    running.header.brokers_answered_ns = 0 if answered_ago_s is None else NOW - int(answered_ago_s * S)
    assert status.read(running, NOW).health == health


def test_silent_brokers_are_named_first_when_seats_are_vacant_because_of_them(running: Board) -> None:
    running.seat(3).state, running.seat(3).restarts = State.BACKOFF, 3
    running.header.brokers_answered_ns = NOW - 60 * S
    assert status.read(running, NOW).health == "degraded: brokers"


def test_ages_are_told_in_seconds_and_never_negative(running: Board) -> None:
    running.worker(1).heartbeat_ns = NOW + S
    seen = status.read(running, NOW)
    assert (seen.uptime_s, seen.brokers_answered_age_s) == (60.0, 1.0)
    assert seen.workers[0].heartbeat_age_s == 0.0


def test_a_board_that_was_just_made_can_be_read(board: Board) -> None:
    seen = status.read(board, NOW)
    assert (seen.health, seen.workers, seen.partitions, seen.realtime) == ("starting", (), (), None)


def test_a_seat_that_is_vacated_while_it_is_read_is_no_error(
    running: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor writes between any two reads; the second look at such a seat finds it vacant."""

    class VacatedBetweenTwoLooks:
        looks = 0

        def __get__(self, seat: Seat, owner: object = None) -> int:
            self.looks += 1
            return 2 * (self.looks % 2)

    monkeypatch.setattr(Seat, "worker", VacatedBetweenTwoLooks(), raising=False)
    assert len(status.read(running, NOW).workers) == len(SEATS)


def test_a_status_can_be_written_as_json_and_read_again(running: Board) -> None:
    seen = status.read(running, NOW)
    assert msgspec.json.decode(msgspec.json.encode(seen), type=status.Status) == seen


def test_there_is_nothing_to_join_where_no_supervisor_runs(tmp_path: Path) -> None:
    Board.create(tmp_path / instance.BOARD, workers=1, partitions=1)
    with pytest.raises(Fault, match="no supervisor is running") as caught:
        status.join(tmp_path)
    assert "supervisor start" in caught.value.remedy


def test_the_board_of_a_running_supervisor_is_joined(tmp_path: Path) -> None:
    Board.create(tmp_path / instance.BOARD, workers=1, partitions=1)
    claim = instance.claim(tmp_path)
    assert status.join(tmp_path).header.supervisor_pid == os.getpid()
    claim.close()


@pytest.mark.parametrize("former_board", [False, True])
def test_between_its_lock_and_its_board_a_supervisor_has_only_just_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, former_board: bool
) -> None:
    """For a moment it holds its lock while the board is absent, or still the one of a former supervisor."""
    monkeypatch.setattr(status, "_BOARD_PATIENCE_S", 0.0)
    if former_board:
        Board.create(tmp_path / instance.BOARD, workers=1, partitions=1).header.supervisor_pid = 1
    claim = instance.claim(tmp_path)
    assert status.board_of(tmp_path, os.getpid()) is None
    with pytest.raises(Fault, match="has only just begun"):
        status.join(tmp_path)
    claim.close()
