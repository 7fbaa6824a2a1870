"""What is going on, read off the board: one snapshot for ``status``, ``top``, the demo and the dashboard."""

from __future__ import annotations

import time
from pathlib import Path

from msgspec import Struct

from supervisor.contract.board import Board, Header, Phase, Role, Seat, Stage, WorkerSlot
from supervisor.contract.faults import Fault
from supervisor.contract.histogram import Histogram
from supervisor.governor.control import State as Governing
from supervisor.host import instance
from supervisor.rules.lifecycle import State
from supervisor.rules.policy import Cause

__all__ = [
    "Governor",
    "Partition",
    "Realtime",
    "Status",
    "Worker",
    "board_of",
    "join",
    "partitions_of",
    "read",
]

_NS = 1_000_000_000
_BROKERS_SILENT_S = 10.0
# Served, or about to change hands because somebody wants it so.
_WELL = frozenset({"serving", "retiring"})
# While workers are replaced in order, whose turn it is may be in one of these, having ended as told, if ever.
_IN_TURN = frozenset({"vacant", "opening", "draining"})
_AS_TOLD = frozenset({None, "stopped", "recycled"})
_BOARD_PATIENCE_S = 2.0
_BOARD_STEP_S = 0.02


class Worker(Struct, frozen=True):
    """One seat and the process in it."""

    name: str
    state: str
    stage: str | None
    partition: int | None
    """The partition that its work loop is at."""
    pid: int | None
    partitions: tuple[int, ...]
    restarts: int
    recycled: int
    last_exit: int | None
    """How the last process ended, negative for a signal; None if none has ended."""
    cause: str | None
    """Why it ended: the name of a ``policy.Cause`` in lower case."""
    retry_in_s: float | None
    """When the seat will be filled again, while it waits out a backoff."""
    heartbeat_age_s: float | None
    events: int
    log_dropped: int
    """Log lines that the process could not put out."""
    generation: int
    """Which configuration and code the process has, or had: one more with each reload."""
    rss_bytes: int | None
    nice: int | None
    cpus: tuple[int, ...]
    """Empty for all."""
    cpu_weight: int | None


class Partition(Struct, frozen=True):
    """One partition on the OLAP side."""

    partition: int
    worker: str | None
    parked_age_s: float | None
    """Since nobody is to serve it."""
    parked_cause: str | None
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
    deaths: int
    """Of its workers, since the supervisor started."""
    quarantined: int
    unowned_s: float
    """How long nobody owned it, in all; an interruption counts once it is over."""


class Realtime(Struct, frozen=True):
    """The real-time side, since its process started."""

    shown: int
    lag: int
    p50_ms: int | None
    """Median age of events at delivery."""
    p99_ms: int | None


class Governor(Struct, frozen=True):
    """What holds the OLAP side back for the sake of the real-time side."""

    state: str
    """``off``, ``free`` (nobody is to be spared), ``growing``, ``holding``, ``reduced``, ``floor`` or
    ``probing``."""
    rate: int | None
    """Events a second that the OLAP side may process in all; None for no limit."""
    delay_ms: int | None
    """What it goes by: how late events were shown in the last two seconds, p99, beyond what is always so."""
    limited: int
    """How often it has begun to hold the OLAP side back, since the supervisor started."""


class Status(Struct, frozen=True):
    """Everything at one moment."""

    health: str
    """``ok``, ``starting``, ``stopping``, ``degraded`` (a seat or a partition is not served),
    ``degraded: parked`` or ``degraded: brokers``."""
    phase: str
    supervisor_pid: int
    uptime_s: float
    brokers_alive: int
    brokers_answered_age_s: float | None
    deaths: int
    """Deaths of workers that count against a budget, since the supervisor started."""
    workers: tuple[Worker, ...]
    partitions: tuple[Partition, ...]
    realtime: Realtime | None
    governor: Governor


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
    workers = tuple(_worker(board, place, now) for place in range(header.seats) if _is_open(board, place))
    partitions = tuple(_partition(board, number, now) for number in range(header.topic_partitions))
    return Status(
        health=_health(header, workers, partitions, now),
        phase=Phase(header.phase).name.lower(),
        supervisor_pid=header.supervisor_pid,
        uptime_s=(now - header.started_ns) / _NS,
        brokers_alive=header.brokers_alive,
        brokers_answered_age_s=_age(header.brokers_answered_ns, now),
        deaths=header.deaths,
        workers=workers,
        partitions=partitions,
        realtime=_realtime(board, header.topic_partitions),
        governor=_governor(header),
    )


