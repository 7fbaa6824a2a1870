"""What the demo shows, as plain text: pure, whatever it is shown on."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from msgspec import Struct

from supervisor.reporting.render import columns
from supervisor.reporting.status import Status

__all__ = ["PERIODS", "Moment", "Rates", "clock", "frame", "line", "top"]

PERIODS: Mapping[Any, str] = {1: "morning", 2: "afternoon", 3: "evening", 4: "night", None: "no time"}
"""Names of ``time_flg``, in the order of the day."""
_REGIONS = ("East", "South", "Midwest", "West", "Unknown")
_NOWHERE = ("Unknown", "no time")
_NS = 1_000_000_000
_RATE_OVER_S = 3.0


class Moment(Struct, frozen=True):
    """Everything that is shown at one moment."""

    phase: str
    """What the demo is doing, such as ``generating``."""
    elapsed_s: float = 0.0
    """Since the first event."""
    duration_s: float = 0.0
    status: Status | None = None
    """None until there is a supervisor."""
    rates: Mapping[int, float] = {}
    """Events a second that each partition commits."""
    regions: Mapping[str, int] = {}
    periods: Mapping[str, int] = {}
    """Events by the name of the period."""


class Rates:
    """What each partition commits a second, over the last three seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, dict[int, int]]] = deque()

    def note(self, status: Status, now_ns: int) -> dict[int, float]:
        committed = {partition.partition: partition.committed for partition in status.partitions}
        seen = self._seen
        seen.append((now_ns, committed))
        while len(seen) > 2 and seen[1][0] <= now_ns - _RATE_OVER_S * _NS:
            seen.popleft()
        then_ns, before = seen[0]
        seconds = (now_ns - then_ns) / _NS
        if seconds <= 0:
            return dict.fromkeys(committed, 0.0)
        return {number: (end - before.get(number, end)) / seconds for number, end in committed.items()}


def clock(seconds: float) -> str:
    """``1:05`` for 65 seconds."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


def frame(moment: Moment, width: int, height: int, bar: str = "█") -> list[str]:
    """The live view, at most ``width`` by ``height`` characters; ``bar`` draws the bars."""
    status = moment.status
    lines = [_title(moment)]
    if status is not None:
        tables = _tables(moment, status, width)
        realtime = _realtime(status)
        # Two for the title and the line below it, two for the real-time line and the one below.
        room = height - 4
        counts = _bars(moment, width, bar)
        if room < len(tables) + 1 + len(counts):
            counts = _sentences(moment)
        if room < len(tables) + 1 + len(counts):
            hidden = len(tables) - max(1, room - len(counts) - 2)
            tables = [*tables[: len(tables) - hidden], f"... {hidden} more lines"]
        lines += ["", *tables, "", realtime, "", *counts]
    return [text[:width] for text in lines[:height]]


def line(moment: Moment) -> str:
    """The same in one line, for where there is no terminal."""
    status = moment.status
    if status is None or not moment.elapsed_s:
        return moment.phase
    committed = sum(partition.committed for partition in status.partitions)
    end = sum(partition.end for partition in status.partitions)
    letters = sum(partition.dead_letters for partition in status.partitions)
    rate = sum(moment.rates.values())
    parts = [
        f"{moment.phase} {clock(moment.elapsed_s)} of {clock(moment.duration_s)}",
        status.health,
        f"{end:,} in",
        f"{committed:,} processed ({rate:,.0f}/s)",
        f"lag {sum(partition.lag for partition in status.partitions):,}",
        f"{letters:,} dead letters",
    ]
    if status.realtime is not None:
        parts.append(f"real time p50 {_ms(status.realtime.p50_ms)} p99 {_ms(status.realtime.p99_ms)}")
    for name, share in filter(None, (top(moment.regions), top(moment.periods))):
        parts.append(f"{name} {share:.0%}")
    return ", ".join(parts)


def top(counts: Mapping[str, int]) -> tuple[str, float] | None:
    """The name with the most events, and its share of all; unknown regions and times take no part."""
    known = {name: count for name, count in counts.items() if name not in _NOWHERE and count}
    if not known:
        return None
    name = max(known, key=lambda name: known[name])
    return name, known[name] / sum(counts.values())


def _title(moment: Moment) -> str:
    parts = ["supervisor demo", moment.phase]
    if moment.elapsed_s:
        parts.append(f"{clock(moment.elapsed_s)} of {clock(moment.duration_s)}")
    status = moment.status
    if status is not None and status.brokers_answered_age_s is not None:
        parts.append(f"{status.brokers_alive} brokers")
    if status is not None:
        parts.append(status.health)
    return "   ".join(parts)


def _tables(moment: Moment, status: Status, width: int) -> list[str]:
    """Workers and partitions, side by side where the width allows."""
    workers = columns(
        [("WORKER", "STATE", "PID", "RESTARTS")]
        + [
            (worker.name, worker.state, str(worker.pid or "-"), str(worker.restarts))
            for worker in status.workers
        ],
        right=frozenset({2, 3}),
    )
    partitions = columns(
        [("PARTITION", "COMMITTED", "END", "LAG", "EVENTS/S")]
        + [
            (
                str(partition.partition),
                f"{partition.committed:,}",
                f"{partition.end:,}",
                f"{partition.lag:,}",
                f"{moment.rates.get(partition.partition, 0.0):,.0f}",
            )
            for partition in status.partitions
        ],
        right=frozenset({0, 1, 2, 3, 4}),
    )
    # By the width alone, or the right table would jump whenever a number in it gets longer.
    right = max(map(len, workers)) + (6 if width >= 100 else 2)
    if right + max(map(len, partitions)) <= width:
        return _beside(workers, partitions, right)
    return [*workers, "", *partitions]


def _realtime(status: Status) -> str:
    realtime = status.realtime
    if realtime is None:
        return "real time   (no worker at the moment)"
    return (
        f"real time   {realtime.shown:,} shown, age when shown: "
        f"p50 {_ms(realtime.p50_ms)}, p99 {_ms(realtime.p99_ms)}"
    )


def _bars(moment: Moment, width: int, bar: str) -> list[str]:
    """Regions and periods of the day side by side, a bar for each."""
    column = min(60, (width - 4) // 2)
    regions = ["REGION", *_chart(moment.regions, _REGIONS, column, bar)]
    periods = ["TIME OF DAY (UTC)", *_chart(moment.periods, tuple(PERIODS.values()), column, bar)]
    return _beside(regions, periods, column + 4)


def _chart(counts: Mapping[str, int], names: tuple[str, ...], width: int, bar: str) -> list[str]:
    total, largest = sum(counts.values()), max(counts.values(), default=0)
    longest = max(0, width - 24)
    lines = []
    for name in names:
        count = counts.get(name, 0)
        share = count / total if total else 0.0
        length = round(longest * count / largest) if largest else 0
        lines.append(f"{name:<9} {share:>4.0%} {count:>8,} {bar * length}".rstrip())
    return lines


def _sentences(moment: Moment) -> list[str]:
    def listed(counts: Mapping[str, int]) -> str:
        total = sum(counts.values())
        largest_first = sorted(counts.items(), key=lambda item: -item[1])
        return "  ".join(f"{name} {count / total:.0%}" for name, count in largest_first if count) or "-"

    return [f"regions     {listed(moment.regions)}", f"time of day {listed(moment.periods)}"]


def _beside(left: list[str], right: list[str], at: int) -> list[str]:
    return [f"{a:<{at}}{b}".rstrip() for a, b in zip_longest(left, right, fillvalue="")]


def _ms(value: int | None) -> str:
    return "-" if value is None else f"{value} ms"
