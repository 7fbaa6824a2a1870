"""What the benchmark of latency prints, and its section of the report. Of its result alone."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import Goal
from benchmarks.lines import Axis, Series, lines
from benchmarks.markdown import figure, machine, picture, table

__all__ = ["BESIDE", "COMMITTED", "FLOOR", "SHOWN", "goals", "plots", "section", "text"]

Result = dict[str, Any]

SHOWN, COMMITTED, FLOOR = "real-time sink", "exactly-once output", "plain consumer"
BESIDE = "real-time sink beside it"

_PLOT = "latency.svg"
_PROSE = Path(__file__).with_name("latency.md")
"""What stands around the figures; ``{figures}`` is their place."""
_SHOWN_P50_MS, _SHOWN_P99_MS = 2.0, 20.0
_COMMITTED_MS = 30.0
"""Beyond half a commit interval, which an event waits for on average."""
_TICKS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def text(result: Result) -> str:
    """Machine and table, in Markdown."""
    conditions = (
        f"{machine(result['machine'])} {result['rate']} events/s; {len(result['rounds'])} rounds of "
        f"{result['seconds']:g} s behind {result['season_s']:g} s; {result['brokers']}; "
        f"`olap.commit_interval_ms` {result['commit_interval_ms']}."
    )
    rows = [
        (
            name,
            *figure(_of(result, name, "p50"), "{:.1f}"),
            *figure(_of(result, name, "p99"), "{:.1f}"),
            f"{max(_of(result, name, 'max')):,.0f}",
            f"{sum(_of(result, name, 'n')):,.0f}",
        )
        for name in result["curves"]
    ]
    heads = ("produce() → seen, ms", "p50", "least – most", "p99", "least – most", "longest", "events")
    return f"{conditions}\n\n{table(heads, rows)}"


def section(result: Result) -> str:
    """Its part of the report."""
    figures = f"{picture(_PLOT, 'Share of events seen within a time')}\n\n{text(result)}"
    return _PROSE.read_text(encoding="utf-8").replace("{figures}", figures)


def plots(result: Result) -> dict[str, str]:
    """The pictures, by the names of their files."""
    series = [Series(name, result["curves"][name]) for name in (SHOWN, COMMITTED, FLOOR)]
    seen = [age for one in series for age, _ in one.points]
    x = Axis("milliseconds since produce()", _within(min(seen), max(seen)), log=True)
    y = Axis("% of the events", (0, 25, 50, 75, 100))
    note = f"{result['rate']} events/s, all rounds together; up to the 99.9th percentile."
    return {_PLOT: lines("Latency at rest: seen within a time", note, series, x, y)}


def goals(result: Result) -> list[Goal]:
    """What was to be reached; of the rounds' figures the median."""
    half = result["commit_interval_ms"] / 2
    wanted = (
        ("produce() → real-time sink at 500 events/s, p50", SHOWN, "p50", _SHOWN_P50_MS),
        ("the same, p99", SHOWN, "p99", _SHOWN_P99_MS),
        ("produce() → exactly-once output is there, p50", COMMITTED, "p50", half + _COMMITTED_MS),
    )
    found = []
    for what, name, key, most in wanted:
        measured = statistics.median(_of(result, name, key))
        found.append(Goal(what, f"≤ {most:g} ms", f"{measured:.1f} ms", measured <= most))
    return found


def _of(result: Result, name: str, key: str) -> list[float]:
    return [told[name][key] for told in result["rounds"]]


def _within(low: float, high: float) -> Sequence[float]:
    """The ticks from the last one below ``low`` to the first one above ``high``."""
    begin = max((number for number, tick in enumerate(_TICKS) if tick <= low), default=0)
    end = min((number for number, tick in enumerate(_TICKS) if tick >= high), default=len(_TICKS) - 1)
    return _TICKS[begin : end + 1]
