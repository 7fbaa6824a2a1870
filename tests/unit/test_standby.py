"""A process that waits for its role."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S, until

from supervisor.contract.board import Board, Stage
from supervisor.contract.messages import (
    Command,
    Prepare,
    Prepared,
    Reopen,
    Report,
    Serve,
    Stop,
    decode_report,
    encode,
)
from workers import standby
from workers.pipe import Orphaned, Pipe
from workers.standby import StandbyProcess

SERVE = Serve("olap", 0, (2,), (), 10)


class FakeWarmth:
    ready = False

    def take(self) -> str:
        return "warm"


class FakePreparation:
    def __init__(self, asked: Prepare) -> None:
        self.asked = asked
        self.done = False
        self.dropped = False

    def take(self, _wanted: object) -> dict[int, str]:
        return dict.fromkeys(self.asked.partitions, "prepared")

    def drop(self) -> None:
        self.dropped = True


class Waiting:
    """One in standby, in a thread of its own, and the supervisor's end of its pipe."""

    def __init__(self, board: Board) -> None:
        self.ours, theirs = multiprocessing.Pipe()
        self.preparations: list[FakePreparation] = []
        self.slot = board.worker(0)
        self.warmth = FakeWarmth()
        self.stopping = False
        self.found: list[object] = []
        self.process = StandbyProcess(Pipe(theirs), self.slot, self.warmth, self._prepare)  # type: ignore[arg-type]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _prepare(self, asked: Prepare) -> FakePreparation:
        self.preparations.append(FakePreparation(asked))
        return self.preparations[-1]

    def _run(self) -> None:
        try:
            self.found.append(self.process.await_role(lambda: self.stopping))
        except Orphaned as error:
            self.found.append(error)

    def tell(self, command: Command) -> None:
        self.ours.send_bytes(encode(command))

    def told(self) -> Report:
        assert self.ours.poll(PATIENCE_S)
        return decode_report(self.ours.recv_bytes())

    def result(self) -> object:
        self.thread.join(PATIENCE_S)
        (found,) = self.found
        return found


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Waiting]:
    one = Waiting(Board.create(tmp_path / "board", workers=1, partitions=3))
    yield one
    one.stopping = True
    one.thread.join(PATIENCE_S)


def test_it_waits_until_it_is_given_a_role(waiting: Waiting) -> None:
    waiting.tell(Reopen())
    waiting.tell(SERVE)
    assert waiting.result() == SERVE
    assert waiting.slot.stage == Stage.STANDBY
    assert waiting.process.take(SERVE) == ("warm", {})


def test_told_to_stop_it_has_no_role(waiting: Waiting) -> None:
    waiting.tell(Stop(1.0))
    assert waiting.result() is None


def test_asked_to_stop_by_a_signal_it_has_no_role(waiting: Waiting) -> None:
    waiting.stopping = True
    assert waiting.result() is None


def test_without_a_supervisor_it_is_an_orphan(waiting: Waiting) -> None:
    waiting.ours.close()
    assert isinstance(waiting.result(), Orphaned)


def test_it_says_once_when_it_has_prepared_and_takes_that_into_its_role(waiting: Waiting) -> None:
    waiting.tell(Prepare((2, 0)))
    until(lambda: bool(waiting.preparations))
    assert not waiting.ours.poll(0.1)
    waiting.preparations[0].done = True
    assert waiting.told() == Prepared((2, 0))
    waiting.tell(SERVE)
    assert waiting.result() == SERVE
    assert not waiting.ours.poll()
    assert waiting.process.take(SERVE) == ("warm", {2: "prepared", 0: "prepared"})


def test_what_was_prepared_makes_way_for_what_is_wanted_next(waiting: Waiting) -> None:
    waiting.tell(Prepare((1,)))
    waiting.tell(Prepare((2,)))
    waiting.tell(SERVE)
    assert waiting.result() == SERVE
    first, second = waiting.preparations
    assert (first.dropped, second.dropped) == (True, False)
    assert waiting.process.take(SERVE) == ("warm", {2: "prepared"})


def test_what_is_prepared_and_does_not_come_to_be_used_is_not_kept(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting.tell(Prepare((2,)))
    until(lambda: bool(waiting.preparations))
    waiting.preparations[0].done = True
    assert waiting.told() == Prepared((2,))
    monkeypatch.setattr(standby, "_KEEP_PREPARED_S", 0.0)
    until(lambda: waiting.preparations[0].dropped)
    waiting.tell(SERVE)
    assert waiting.result() == SERVE
    assert waiting.process.take(SERVE) == ("warm", {})
