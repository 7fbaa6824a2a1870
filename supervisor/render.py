"""A status as plain text, the same on a terminal, in a pipe and in the demo."""

from __future__ import annotations

from collections.abc import Sequence

from supervisor.status import Status, Worker

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
    lines = [
        f"{status.health}: supervisor {status.supervisor_pid}, up {status.uptime_s:.0f} s, "
        f"{status.brokers_alive} brokers",
        "",
        *columns(
            [("WORKER", "STATE", "STAGE", "PID", "RESTARTS", "LAST EXIT", "PARTITIONS")]
            + [_worker_row(worker) for worker in status.workers],
            right=frozenset({3, 4}),
        ),
    ]
    if status.partitions:
        lines += ["", *columns(_partition_rows(status), right=frozenset({0, 2, 3, 4, 5, 6}))]
    if realtime is not None:
        lines += [
            "",
            f"real time: {realtime.shown:,} shown, lag {realtime.lag:,}, age at delivery "
            f"p50 {_ms(realtime.p50_ms)}, p99 {_ms(realtime.p99_ms)}",
        ]
    return lines


def _worker_row(worker: Worker) -> tuple[str, ...]:
    return (
        worker.name,
        worker.state,
        worker.stage or "-",
        str(worker.pid or "-"),
        str(worker.restarts),
        "-" if worker.last_exit is None else str(worker.last_exit),
        ",".join(map(str, worker.partitions)) or "-",
    )


def _partition_rows(status: Status) -> list[tuple[str, ...]]:
    return [
        ("PARTITION", "WORKER", "COMMITTED", "END", "LAG", "OUTPUT", "DEAD LETTERS"),
        *(
            (
                str(partition.partition),
                partition.worker,
                f"{partition.committed:,}",
                f"{partition.end:,}",
                f"{partition.lag:,}",
                f"{partition.outputs:,}",
                f"{partition.dead_letters:,}",
            )
            for partition in status.partitions
        ),
    ]


def _ms(value: int | None) -> str:
    return "-" if value is None else f"{value} ms"