def partitions_of(board: Board, place: int) -> tuple[int, ...]:
    """The partitions that the seat at ``place`` is to own."""
    partitions = range(board.header.topic_partitions)
    if board.seat(place).role == Role.REALTIME:
        return tuple(partitions)
    return tuple(number for number in partitions if board.assignment(number).seat == place + 1)


def _is_open(board: Board, place: int) -> bool:
    """Whether the seat is to be shown: not one that was closed because there are fewer workers now."""
    return board.seat(place).state != State.CLOSED or board.header.phase == Phase.STOPPING


def _health(header: Header, workers: tuple[Worker, ...], partitions: tuple[Partition, ...], now: int) -> str:
    answered = _age(header.brokers_answered_ns, now)
    states = {worker.state for worker in workers}
    if header.phase == Phase.STOPPING:
        return "stopping"
    if header.brokers_asked_ns and (answered is None or answered > _BROKERS_SILENT_S):
        return "degraded: brokers"
    if "parked" in states or any(partition.parked_age_s is not None for partition in partitions):
        return "degraded: parked"
    if len(workers) <= 1:
        return "starting"
    owned = all(partition.worker is not None for partition in partitions)  # else some were added
    replacing = header.phase == Phase.RELOADING
    if owned and all(_is_well(worker, replacing=replacing) for worker in workers):
        return "ok"
    first_time = header.phase == Phase.STARTING and not any(worker.restarts for worker in workers)
    return "starting" if first_time else "degraded"


def _is_well(worker: Worker, *, replacing: bool) -> bool:
    in_turn = replacing and worker.state in _IN_TURN and worker.cause in _AS_TOLD
    return worker.state in _WELL or in_turn


def _worker(board: Board, place: int, now: int) -> Worker:
    seat = board.seat(place)
    slot = _worker_slot(board, seat)
    retry = seat.retry_ns
    return Worker(
        name=_name(seat),
        state=State(seat.state).name.lower(),
        stage=Stage(slot.stage).name.lower() if slot else None,
        partition=(slot.partition - 1 if slot.partition else None) if slot else None,
        pid=seat.pid or None,
        partitions=partitions_of(board, place),
        restarts=seat.restarts,
        recycled=seat.recycled,
        last_exit=seat.exit_code if seat.noticed_ns else None,
        cause=_cause(seat.cause),
        retry_in_s=max(0, retry - now) / _NS if retry else None,
        heartbeat_age_s=_age(slot.heartbeat_ns, now) if slot else None,
        events=slot.events if slot else 0,
        log_dropped=slot.log_dropped if slot else 0,
        generation=seat.generation,
        rss_bytes=seat.rss_bytes or None,
        nice=seat.nice if slot else None,
        cpus=tuple(bit for bit in range(seat.cpus.bit_length()) if seat.cpus >> bit & 1),
        cpu_weight=seat.cpu_weight or None,
    )


def _name(seat: Seat) -> str:
    role = Role(seat.role)
    return "probe" if role is Role.PROBE else f"{role.name.lower()}-{seat.index}"


def _cause(number: int) -> str | None:
    return Cause(number).name.lower() if number else None


def _worker_slot(board: Board, seat: Seat) -> WorkerSlot | None:
    worker = seat.worker  # read once: the supervisor may vacate the seat between two looks
    return board.worker(worker - 1) if worker else None


def _partition(board: Board, number: int, now: int) -> Partition:
    record, topic, assigned = board.olap(number), board.topic(number), board.assignment(number)
    place = assigned.seat
    return Partition(
        partition=number,
        worker=_name(board.seat(place - 1)) if place else None,
        parked_age_s=_age(assigned.parked_ns, now),
        parked_cause=_cause(assigned.parked_cause),
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
        deaths=assigned.deaths,
        quarantined=record.quarantined,
        unowned_s=assigned.unowned_ns / _NS,
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


def _governor(header: Header) -> Governor:
    state = Governing(header.governor)
    knows = state not in (Governing.OFF, Governing.FREE)
    return Governor(
        state=state.name.lower(),
        rate=header.olap_rate or None,
        delay_ms=header.delay_ms if knows else None,
        limited=header.limited,
    )


def _age(moment_ns: int, now_ns: int) -> float | None:
    return max(0, now_ns - moment_ns) / _NS if moment_ns else None
