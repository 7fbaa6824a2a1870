"""When the layout changes, when not, and when that is tried again: with processes and seats that are made
up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.contract.faults import ConfigurationFault, Fault
from supervisor.contract.settings import Restart, Settings
from supervisor.control.protocol import Ended
from supervisor.operations.queue import Operation, Operations
from supervisor.operations.rescale import Rescale
from supervisor.operations.upkeep import Upkeep
from supervisor.rules.placement import place
from supervisor.rules.policy import Intent
from supervisor.seat import Seat

Layout = dict[str, tuple[int, ...]]


class Listener:
    def __init__(self) -> None:
        self.outcomes: list[Ended] = []

    def say(self, text: str) -> None:
        pass

    def end(self, outcome: Ended) -> None:
        self.outcomes.append(outcome)


class Busy(Operation):
    """Another operation, which goes on until the test says so."""

    def __init__(self) -> None:
        super().__init__("reload", [])

    def begin(self) -> None:
        pass


class FakeTimer:
    def __init__(self, due_s: float, act: Callable[[], None]) -> None:
        self.due_s, self.act, self.cancelled = due_s, act, False

    def cancel(self) -> None:
        self.cancelled = True


class FakeSeats:
    """What is served by whom. None is open, so that a layout wants a process for each of its workers."""

    def __init__(self) -> None:
        self.partitions = 2
        self.served: Layout = {"olap-0": (0,), "olap-1": (1,)}
        self.problem: Fault | None = None
        self.olap: list[Seat] = []

    def __iter__(self) -> Iterator[Seat]:
        return iter(())

    def layout(self, _settings: Settings, partitions: int, workers: int) -> Layout:
        if self.problem is not None:
            raise self.problem
        return {f"olap-{index}": mine for index, mine in enumerate(place(partitions, workers))}

    def fits(self, layout: Layout) -> bool:
        return layout == self.served

    def differing(self, _layout: Layout) -> list[Seat]:
        return []

    def lay_out(self, layout: Layout, _generation: int) -> list[Seat]:
        self.served = layout
        return []


class Stage:
    """A floor of two partitions with one worker each, nobody in standby, and what becomes of it."""

    def __init__(self) -> None:
        self.spares: list[Any] = []
        self.timers: list[FakeTimer] = []
        self.published: list[tuple[str, str]] = []
        self.seats = FakeSeats()
        self.floor: Any = SimpleNamespace(
            settings=Settings(restart=Restart(backoff_jitter=0.0)),
            seats=self.seats,
            crew=SimpleNamespace(free=lambda generation: self.spares),
            loop=SimpleNamespace(after=self._after),
            journal=SimpleNamespace(publish=lambda kind, text: self.published.append((kind, text))),
            generation=1,
            workers=0,
            stopping=False,
            refill=lambda: None,
        )
        self.operations = Operations(lambda: None)
        self.upkeep = Upkeep(self.floor, self.operations)

    def _after(self, seconds: float, act: Callable[[], None]) -> FakeTimer:
        self.timers.append(FakeTimer(seconds, act))
        return self.timers[-1]

    def ask(self, workers: int) -> Listener:
        person = Listener()
        self.operations.submit(Rescale(self.floor, [person], workers))
        return person

    def add_partitions(self, count: int) -> None:
        self.seats.partitions = count
        assert self.upkeep.look()

    def die(self) -> None:
        """A process that was to become a worker ends."""
        current = self.operations.current
        assert current is not None
        dead: Any = SimpleNamespace(intent=Intent.NONE)
        current.died(dead, None, "SIGKILL", blamed=True)

    def ready(self) -> None:
        """As many processes are in standby as anybody may want."""
        self.spares = [SimpleNamespace(ready=True)] * 8
        if self.operations.current is not None:
            self.operations.current.ready(self.spares[0])

    def elapse(self) -> float:
        """The only timer that is pending becomes due; returns how long it took."""
        (timer,) = [timer for timer in self.timers if not timer.cancelled]
        self.timers.clear()
        timer.act()
        return timer.due_s

    @property
    def waits(self) -> int:
        return sum(not timer.cancelled for timer in self.timers)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_number_of_workers_holds_once_somebody_is_taken_away_for_it(stage: Stage) -> None:
    person = stage.ask(1)
    assert stage.floor.workers == 0
    stage.ready()
    assert stage.floor.workers == 1
    assert stage.seats.served == {"olap-0": (0, 1)}
    assert [outcome.ok for outcome in person.outcomes] == [True]


def test_a_number_that_could_not_be_had_leaves_the_one_before_and_is_for_the_person_to_try_again(
    stage: Stage,
) -> None:
    person = stage.ask(1)
    stage.die()
    assert stage.floor.workers == 0
    assert [(outcome.ok, outcome.remedy) for outcome in person.outcomes] == [(False, "")]
    assert [kind for kind, _ in stage.published] == ["scale-failed"]
    assert stage.waits == 0


def test_partitions_that_are_added_are_tried_again_with_growing_waits_until_they_are_served(
    stage: Stage,
) -> None:
    stage.add_partitions(3)
    waits = []
    for _ in range(4):
        stage.die()
        assert stage.operations.current is None, "others have their turn meanwhile"
        waits.append(stage.elapse())
    assert waits == pytest.approx([0.0, 0.1, 0.2, 0.4])
    assert [kind for kind, _ in stage.published] == ["scale-failed"] * 4
    assert stage.published[0][1].endswith("(it is tried again)")
    stage.ready()
    assert stage.seats.served == {"olap-0": (0,), "olap-1": (1,), "olap-2": (2,)}
    assert stage.waits == 0
    assert not stage.upkeep.look()


def test_what_was_served_in_between_begins_with_the_first_wait_again(stage: Stage) -> None:
    for partitions in (3, 4):
        stage.spares = []
        stage.add_partitions(partitions)
        for wait in (0.0, 0.1):
            stage.die()
            assert stage.elapse() == pytest.approx(wait)
        stage.ready()


def test_a_change_that_waits_serves_the_partitions_of_its_moment_and_the_new_ones_are_tried_again(
    stage: Stage,
) -> None:
    other = Busy()
    stage.operations.submit(other)
    person = stage.ask(1)
    stage.add_partitions(3)
    stage.add_partitions(4)
    assert len(stage.operations.pending()) == 2
    other.succeed("")
    stage.die()
    assert [outcome.ok for outcome in person.outcomes] == [False]
    assert stage.elapse() == 0.0
    stage.ready()
    assert [len(stage.seats.served), stage.floor.workers] == [4, 0]


def test_more_partitions_while_a_try_waits_for_its_time_are_tried_at_once(stage: Stage) -> None:
    stage.add_partitions(3)
    stage.die()
    stage.add_partitions(4)
    assert stage.waits == 0
    stage.ready()
    assert len(stage.seats.served) == 4


def test_what_the_configuration_forbids_waits_for_another_one(stage: Stage) -> None:
    stage.seats.problem = ConfigurationFault("too many", "use fewer")
    stage.add_partitions(3)
    assert stage.published == [
        ("scale-failed", "the change of workers or partitions failed: too many (use fewer)")
    ]
    assert stage.waits == 0
    stage.seats.problem = None
    stage.ready()
    assert stage.upkeep.look()
    assert len(stage.seats.served) == 3


def test_a_supervisor_that_stops_tries_nothing_again(stage: Stage) -> None:
    stage.add_partitions(3)
    stage.floor.stopping = True
    stage.operations.abandon()
    assert stage.waits == 0
    assert not stage.upkeep.look()
