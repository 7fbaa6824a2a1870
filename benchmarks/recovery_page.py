"""What the benchmark of recovery prints, and its section of the report. Of its result alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import Goal
from benchmarks.markdown import machine, picture, table
from benchmarks.plots import Bar, bars

__all__ = ["goals", "plots", "section", "text"]

Result = dict[str, Any]

PLOT = "recovery.svg"

_PROSE = Path(__file__).with_name("recovery.md")
"""What stands around the figures; ``{figures}`` is their place."""
_MEDIAN_MS, _WORST_MS = 250.0, 800.0

# What happens between the kill and the output, in order; each step is the time since the one before.
_STEPS = {
    "noticed": "all threads of the dead process have ended, and the kernel has told the supervisor",
    "refilled": "it has given the seat to another process",
    "served": "first instruction of the replacement",
    "fenced": "the dead worker's transaction is aborted; beside it, look-ups and the changelog",
    "owned": "committed offset, end of the changelog",
    "fetched": "the first records are in hand",
    "visible": "processed, offsets sent, committed, fetched by the reader",
}


def text(result: Result) -> str:
    """Machine and tables, in Markdown."""
    parts = (_conditions(result), _spreads(result), _outcome(result), _steps(result), *_peers(result))
    return "\n\n".join(part for part in parts if part)


def section(result: Result) -> str:
    """Its part of the report."""
    figures = f"{picture(PLOT, 'Silence after a SIGKILL')}\n\n{text(result)}"
    return _PROSE.read_text(encoding="utf-8").replace("{figures}", figures)


def goals(result: Result) -> list[Goal]:
    """What was to be reached, of the product as it comes."""
    if not result["spares"]:
        return []
    visible = _moments(result, "visible")
    median, worst = statistics.median(visible), max(visible)
    broken = result["lost"] + result["duplicated"] + result["other_findings"]
    what = "SIGKILL of an OLAP worker → its partition's next output visible"
    return [
        Goal(f"{what}, median", f"≤ {_MEDIAN_MS:g} ms", f"{median:,.0f} ms", median <= _MEDIAN_MS),
        Goal(
            f"{what}, worst of {len(visible)}", f"≤ {_WORST_MS:g} ms", f"{worst:,.0f} ms", worst <= _WORST_MS
        ),
        Goal(f"lost or duplicated behind {len(visible)} kills", "0", f"{broken:,}", broken == 0),
        *_reload_goal(result),
    ]


def _reload_goal(result: Result) -> list[Goal]:
    if not result["reloads"]:
        return []
    worst = max(told["unowned"] for told in result["reloads"])
    kill = max(_moments(result, "owned"))
    what = f"rolling reload: the longest that a partition has no owner, of {len(result['reloads'])} times"
    most = f"≤ the longest behind a kill, {kill:,.0f} ms"
    return [Goal(what, most, f"{worst:,.0f} ms", worst <= kill)]


def plots(result: Result) -> dict[str, str]:
    """The picture, by the name of its file."""
    rows = [_bar("ours", _moments(result, "visible"), ours=True)]
    rows += [_bar(name, about["silent_ms"]) for name, about in result["peers"].items() if about["silent_ms"]]
    note = (
        f"Median, with the least and the most; {result['machine']['cpus']} CPUs; the peers under supervisord."
    )
    return {PLOT: bars("SIGKILL → next output visible, s: less is better", note, rows)}


def _bar(name: str, silent_ms: Sequence[float], *, ours: bool = False) -> Bar:
    median = statistics.median(silent_ms) / 1000
    label = f"{median:,.2f}" if median < 10 else f"{median:,.1f}"
    return Bar(name, median, min(silent_ms) / 1000, max(silent_ms) / 1000, label, ours)


def _moments(result: Result, step: str) -> list[float]:
    return [gap[step] for gap in result["gaps_ms"]]


def _conditions(result: Result) -> str:
    low, high = result["load"]
    settings = f" Settings: {', '.join(result['settings'])}." if result["settings"] else ""
    return (
        f"{machine(result['machine'])} {result['rate']:,} events/s. Load while ours was measured: "
        f"{low:.1f} to {high:.1f}; CPUs that the machine's host gave to others: "
        f"{result['stolen_cpus']}.{settings}"
    )


def _spreads(result: Result) -> str:
    kills = f"ours, {len(result['gaps_ms'])} kills, {'with a' if result['spares'] else 'without a'} spare"
    titles = {
        "noticed": "SIGKILL → noticed, ms",
        "served": "SIGKILL → first instruction of the replacement, ms",
        "owned": "SIGKILL → owned again, ms",
        "visible": "SIGKILL → next output visible, ms",
    }
    rows = [(title, *_spread(_moments(result, step))) for step, title in titles.items()]
    if result["reloads"]:
        for key, title in (("unowned", "a partition without an owner"), ("silent", "its longest silence")):
            told = [of[key] for of in result["reloads"]]
            rows.append((f"rolling reload: {title}, ms", *_spread(told)))
    return table((kills, "median", "p95", "worst", "best"), rows)


def _spread(values: Sequence[float]) -> tuple[str, ...]:
    ordered = sorted(values)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return tuple(f"{value:,.1f}" for value in (statistics.median(ordered), p95, ordered[-1], ordered[0]))


def _outcome(result: Result) -> str:
    others = ", and other findings" if result["other_findings"] else ""
    return (
        f"{result['events']:,} events: {result['lost']:,} lost, {result['duplicated']:,} duplicated{others}."
    )


def _steps(result: Result) -> str:
    rows, before = [], [0.0] * len(result["gaps_ms"])
    for step, what in _STEPS.items():
        moments = _moments(result, step)
        took = statistics.median(now - then for now, then in zip(moments, before, strict=True))
        rows.append((step, f"{took:,.1f}", f"{statistics.median(moments):,.1f}", what))
        before = moments
    return table(("step", "took, ms", "since SIGKILL, ms", "what"), rows)


def _peers(result: Result) -> tuple[str, ...]:
    rows = []
    for name, about in result["peers"].items():
        silent = [gap / 1000 for gap in about["silent_ms"]]
        if silent:
            spread = (statistics.median(silent), min(silent), max(silent))
            cells = (*(f"{value:,.1f}" for value in spread), str(len(silent)))
            counts = (f"{about[key]:,}" for key in ("events", "lost", "duplicated"))
            rows.append((name, *cells, *counts))
    heads = (
        *("under supervisord: SIGKILL → next output visible, s", "median", "least", "most", "kills"),
        *("events", "lost", "duplicated"),
    )
    settings = [
        (name, about["version"], about["guarantee"], about["settings"])
        for name, about in result["peers"].items()
    ]
    settings += [(name, "absent", "", reason) for name, reason in result["absent"].items()]
    return table(heads, rows), table(("", "version", "guarantees of its output", "settings"), settings)
