"""What is going on, read off the board: one snapshot for ``status``, ``top``, the demo and the dashboard."""

from __future__ import annotations

import time
from pathlib import Path

from msgspec import Struct

from supervisor import instance
from supervisor.contract.board import Board, Header, Role, Seat, Stage, WorkerSlot
from supervisor.contract.faults import Fault
from supervisor.contract.histogram import Histogram
from supervisor.lifecycle import State

__all__ = ["Partition", "Status", "Worker", "board_of", "join", "read"]

_NS = 1_000_000_000
_BROKERS_SILENT_S = 10.0
_BOARD_PATIENCE_S = 2.0
_BOARD_STEP_S = 0.02


class Worker(Struct, frozen=True):
    """One seat and the process in it."""

    name: str
    state: str
    stage: str | None
    pid: int | None
    partitions: tuple[int, ...]
    restarts: int
    last_exit: int | None
    """How the last process ended, negative for a signal; None if none has ended."""
    heartbeat_age_s: float | None
    events: int


class Partition(Struct, frozen=True):
    """One partition on the OLAP side."""

    partition: int
    worker: str
    position: int
    committed: int
    end: int
    """The offset after the last record, as the probe saw it last."""
    lag: int
    events: int
    """Processed and committed since the supervisor started, by this and former workers."""
    outputs: int
    dead_letters: int
    late: int
    lost: int
    """Removed by retention before they were processed."""
    transactions: int
    committed_age_s: float | None


class Realtime(Struct, frozen=True):
    """The real-time side, since its process started."""

    shown: int
    lag: int
    p50_ms: int | None
    """Median age of events at delivery."""
    p99_ms: int | None


class Status(Struct, frozen=True):
    """Everything at one moment."""

    health: str
    """``ok``, ``starting``, ``degraded`` (a seat is not served) or ``degraded: brokers``."""
    supervisor_pid: int
    uptime_s: float
    brokers_alive: int
    brokers_answered_age_s: float | None
    workers: tuple[Worker, ...]
    partitions: tuple[Partition, ...]
    realtime: Realtime | None


def join(run_dir: Path) -> Board:
    """The board of the supervisor that runs here. Raises :class:`Fault` if none does."""
    deadline = time.monotonic() + _BOARD_PATIENCE_S
    while True:
        pid = instance.holder(run_dir)
        if pid is None:
            raise Fault(f"no supervisor is running here ({run_dir})", "start one with `supervisor start`")
        board = board_of(run_dir, pid)
        if board is not None:
            return board
        if time.monotonic() > deadline:
            raise Fault(f"the supervisor (pid {pid}) has only just begun", "ask again in a moment")
        time.sleep(_BOARD_STEP_S)


def board_of(run_dir: Path, pid: int) -> Board | None:
    """The board of the supervisor ``pid``, or ``None`` if it has not made it yet.

    It takes its lock first: until its board is there, the file may be absent, or a former supervisor's.
    """
    path = run_dir / instance.BOARD
    if not path.exists():
        return None
    board = Board.open(path)
    return board if board.header.supervisor_pid == pid else None


def read(board: Board, now_ns: int | None = None) -> Status:
    """Read the board; ``now_ns`` is ``time.monotonic_ns()`` unless given."""
    now = time.monotonic_ns() if now_ns is None else now_ns
    header = board.header
    workers = tuple(_worker(board, place, now) for place in range(header.seats))
    return Status(
        health=_health(header, workers, now),
        supervisor_pid=header.supervisor_pid,
        uptime_s=(now - header.started_ns) / _NS,
        brokers_alive=header.brokers_alive,
        brokers_answered_age_s=_age(header.brokers_answered_ns, now),
        workers=workers,
        partitions=tuple(
            _partition(board, worker, partition, now)
            for worker in workers
            if worker.name.startswith("olap")
            for partition in worker.partitions
        ),
        realtime=_realtime(board, header.topic_partitions),
    )


def _health(header: Header, workers: tuple[Worker, ...], now: int) -> str:
    answered = _age(header.brokers_answered_ns, now)
    if header.brokers_asked_ns and (answered is None or answered > _BROKERS_SILENT_S):
        return "degraded: brokers"
    unserved = [worker for worker in workers if worker.state != "serving"]
    if len(workers) <= 1 or (unserved and not any(worker.restarts for worker in workers)):
        return "starting"
    return "degraded" if unserved else "ok"


def _worker(board: Board, place: int, now: int) -> Worker:
    seat = board.seat(place)
    role = Role(seat.role)
    slot = _worker_slot(board, seat)
    workers = sum(board.seat(other).role == Role.OLAP for other in range(board.header.seats))
    partitions: tuple[int, ...] = ()
    if role is Role.OLAP:
        partitions = tuple(range(seat.index, board.header.topic_partitions, max(1, workers)))
    elif role is Role.REALTIME:
        partitions = tuple(range(board.header.topic_partitions))
    return Worker(
        name="probe" if role is Role.PROBE else f"{role.name.lower()}-{seat.index}",
        state=State(seat.state).name.lower(),
        stage=Stage(slot.stage).name.lower() if slot else None,
        pid=seat.pid or None,
        partitions=partitions,
        restarts=seat.restarts,
        last_exit=seat.exit_code if seat.noticed_ns else None,
        heartbeat_age_s=_age(slot.heartbeat_ns, now) if slot else None,
        events=slot.events if slot else 0,
    )


def _worker_slot(board: Board, seat: Seat) -> WorkerSlot | None:
    worker = seat.worker  # read once: the supervisor may vacate the seat between two looks
    return board.worker(worker - 1) if worker else None


def _partition(board: Board, worker: Worker, partition: int, now: int) -> Partition:
    record, topic = board.olap(partition), board.topic(partition)
    return Partition(
        partition=partition,
        worker=worker.name,
        position=record.position,
        committed=record.committed,
        end=topic.end,
        lag=max(0, topic.end - record.committed),
        events=record.events,
        outputs=record.outputs,
        dead_letters=record.dead_letters,
        late=record.late,
        lost=record.lost,
        transactions=record.transactions,
        committed_age_s=_age(record.committed_ns, now),
    )


def _realtime(board: Board, partitions: int) -> Realtime | None:
    for place in range(board.header.seats):
        seat = board.seat(place)
        slot = _worker_slot(board, seat)
        if seat.role == Role.REALTIME and slot is not None:
            counts = slot.latency.counts()
            return Realtime(
                shown=slot.shown,
                lag=sum(
                    max(0, board.topic(partition).end - board.realtime(partition).position)
                    for partition in range(partitions)
                ),
                p50_ms=Histogram.quantile(counts, 0.5),
                p99_ms=Histogram.quantile(counts, 0.99),
            )
    return None


def _age(moment_ns: int, now_ns: int) -> float | None:
    return max(0, now_ns - moment_ns) / _NS if moment_ns else None
