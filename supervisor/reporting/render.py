"""A status as plain text, the same on a terminal, in a pipe and in the demo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from supervisor.reporting.status import Governor, Partition, Status, Worker

__all__ = ["columns", "tables"]


def columns(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """Rows as aligned columns, those in ``right`` flush right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = (
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return lines


def tables(status: Status) -> list[str]:
    """The whole status."""
    realtime = status.realtime
    lines = [_summary(status), "", *_table(_WORKERS, status.workers)]
    if status.partitions:
        lines += ["", *_table(_PARTITIONS, status.partitions)]
    if parked := _parked(status):
        lines += ["", *parked]
    if realtime is not None:
        lines += [
            "",
            f"real time: {realtime.shown:,} shown, lag {realtime.lag:,}, age at delivery "
            f"p50 {_ms(realtime.p50_ms)}, p99 {_ms(realtime.p99_ms)}",
        ]
    if status.governor.rate is not None:
        lines.append(_governor(status.governor))
    return lines


def _governor(governor: Governor) -> str:
    return (
        f"governor: {governor.state}, {governor.rate or 0:,} events/s for the OLAP side, delay p99 "
        f"{_ms(governor.delay_ms)}, held back {governor.limited} times"
    )


def _summary(status: Status) -> str:
    text = (
        f"{status.health}: supervisor {status.supervisor_pid}, up {status.uptime_s:.0f} s, "
        f"{status.brokers_alive} brokers"
    )
    if status.deaths:
        text += f", {status.deaths} death{'s' * (status.deaths != 1)}"
    return text + (", workers are being replaced" if status.phase == "reloading" else "")


_Row = TypeVar("_Row")


class _Column(NamedTuple, Generic[_Row]):
    head: str
    cell: Callable[[_Row], str]
    right: bool = False
    needed: Callable[[Sequence[_Row]], bool] = lambda rows: True
    """Whether the column says anything."""


def _table(wanted: Sequence[_Column[_Row]], rows: Sequence[_Row]) -> list[str]:
    shown = [column for column in wanted if column.needed(rows)]
    return columns(
        [tuple(column.head for column in shown)]
        + [tuple(column.cell(row) for column in shown) for row in rows],
        right=frozenset(place for place, column in enumerate(shown) if column.right),
    )


_WORKERS: Sequence[_Column[Worker]] = (
    _Column("WORKER", lambda worker: worker.name),
    _Column("STATE", lambda worker: _state(worker)),
    _Column("STAGE", lambda worker: worker.stage or "-"),
    _Column("PID", lambda worker: str(worker.pid or "-"), right=True),
    _Column("RESTARTS", lambda worker: str(worker.restarts), right=True),
    _Column("LAST EXIT", lambda worker: _last_exit(worker)),
    _Column(
        "RSS", lambda worker: _mb(worker.rss_bytes), True, lambda rows: any(row.rss_bytes for row in rows)
    ),
    _Column("NICE", lambda worker: _number(worker.nice), True, lambda rows: any(row.nice for row in rows)),
    _Column("CPUS", lambda worker: _list(worker.cpus), needed=lambda rows: any(row.cpus for row in rows)),
    _Column(
        "WEIGHT",
        lambda worker: _number(worker.cpu_weight),
        True,
        lambda rows: any(row.cpu_weight for row in rows),
    ),
    _Column(
        "GEN",
        lambda worker: str(worker.generation),
        True,
        lambda rows: any(row.generation > 1 for row in rows),
    ),
    _Column("PARTITIONS", lambda worker: _list(worker.partitions)),
)

_PARTITIONS: Sequence[_Column[Partition]] = (
    _Column("PARTITION", lambda partition: str(partition.partition), True),
    _Column("WORKER", lambda partition: partition.worker or "-"),
    _Column("COMMITTED", lambda partition: f"{partition.committed:,}", True),
    _Column("END", lambda partition: f"{partition.end:,}", True),
    _Column("LAG", lambda partition: f"{partition.lag:,}", True),
    _Column("OUTPUT", lambda partition: f"{partition.outputs:,}", True),
    _Column("DEAD LETTERS", lambda partition: f"{partition.dead_letters:,}", True),
    _Column(
        "QUARANTINED",
        lambda partition: f"{partition.quarantined:,}",
        True,
        lambda rows: any(row.quarantined for row in rows),
    ),
    _Column(
        "DEATHS",
        lambda partition: f"{partition.deaths:,}",
        True,
        lambda rows: any(row.deaths for row in rows),
    ),
    _Column(
        "UNOWNED",
        lambda partition: f"{partition.unowned_s:.1f} s",
        True,
        lambda rows: any(row.unowned_s for row in rows),
    ),
)


def _state(worker: Worker) -> str:
    return worker.state if worker.retry_in_s is None else f"{worker.state} {worker.retry_in_s:.1f} s"


def _last_exit(worker: Worker) -> str:
    if worker.last_exit is None:
        return "-"
    return f"{worker.last_exit} {(worker.cause or '').replace('_', ' ')}".rstrip()


def _parked(status: Status) -> list[str]:
    """What a person has to decide."""
    partitions = [partition for partition in status.partitions if partition.parked_age_s is not None]
    lines = [
        _try_again(
            f"partition {partition.partition} is parked for {partition.parked_age_s:.0f} s",
            partition.parked_cause,
            partition.worker,
        )
        for partition in partitions
    ]
    named = {partition.worker for partition in partitions}
    return lines + [
        _try_again(f"{worker.name} is parked", worker.cause, worker.name)
        for worker in status.workers
        if worker.state == "parked" and worker.name not in named
    ]


def _try_again(what: str, cause: str | None, worker: str | None) -> str:
    why = (cause or "unknown").replace("_", " ")
    return f"{what} ({why}): `supervisor restart {worker}` lets it try again"


def _list(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers)) or "-"


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _mb(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:.0f} MB"


def _ms(value: int | None) -> str:
    return "-" if value is None else f"{value} ms"
