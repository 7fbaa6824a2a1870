"""Whose turn it is in a rollout, and when: with processes and time that are made up."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.operations import rollout
from supervisor.operations.rollout import Restart
from supervisor.rules.lifecycle import State


class FakeTimer:
    def __init__(self, due_s: float, act: Callable[[], None]) -> None:
        self.due_s = due_s
        self.act = act
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    def __init__(self) -> None:
        self.now_s = 0.0
        self._timers: list[FakeTimer] = []

    def after(self, seconds: float, act: Callable[[], None]) -> FakeTimer:
        self._timers.append(FakeTimer(self.now_s + seconds, act))
        return self._timers[-1]

    @property
    def pending(self) -> int:
        return sum(not timer.cancelled for timer in self._timers)

    def elapse(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while due := sorted(
            (timer for timer in self._timers if timer.due_s <= end_s and not timer.cancelled),
            key=lambda timer: timer.due_s,
        ):
            self._timers.remove(due[0])
            self.now_s = due[0].due_s
            due[0].act()
        self.now_s = end_s


class FakeChild:
    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.generation = 1
        self.serving: object = None
        self.intent = None
        self.prepared_for: list[tuple[int, ...]] = []


class Stage:
    """A floor with two OLAP workers and the real-time one, a spare, and a restart of all of them."""

    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.said: list[str] = []
        self.retired: list[str] = []
        self.spares = [FakeChild(100)]
        self.cold: set[int] = set()
        self.seats = [
            self._seat("olap", 0, (0, 2)),
            self._seat("olap", 1, (1,)),
            self._seat("realtime", 0, ()),
        ]
        crew = SimpleNamespace(
            each=lambda: tuple(self.spares),
            warm=lambda child: child.pid not in self.cold,
            standby=lambda generation, partitions: self.spares[0] if self.spares else None,
        )
        floor: Any = SimpleNamespace(
            loop=self.loop,
            crew=crew,
            generation=1,
            refill=lambda: None,
            retire=self._retire,
            prepare=lambda child, seat: child.prepared_for.append(seat.partitions),
        )
        talk: Any = SimpleNamespace(say=self.said.append, end=lambda outcome: self.said.append(outcome.text))
        seats: Any = self.seats
        self.restart = Restart(floor, "restart", [talk], seats)

    def _seat(self, role: str, index: int, partitions: tuple[int, ...]) -> Any:
        return SimpleNamespace(
            role=role,
            name=f"{role}-{index}",
            partitions=partitions,
            state=State.SERVING,
            served=True,
            child=FakeChild(10 * index + len(role)),
            generation=1,
        )

    def _retire(self, seat: Any, _intent: object) -> None:
        self.retired.append(seat.name)

    def begin(self) -> FakeChild:
        self.restart.begin()
        return self.spares[0]

    def prepared(self, child: Any, *partitions: int) -> None:
        self.restart.prepared(child, partitions)

    def hand_over(self, place: int) -> None:
        """The old process ends, the one in standby gets the seat and owns it; another one gets ready."""
        seat = self.seats[place]
        seat.child = self.spares.pop(0)
        seat.child.serving = seat
        self.restart.owned(seat)
        self.spares.append(FakeChild(seat.child.pid + 1))
        self.restart.ready(self.spares[0])  # type: ignore[arg-type]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    monkeypatch.setattr(rollout.time, "monotonic", lambda: stage.loop.now_s)
    return stage


def test_a_worker_is_told_to_finish_when_its_replacement_has_prepared_and_not_before(stage: Stage) -> None:
    spare = stage.begin()
    assert spare.prepared_for == [(0, 2)]
    stage.loop.elapse(10)
    assert stage.retired == []
    stage.prepared(spare, 0, 2)
    assert stage.retired == ["olap-0"]


def test_each_olap_worker_is_prepared_for_and_the_realtime_worker_needs_none(stage: Stage) -> None:
    stage.prepared(stage.begin(), 0, 2)
    stage.hand_over(0)
    second = stage.spares[0]
    assert second.prepared_for == [(1,)]
    stage.prepared(second, 1)
    stage.hand_over(1)
    third = stage.spares[0]
    assert third.prepared_for == []
    assert stage.retired == ["olap-0", "olap-1", "realtime-0"]
    stage.hand_over(2)
    assert stage.said[-1] == "restart: 3 replaced"


def test_one_that_is_rolled_back_does_not_work_on_while_its_replacement_prepares(stage: Stage) -> None:
    stage.restart.replace(stage.seats[:1], 1, at_once=True)
    assert stage.spares[0].prepared_for == [(0, 2)]
    assert stage.retired == ["olap-0"]


def test_only_what_it_was_told_to_prepare_counts(stage: Stage) -> None:
    """An answer may still be on its way when somebody else's turn has come."""
    spare = stage.begin()
    stage.prepared(spare, 1)
    stage.prepared(FakeChild(7), 0, 2)
    assert stage.retired == []
    stage.prepared(spare, 0, 2)
    stage.prepared(spare, 0, 2)
    assert stage.retired == ["olap-0"]


