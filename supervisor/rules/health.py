"""When a worker is hung, and when a partition is stalled: pure, with times passed in.

A *hung* worker gives no sign of life: its heartbeat comes from its work loop and says at which stage. What is
allowed depends on that stage, since one call of a pipeline or of the Kafka client may take long.
A *stalled* partition has lag and does not move although its worker's loop turns and brokers answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.contract.board import Stage
from supervisor.contract.settings import Health

__all__ = ["Stalls", "deadline_s", "hung"]


def deadline_s(
    stage: Stage, settings: Health, start_timeout_s: float, *, given_role: bool = False
) -> float | None:
    """How long a worker may be silent at ``stage``, in seconds; ``None`` for ever.

    A worker in standby waits to be told, silently. ``given_role`` says that it has been: one that stays in
    standby all the same never read its command, and no other deadline would find it. A stop has a deadline of
    its own.
    """
    match stage:
        case Stage.NONE | Stage.STARTING:
            return start_timeout_s
        case Stage.STANDBY:
            return settings.idle_timeout_s if given_role else None
        case Stage.CONSUMING:
            return settings.idle_timeout_s
        case Stage.PROCESSING:
            return settings.work_timeout_s
        case Stage.FENCING | Stage.RESTORING | Stage.SENDING_OFFSETS | Stage.COMMITTING:
            return settings.brokers_timeout_s
        case Stage.DRAINING | Stage.STOPPED:
            return None


def hung(
    stage: Stage, silent_s: float, settings: Health, start_timeout_s: float, *, given_role: bool = False
) -> bool:
    """Whether ``silent_s`` seconds without a sign of life are too many at ``stage``.

    The sign of life of a worker at ``Stage.NONE`` is its spawn, and of one in standby that has been given a
    role, the later of its heartbeat and that command.
    """
    deadline = deadline_s(stage, settings, start_timeout_s, given_role=given_role)
    return deadline is not None and silent_s > deadline


@dataclass
class _Standstill:
    position: int
    committed: int
    looked_s: float
    patience_s: float = 0.0


class Stalls:
    """Which partitions stand still for ``timeout_s`` though they should not.

    The clock of a partition begins anew whenever its position or its committed offset changes, when it has no
    lag, when brokers do not answer and when nobody owns it. It stands still while its worker is not
    ``attentive``. Each look adds the time since the last one, but never more than a quarter of ``timeout_s``:
    a stall is what at least four looks agree upon, and not one look after a long gap.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._still: dict[int, _Standstill] = {}

    def look(
        self,
        partition: int,
        position: int,
        committed: int,
        end: int,
        now_s: float,
        *,
        brokers_answer: bool,
        owned: bool,
        attentive: bool = True,
    ) -> bool:
        """Whether ``partition`` is stalled, at ``now_s`` of a monotonic clock; so until something changes.

        ``attentive``: its worker is about this very partition and not busy with a call, that is, its stage is
        not PROCESSING, and it works on this partition or on none. A slow pipeline is not attentive, nor is
        the owner of several partitions while it works on another: how long one call may take is
        :func:`hung`'s to judge.
        """
        lag = end > position or end > committed
        if not (lag and brokers_answer and owned):
            self.forget(partition)
            return False
        still = self._still.get(partition)
        if still is None or (still.position, still.committed) != (position, committed):
            self._still[partition] = _Standstill(position, committed, now_s)
            return False
        if attentive:
            still.patience_s += min(now_s - still.looked_s, self._timeout_s / 4)
        still.looked_s = now_s
        return still.patience_s >= self._timeout_s

    def forget(self, partition: int) -> None:
        """It has a new owner, or none: begin anew."""
        self._still.pop(partition, None)
