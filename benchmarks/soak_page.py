"""What the soak prints, and its section of the report. Of its result alone."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import Goal
from benchmarks.markdown import machine, picture, table
from benchmarks.timeline import Track, timeline

__all__ = ["drift", "goals", "plots", "section", "text"]

Result = dict[str, Any]

MEMORY_PLOT, DESCRIPTORS_PLOT = "soak-memory.svg", "soak-descriptors.svg"
LATENCY_PLOT, LAG_PLOT = "soak-latency.svg", "soak-lag.svg"

_PROSE = Path(__file__).with_name("soak.md")
"""What stands around the figures; ``{figures}`` is their place."""

_HELD_SHARE = 0.99
"""Of the rate that was asked for: a sender that falls behind has not held it."""
_MEMORY, _DESCRIPTORS, _LATENCY = 1.05, 1.02, 1.25
"""How much more of each there may be in the last third than in the first."""
_TITLES = {"supervisor": "supervisor", "olap": "OLAP workers", "realtime": "real-time", "others": "others"}


def drift(values: Sequence[float | None]) -> tuple[float, float]:
    """Medians of the first and of the last third of a series; what is None counts for nothing."""
    there = [value for value in values if value is not None]
    third = max(1, len(there) // 3)
    if not there:
        return 0.0, 0.0
    return statistics.median(there[:third]), statistics.median(there[-third:])


def text(result: Result) -> str:
    """Machine and tables, in Markdown."""
    return "\n\n".join((_conditions(result), _trends(result), _outcome(result), _kills(result)))


def section(result: Result) -> str:
    """Its part of the report."""
    pictures = "\n\n".join(
        (
            picture(MEMORY_PLOT, "Memory over time"),
            picture(DESCRIPTORS_PLOT, "Descriptors and threads over time"),
            picture(LATENCY_PLOT, "Latency over time"),
            picture(LAG_PLOT, "Lag over time"),
        )
    )
    return _PROSE.read_text(encoding="utf-8").replace("{figures}", f"{pictures}\n\n{text(result)}")


def goals(result: Result) -> list[Goal]:
    """What was to be reached."""
    account = result["account"]
    rate, wanted = _rate(result), result["rate"]
    minutes = f"soak of {result['minutes']:g} minutes with {len(result['kills'])} kills"
    broken = account["lost"] + account["duplicated"] + account["wrong"] + result["miscounted"]
    found = [
        Goal(f"{minutes}: events/s committed", f"{wanted:,}", f"{rate:,.0f}", rate >= _HELD_SHARE * wanted),
        Goal(
            f"{minutes}: lost, duplicated or wrong, of {account['events']:,}", "0", f"{broken:,}", broken == 0
        ),
    ]
    for what, values, most in _series(result):
        first, last = drift(values)
        grown = last / first if first else 1.0
        found.append(
            Goal(f"{minutes}: {what}, last third to first", f"≤ {most:.2f}", f"{grown:.2f}", grown <= most)
        )
    return found


def plots(result: Result) -> dict[str, str]:
    """The pictures, by the names of their files."""
    moments, kills = result["moments_s"], [kill["s"] for kill in result["kills"]]
    note = (
        f"{result['rate']:,} events/s, a sample each {result['sample_every_s']:g} s; each thin red line is "
        "the SIGKILL of a worker."
    )

    def plot(title: str, series: Sequence[Track], unit: str, *, logarithmic: bool = False) -> str:
        return timeline(title, note, moments, series, events=kills, unit=unit, logarithmic=logarithmic)

    held = result["held"]
    memory = [Track(_TITLES[group], of["uss_mb"]) for group, of in held.items()]
    counts = [Track(f"all {name}", _total(result, name)) for name in ("descriptors", "threads")]
    latency = [
        Track("visible p50", result["visible_ms"]["p50"]),
        Track("visible p99", result["visible_ms"]["p99"]),
        Track("real-time p50", result["realtime_ms"]["p50"]),
        Track("real-time p99", result["realtime_ms"]["p99"]),
    ]
    return {
        MEMORY_PLOT: plot(
            "Memory of its own (USS), MB", [*memory, Track("all", _total(result, "uss_mb"))], ""
        ),
        DESCRIPTORS_PLOT: plot("Descriptors and threads, all processes", counts, ""),
        LATENCY_PLOT: plot("Latency, ms", latency, "", logarithmic=True),
        LAG_PLOT: plot("Events not yet committed", [Track("lag", result["lag"])], ""),
    }


def _rate(result: Result) -> float:
    """The rate that was held: what was committed when the load ended, not what was sent by then."""
    return float(result["committed"] / result["sender"]["seconds"])


def _total(result: Result, name: str) -> list[float]:
    return [sum(column) for column in zip(*(of[name] for of in result["held"].values()), strict=True)]


def _series(result: Result) -> list[tuple[str, Sequence[float | None], float]]:
    """What is to stay as it is, and by how much it may grow."""
    return [
        ("memory (USS)", _total(result, "uss_mb"), _MEMORY),
        ("descriptors", _total(result, "descriptors"), _DESCRIPTORS),
        ("due → visible, median", result["visible_ms"]["p50"], _LATENCY),
    ]


def _conditions(result: Result) -> str:
    sender = result["sender"]
    sent = sum(sender["sent"]) / sender["seconds"]
    used = ", ".join(f"{name} {used:.2f}" for name, used in result["cpus"].items())
    settings = f" Settings: {', '.join(result['settings'])}." if result["settings"] else ""
    return (
        f"{machine(result['machine'])} {result['minutes']:g} minutes behind {result['warm_up_s']:g} s of "
        f"warm-up, {result['rate']:,} events/s asked for, "
        f"{sent:,.0f} sent (the latest {sender['latest_ms']:,.0f} ms late), {_rate(result):,.0f} committed "
        f"by the end of the load. CPUs used: {used}. {result['disk_bytes_an_event']:,} bytes an event on the "
        f"brokers' disks.{settings}"
    )


def _trends(result: Result) -> str:
    rows = [
        (f"{_TITLES[group]}: {title}", *_trend(of[name], form))
        for group, of in result["held"].items()
        for name, title, form in (
            ("uss_mb", "memory of its own, MB", "{:,.1f}"),
            ("rss_mb", "resident, MB", "{:,.1f}"),
            ("descriptors", "descriptors", "{:,.0f}"),
            ("threads", "threads", "{:,.0f}"),
        )
    ]
    for kind, title in (("visible_ms", "due → visible"), ("realtime_ms", "real-time age")):
        rows += [
            (f"{title}, {name} of an interval, ms", *_trend(values, "{:,.0f}"))
            for name, values in result[kind].items()
        ]
    rows.append(("events not yet committed", *_trend(result["lag"], "{:,.0f}")))
    return table(("", "first third", "last third", "most"), rows)


def _trend(values: Sequence[float | None], form: str) -> tuple[str, str, str]:
    first, last = drift(values)
    most = max((value for value in values if value is not None), default=0.0)
    return form.format(first), form.format(last), form.format(most)


def _outcome(result: Result) -> str:
    account = result["account"]
    return (
        f"{account['events']:,} events: {account['lost']:,} lost, {account['duplicated']:,} duplicated; "
        f"{account['compared']:,} outputs compared field by field, {account['wrong']:,} wrong; the "
        f"aggregates' total is off by {result['miscounted']:,}. What was left when the load ended was "
        f"processed within {result['drained_s']:.1f} s."
    )


def _kills(result: Result) -> str:
    rows = []
    for kind, title in (("olap", "an OLAP worker"), ("realtime", "the real-time worker")):
        took = [kill["served_ms"] for kill in result["kills"] if kill["worker"].startswith(kind)]
        there = sorted(value for value in took if value is not None)
        if there:
            cells = (f"{statistics.median(there):,.0f}", f"{there[-1]:,.0f}", f"{len(there)} of {len(took)}")
            rows.append((title, *cells))
    return table(("SIGKILL → its partitions served again, ms", "median", "worst", "kills"), rows)
