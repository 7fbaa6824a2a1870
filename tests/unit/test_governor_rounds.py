"""The governor's rounds over a real board: what it reads there, what it writes, how often it looks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.contract.board import Board
from supervisor.contract.settings import Olap, Realtime, Settings
from supervisor.governor import rounds
from supervisor.governor.control import State
from supervisor.governor.rounds import Governor
from supervisor.host.loop import Loop, Timer
from supervisor.reporting.journal import Happening, Journal
from supervisor.rules.lifecycle import State as SeatState

PARTITIONS = 4
REALTIME, OLAP = 0, 1


class FakeLoop:
    """Keeps the one timer that is set."""

    def __init__(self) -> None:
        self.after_s = 0.0
        self.act: Callable[[], None] = lambda: None

    def after(self, seconds: float, act: Callable[[], None]) -> Timer:
        self.after_s, self.act = seconds, act
        return Timer(act)


class FakeSeats(list[Any]):
    partitions = PARTITIONS


class Stage:
    """A board with a real-time worker and one OLAP worker, and a clock."""

    def __init__(self, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
        self.board = board
        self.now = 1_000.0
        self.arriving = 0
        self.events: list[Happening] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self.journal = Journal()
        self.journal.subscribe(self.events.append)
        self.loop: Any = FakeLoop()
        self.seats: Any = FakeSeats(
            SimpleNamespace(
                role=role, child=SimpleNamespace(pid=40 + slot, slot=slot), state=SeatState.SERVING
            )
            for slot, role in ((REALTIME, "realtime"), (OLAP, "olap"))
        )

    def governor(self, settings: Settings | None = None) -> Governor:
        governor = Governor(self.loop, self.board, self.seats, settings or Settings(), self.journal)
        governor.start()
        return governor

    def backlog(self, *lags: int) -> None:
        for partition, lag in enumerate(lags):
            self.board.topic(partition).end = self.board.realtime(partition).position = lag
            self.board.topic(partition).seen_ns = 1

    def go_on(self, seconds: float, *, age_ms: int = 2, rate: float = 500, obey: bool = True) -> None:
        """Time passes, with real-time events of that age, and OLAP workers that do as they are told. The
        input grows as the probe sees it once a second, if anything is ``arriving``."""
        until = self.now + seconds - 1e-9
        while self.now < until:
            step = self.loop.after_s
            self.now += step
            if self.arriving and int(self.now) > int(self.now - step):
                for topic in map(self.board.topic, range(PARTITIONS)):
                    topic.end += self.arriving // PARTITIONS
                    topic.seen_ns = int(self.now * 1e9)
            self.board.worker(REALTIME).latency.add([age_ms] * int(rate * step))
            if obey:
                self.board.worker(OLAP).events += int(step * (self.board.header.olap_rate or 300_000))
            self.loop.act()


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(Board.create(tmp_path / "board", workers=4, partitions=PARTITIONS), monkeypatch)


@pytest.mark.parametrize("realtime", [Realtime(slo_p99_ms=0), Realtime(enabled=False)])
def test_where_it_is_switched_off_there_is_no_limit_whatever_the_ages(
    stage: Stage, realtime: Realtime
) -> None:
    stage.governor(Settings(realtime=realtime))
    stage.backlog(*[10**6] * PARTITIONS)
    stage.go_on(10, age_ms=5_000)
    header = stage.board.header
    assert (header.governor, header.olap_rate, header.partition_rate) == (State.OFF, 0, 0)
    assert stage.loop.after_s == 1
    assert stage.events == []


def test_from_the_first_round_on_a_rate_stands_on_the_board(stage: Stage) -> None:
    stage.governor()
    assert stage.board.header.partition_rate > 0


def test_partitions_with_a_backlog_share_the_rate(stage: Stage) -> None:
    stage.backlog(10**6, 0, 10**6, 10)
    stage.governor()
    stage.go_on(1)
    header = stage.board.header
    assert header.partition_rate == header.olap_rate // 2


def test_a_parked_partition_has_no_part_of_the_rate(stage: Stage) -> None:
    stage.backlog(10**6, 0, 10**6, 10**6)
    stage.board.assignment(3).parked_ns = 1
    stage.governor()
    stage.go_on(1)
    header = stage.board.header
    assert header.partition_rate == header.olap_rate // 2


def test_the_rate_grows_while_events_are_in_time_and_falls_when_they_are_late(stage: Stage) -> None:
    stage.backlog(*[10**9] * PARTITIONS)
    stage.governor()
    stage.go_on(3)
    assert stage.board.header.governor == State.GROWING
    grown = stage.board.header.olap_rate
    assert grown > 100_000
    stage.go_on(1.5, age_ms=400)
    assert stage.board.header.olap_rate < grown / 3
    assert stage.board.header.delay_ms > 300


def test_the_rate_never_falls_below_the_floor(stage: Stage) -> None:
    stage.backlog(*[10**9] * PARTITIONS)
    stage.governor(Settings(olap=Olap(floor_events_s=7_000)))
    stage.go_on(1)
    lowest = 10**9
    for _ in range(40):
        stage.go_on(0.1, age_ms=900)
        lowest = min(lowest, stage.board.header.olap_rate)
    assert lowest == 7_000


def test_the_rate_never_falls_below_a_quarter_more_than_what_arrives_all_the_time(stage: Stage) -> None:
    stage.backlog(*[10**9] * PARTITIONS)
    stage.arriving = 20_000
    stage.governor()
    stage.go_on(70)
    lowest = 10**9
    for _ in range(40):
        stage.go_on(0.1, age_ms=900)
        lowest = min(lowest, stage.board.header.olap_rate)
    assert lowest == pytest.approx(25_000, rel=0.05)
    # The probe sees nothing while brokers are away; what arrived before still counts when they are back.
    stage.arriving = 0
    stage.go_on(120, age_ms=900)
    assert stage.board.header.olap_rate >= 0.95 * 25_000


def test_an_olap_side_that_keeps_up_is_not_said_to_be_held_back(stage: Stage) -> None:
    stage.backlog(*[10_000] * PARTITIONS)
    for partition in range(PARTITIONS):
        stage.board.olap(partition).position = 10_000
    stage.governor()
    stage.go_on(30, age_ms=900, obey=False)
    assert stage.board.header.limited == 0
    assert stage.events == []


def test_what_is_told_is_that_it_begins_and_that_it_is_over(stage: Stage) -> None:
    stage.backlog(*[10**9] * PARTITIONS)
    stage.governor()
    stage.go_on(2)
    for _ in range(5):
        stage.go_on(0.5, age_ms=300)
        stage.go_on(2)
    assert [event.event for event in stage.events] == ["limited"]
    assert "events/s" in stage.events[0].text
    stage.go_on(30)
    assert [event.event for event in stage.events] == ["limited", "unlimited"]
    assert stage.board.header.limited == 1


def test_a_backlog_of_which_nothing_is_known_yet_gets_no_more_than_its_share(stage: Stage) -> None:
    stage.governor()
    assert stage.board.header.partition_rate == stage.board.header.olap_rate // PARTITIONS
    stage.backlog(10**6, 0, 0, 0)
    stage.go_on(1)
    assert stage.board.header.partition_rate == stage.board.header.olap_rate


def test_it_looks_ten_times_a_second_only_while_there_is_something_to_hold_back(stage: Stage) -> None:
    stage.backlog(*[0] * PARTITIONS)
    stage.governor()
    stage.go_on(3, obey=False)
    assert stage.loop.after_s == 1
    stage.backlog(*[10**6] * PARTITIONS)
    stage.go_on(1)
    assert stage.loop.after_s == pytest.approx(0.1)
    stage.backlog(*[0] * PARTITIONS)
    stage.go_on(2, obey=False)
    assert stage.loop.after_s == 1


def test_a_process_that_is_replaced_does_not_make_the_count_of_events_jump(stage: Stage) -> None:
    stage.backlog(*[10**9] * PARTITIONS)
    stage.governor()
    stage.go_on(2)
    rate = stage.board.header.olap_rate
    stage.board.worker(OLAP).events = 0
    stage.seats[1].child = SimpleNamespace(pid=99, slot=OLAP)
    stage.go_on(0.3)
    assert rate * 0.99 <= stage.board.header.olap_rate < rate * 2


def test_a_reload_can_switch_it_off_and_on_again(stage: Stage) -> None:
    governor = stage.governor()
    governor.adopt(Settings(realtime=Realtime(slo_p99_ms=0)))
    assert stage.board.header.partition_rate == 0
    stage.go_on(2)
    assert stage.board.header.governor == State.OFF
    governor.adopt(Settings())
    assert stage.board.header.governor == State.GROWING


def test_switched_off_while_it_holds_something_back_it_says_that_that_is_over(stage: Stage) -> None:
    stage.backlog(*[10**9] * PARTITIONS)
    governor = stage.governor()
    stage.go_on(2)
    stage.go_on(0.5, age_ms=300)
    assert [event.event for event in stage.events] == ["limited"]
    governor.adopt(Settings(realtime=Realtime(slo_p99_ms=0)))
    assert [event.event for event in stage.events] == ["limited", "unlimited"]
    governor.adopt(Settings())
    stage.go_on(30)
    stage.go_on(0.5, age_ms=300)
    assert stage.board.header.limited == 2


def test_a_round_over_many_partitions_is_cheap(tmp_path: Path) -> None:
    """Against the same look at the board done by hand, which is what it cannot do without."""
    board = Board.create(tmp_path / "many", workers=70, partitions=64)
    children = [SimpleNamespace(pid=100 + slot, slot=slot) for slot in range(65)]
    seats: Any = FakeSeats(
        SimpleNamespace(role="olap" if c.slot else "realtime", child=c, state=SeatState.SERVING)
        for c in children
    )
    seats.partitions = 64
    with Loop() as loop:
        governor = Governor(loop, board, seats, Settings(), Journal())
        governor.start()
        began = time.process_time()
        for _ in range(20):
            governor._round()
        cost_s = (time.process_time() - began) / 20
    assert cost_s < 0.005 * rounds._IDLE_ROUND_S
