"""Who is taken to be hung, by what stands on the board."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from supervisor.contract.board import Board, Stage
from supervisor.contract.settings import Health, Runtime, Settings
from supervisor.rules.policy import Intent
from supervisor.seats import Seats
from supervisor.watch import Watch

SETTINGS = Settings(
    health=Health(idle_timeout_s=30, brokers_timeout_s=120, stall_timeout_s=4),
    runtime=Runtime(start_timeout_s=20),
)


class Scene:
    """A probe and one OLAP worker that have been silent for a while, and brokers that may be."""

    def __init__(self, directory: Path) -> None:
        self.board = Board.create(directory / "board", workers=32, partitions=8)
        self.seats = Seats(self.board, SETTINGS)
        self.board.header.topic_partitions = 1
        self.seats.lay_out({"olap-0": (0,)}, 1)
        self.hung: list[str] = []
        self.stalled: list[int] = []
        self.watch = Watch(cast(Any, None), self.board, self.seats, SETTINGS, cast(Any, self._alarm()))
        self.watch._awake_s = 0.0
        for slot, name in enumerate(("probe", "olap-0")):
            seat = self.seats.named(name)
            assert seat is not None
            seat.fill(self._child(slot), (), 0, 0)
            seat.own()
            seat.record.refilled_ns = 0

    def _alarm(self) -> Any:
        return SimpleNamespace(
            hung=lambda seat, text: self.hung.append(seat.name),
            stalled=lambda seat, partition, text: self.stalled.append(partition),
        )

    def _child(self, slot: int) -> Any:
        return SimpleNamespace(slot=slot, pid=slot + 10, generation=1, intent=Intent.NONE)

    def silent(self, seconds: float, stage: Stage, *, brokers_s: float) -> None:
        now = time.monotonic_ns()
        self.board.header.brokers_answered_ns = now - int(brokers_s * 1e9)
        for slot in range(2):
            record = self.board.worker(slot)
            record.stage, record.heartbeat_ns = stage, now - int(seconds * 1e9)

    def look(self, now_s: float = 0.0) -> None:
        for seat in self.seats:
            assert seat.child is not None
            self.watch._look_at(seat, seat.child, now_s, measure=False)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.mark.parametrize(
    ("silent_s", "stage", "brokers_s", "hung"),
    [
        (20, Stage.CONSUMING, 1, []),
        (31, Stage.CONSUMING, 1, ["probe", "olap-0"]),
        (31, Stage.CONSUMING, 31, []),
        (51, Stage.CONSUMING, 51, ["probe"]),
        (130, Stage.RESTORING, 1_000_000, []),
        (141, Stage.RESTORING, 1_000_000, ["probe"]),
        (1_000, Stage.COMMITTING, 1_000, ["probe"]),
    ],
)
def test_for_brokers_that_do_not_answer_nobody_is_to_blame_but_a_probe_that_does_not_ask_them(
    scene: Scene, silent_s: float, stage: Stage, brokers_s: float, hung: list[str]
) -> None:
    """It is the only one that says that they do. Once it hung, everybody else could, for ever."""
    scene.silent(silent_s, stage, brokers_s=brokers_s)
    scene.look()
    assert scene.hung == hung


@pytest.mark.parametrize(("seen_s", "stalled"), [(1, [0]), (11, [])])
def test_a_partition_that_no_leader_answers_for_is_not_stalled(
    scene: Scene, seen_s: float, stalled: list[int]
) -> None:
    scene.board.topic(0).end = 10
    for second in range(10):
        scene.silent(0, Stage.CONSUMING, brokers_s=1)
        scene.board.topic(0).seen_ns = time.monotonic_ns() - int(seen_s * 1e9)
        scene.look(second)
    assert scene.stalled[:1] == stalled
