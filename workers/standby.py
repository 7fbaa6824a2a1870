"""A process in standby: it waits for its role, and has done for it what can be done before."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from supervisor.contract.board import Stage, WorkerSlot
from supervisor.contract.messages import Command, Prepare, Prepared, Serve, Stop
from workers.pipe import Pipe

if TYPE_CHECKING:
    from workers.olap.preparation import Preparation, PreparedPartition
    from workers.olap.warmth import WarmClients, Warmth

__all__ = ["StandbyProcess"]

_LOOK_S = 0.5
_COLD_LOOK_S = 0.1
_PREPARING_LOOK_S = 0.005
# Whoever was to make room has had the time. What is prepared costs memory, and brokers some fetches.
_KEEP_PREPARED_S = 120.0


class StandbyProcess:
    """See the module. ``prepare`` begins a preparation."""

    def __init__(
        self,
        pipe: Pipe,
        slot: WorkerSlot,
        warmth: Warmth,
        prepare: Callable[[Prepare], Preparation],
    ) -> None:
        self._pipe = pipe
        self._slot = slot
        self._warmth = warmth
        self._prepare = prepare
        self._preparation: Preparation | None = None
        self._told_s: float | None = None
        """When the supervisor was told that it is done."""

    def await_role(self, stopping: Callable[[], bool]) -> Serve | None:
        """Wait for a role; ``None`` if there will be none."""
        while not stopping():
            self._slot.enter(Stage.STANDBY)
            self._slot.warm = self._warmth.ready
            self._look_after_preparation()
            command = self._pipe.next(self._wait_s())
            if isinstance(command, Serve):
                return command
            if isinstance(command, Stop):
                return None
            self._heed(command)
        return None

    def take(self, role: Serve) -> tuple[WarmClients | None, Mapping[int, PreparedPartition]]:
        """What is connected, and what is prepared of partitions, its own or others; nothing more will be."""
        wanted = role.partitions if role.role == "olap" else ()
        prepared = self._preparation.take(wanted) if self._preparation is not None else {}
        return self._warmth.take(), prepared

    def _wait_s(self) -> float:
        if self._preparation is not None and self._told_s is None:
            return _PREPARING_LOOK_S
        return _LOOK_S if self._slot.warm else _COLD_LOOK_S

    def _heed(self, command: Command | None) -> None:
        if isinstance(command, Prepare):
            self._drop()
            self._preparation = self._prepare(command)

    def _look_after_preparation(self) -> None:
        preparation = self._preparation
        if preparation is None:
            return
        if self._told_s is not None:
            if time.monotonic() - self._told_s > _KEEP_PREPARED_S:
                self._drop()
        elif preparation.done:
            self._told_s = time.monotonic()
            self._pipe.tell(Prepared(preparation.asked.partitions))

    def _drop(self) -> None:
        if self._preparation is not None:
            self._preparation.drop()
        self._preparation = self._told_s = None