def test_a_preparation_that_takes_long_is_said_and_one_that_takes_too_long_is_not_waited_for(
    stage: Stage,
) -> None:
    stage.begin()
    stage.loop.elapse(1)
    assert stage.said == []
    stage.loop.elapse(58)
    assert stage.said == ["olap-0: its state is read ahead by its next process"]
    assert stage.retired == []
    stage.loop.elapse(2)
    assert stage.retired == ["olap-0"]
    stage.loop.elapse(1_000)
    assert stage.retired == ["olap-0"]


def test_where_another_process_is_next_it_prepares_and_is_waited_for(stage: Stage) -> None:
    """The first one has died, or was given the seat of one that has."""
    first = stage.begin()
    stage.loop.elapse(50)
    stage.spares = [FakeChild(200)]
    stage.restart.ready(stage.spares[0])  # type: ignore[arg-type]
    assert stage.spares[0].prepared_for == [(0, 2)]
    stage.prepared(first, 0, 2)
    stage.loop.elapse(50)
    assert stage.retired == []
    stage.prepared(stage.spares[0], 0, 2)
    assert stage.retired == ["olap-0"]


def test_one_that_loses_its_connections_while_it_prepares_is_waited_for_all_the_same(stage: Stage) -> None:
    spare = stage.begin()
    stage.cold.add(spare.pid)
    stage.restart.ready(FakeChild(300))  # type: ignore[arg-type]
    stage.loop.elapse(59)
    assert stage.retired == []
    stage.loop.elapse(2)
    assert stage.retired == ["olap-0"]
    assert spare.prepared_for == [(0, 2)]


def test_nobody_prepares_for_a_seat_that_is_vacant(stage: Stage) -> None:
    released: list[str] = []
    stage.seats[0].child = None
    stage.seats[0].state = State.BACKOFF
    stage.seats[0].release = lambda: released.append("olap-0")
    spare = stage.begin()
    assert spare.prepared_for == []
    assert released == ["olap-0"]


def test_a_seat_that_is_parked_while_somebody_prepares_for_it_loses_its_turn(stage: Stage) -> None:
    spare = stage.begin()
    stage.restart.parked(stage.seats[0])
    assert spare.prepared_for == [(0, 2), (1,)]
    stage.prepared(spare, 0, 2)
    assert stage.retired == []
    stage.prepared(spare, 1)
    assert stage.retired == ["olap-1"]


def test_where_partitions_are_parked_meanwhile_it_prepares_for_those_that_are_left(stage: Stage) -> None:
    spare = stage.begin()
    stage.seats[0].partitions = (2,)
    stage.prepared(spare, 0, 2)
    assert spare.prepared_for == [(0, 2), (2,)]
    assert stage.retired == []
    stage.prepared(spare, 2)
    assert stage.retired == ["olap-0"]


def test_a_worker_that_dies_while_its_replacement_prepares_is_followed_by_it_at_once(stage: Stage) -> None:
    released: list[str] = []
    spare, seat = stage.begin(), stage.seats[0]
    seat.release = lambda: released.append(seat.name)
    dead, seat.child, seat.state, seat.served = seat.child, None, State.BACKOFF, False
    stage.restart.died(dead, seat, "SIGSEGV", blamed=True)
    assert released == ["olap-0"]
    seat.child, seat.state, seat.served = spare, State.SERVING, True
    stage.restart.owned(seat)
    assert stage.said[0].startswith("olap-0: replaced in ")
    assert stage.retired == []


def test_where_the_one_that_prepares_dies_the_next_one_does_so_at_once(stage: Stage) -> None:
    first = stage.begin()
    stage.spares = [FakeChild(200)]
    stage.restart.died(first, None, "SIGKILL", blamed=True)  # type: ignore[arg-type]
    assert stage.spares[0].prepared_for == [(0, 2)]


def test_one_that_takes_over_from_a_dead_one_has_the_time_and_has_replaced_it(stage: Stage) -> None:
    """To take the seat from it as well would leave the partitions without an owner for even longer."""
    spare, seat = stage.begin(), stage.seats[0]
    seat.child, seat.state, seat.served = spare, State.OPENING, False
    spare.serving = seat
    stage.spares = [FakeChild(200)]
    stage.restart.ready(stage.spares[0])  # type: ignore[arg-type]
    stage.loop.elapse(100)
    assert stage.retired == []
    seat.state, seat.served = State.SERVING, True
    stage.restart.owned(seat)
    assert stage.said[-1].startswith("olap-0: replaced in ")
    assert stage.spares[0].prepared_for == [(1,)]


def test_one_of_another_generation_that_takes_over_is_replaced_once_it_owns(stage: Stage) -> None:
    stage.begin()
    seat = stage.seats[0]
    seat.child, seat.state, seat.served = FakeChild(300), State.OPENING, False
    seat.child.generation = 0
    stage.prepared(stage.spares[0], 0, 2)
    assert stage.retired == []
    seat.state, seat.served = State.SERVING, True
    stage.restart.owned(seat)
    assert stage.retired == ["olap-0"]


def test_a_supervisor_that_stops_waits_for_no_preparation(stage: Stage) -> None:
    spare = stage.begin()
    assert stage.loop.pending == 1
    stage.restart.abandon()
    assert stage.loop.pending == 0
    stage.prepared(spare, 0, 2)
    assert stage.retired == []
