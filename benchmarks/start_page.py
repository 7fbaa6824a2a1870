"""What the benchmark of start and size prints, and its section of the report. Of its result alone."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import Goal
from benchmarks.lines import Axis, Series, lines, ticks
from benchmarks.markdown import figure, machine, picture, spread, table

__all__ = ["goals", "plots", "section", "text"]

Result = dict[str, Any]

_WORKERS_PLOT, _PARTITIONS_PLOT = "scale-workers.svg", "scale-partitions.svg"
_PROSE = Path(__file__).with_name("start.md")
"""What stands around the figures; ``{figures}`` is their place."""
_FIRST = "first output is committed"
_START_MS, _HELP_MS, _WORKER_MB = 1_000.0, 100.0, 45.0


def text(result: Result) -> str:
    """Machine and tables, in Markdown."""
    parts = [f"{machine(result['machine'])} {result['brokers']}."]
    if "starts" in result:
        parts.append(_starts(result["starts"]))
    if "help" in result:
        parts.append(_help(result["help"]))
    if "memory" in result:
        parts.append(_memory(result["memory"]))
    if "many" in result:
        parts.append(_many(result["many"]))
    if "scale" in result:
        parts.append(_scale(result["scale"]))
    return "\n\n".join(part for part in parts if part)


def section(result: Result) -> str:
    """Its part of the report."""
    words = {_WORKERS_PLOT: "Events a second by OLAP workers", _PARTITIONS_PLOT: "by partitions"}
    pictures = "\n\n".join(picture(name, words[name]) for name in plots(result))
    figures = f"{text(result)}\n\n{pictures}"
    return _PROSE.read_text(encoding="utf-8").replace("{figures}", figures)


def plots(result: Result) -> dict[str, str]:
    """The pictures, by the names of their files."""
    if "scale" not in result:
        return {}
    scale, cpus = result["scale"], result["machine"]["cpus"]
    by_workers = f"{scale['of_partitions']} partitions; {cpus} CPUs, which the brokers share."
    by_partitions = f"As many OLAP workers, {scale['at_most_workers']} at most; {cpus} CPUs, shared."
    return {
        _WORKERS_PLOT: _plot("Events a second by OLAP workers", by_workers, scale["workers"], "workers"),
        _PARTITIONS_PLOT: _plot(
            "Events a second by partitions", by_partitions, scale["partitions"], "partitions"
        ),
    }


def goals(result: Result) -> list[Goal]:
    """What was to be reached, of what was measured."""
    found = []
    if "starts" in result:
        first = statistics.median(one[_FIRST] for one in result["starts"])
        what = "`supervisor start` on running brokers → first committed output"
        found.append(Goal(what, f"≤ {_START_MS / 1e3:.1f} s", f"{first / 1e3:.2f} s", first <= _START_MS))
    if "help" in result:
        told = statistics.median(result["help"]["help"])
        found.append(Goal("`supervisor --help`", f"≤ {_HELP_MS:g} ms", f"{told:.0f} ms", told <= _HELP_MS))
    if "olap" in result.get("memory", {}):
        most = max(result["memory"]["olap"])
        goal, measured = f"≤ {_WORKER_MB:g} MB", f"{most:.1f} MB"
        found.append(Goal("unique memory of an idle OLAP worker", goal, measured, most <= _WORKER_MB))
    if "many" in result:
        many = result["many"]
        what = f"{many['workers']} OLAP workers with a partition each on this host: start, process, drain"
        works = not many["restarts"]
        found.append(Goal(what, "works", "yes" if works else f"{many['restarts']} restarts", works))
    return found


def _starts(starts: Sequence[Mapping[str, float]]) -> str:
    rows = [(what, *figure([one[what] / 1e3 for one in starts], "{:.2f}")) for what in starts[0]]
    return table((f"`supervisor start`: seconds until, of {len(starts)}", "median", "least – most"), rows)


def _help(told: Mapping[str, Sequence[float]]) -> str:
    ratio = statistics.median(told["help"]) / statistics.median(told["interpreter"])
    names = (("`supervisor --help`", "help"), ("`python -c pass`, in turn with it", "interpreter"))
    rows = [(name, *figure(told[key], "{:.0f}")) for name, key in names]
    rows.append(("ratio of the medians", f"{ratio:.1f}", ""))
    return table((f"ms, of {len(told['help'])} calls", "median", "least – most"), rows)


def _memory(memory: Mapping[str, Sequence[float]]) -> str:
    rows = [(name, f"{len(of)}", *figure(of, "{:.1f}")) for name, of in memory.items()]
    return table(("process, idle", "of them", "unique memory, MB", "least – most"), rows)


def _many(many: Mapping[str, float]) -> str:
    return (
        f"{many['workers']} OLAP workers, a partition each: all serve after {many['start_s']:.1f} s; "
        f"{many['events']:,} events that were waiting are done after {many['done_s']:.1f} s; the drain takes "
        f"{many['stop_s']:.1f} s; {many['unique_mb']:,.0f} MB of unique memory in all; "
        f"{many['restarts']} restarts."
    )


def _scale(scale: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{value} {of}",
            *figure([one["rate"] for one in runs], "{:,.0f}"),
            *figure([one["cpu_us"] for one in runs], "{:.2f}"),
        )
        for of in ("workers", "partitions")
        for value, runs in scale[of].items()
    ]
    heads = ("", "events/s", "least – most", "CPU, µs an event", "least – most")
    failed = [
        (f"round {one['round']}, {one['what']}", one["reason"].splitlines()[0]) for one in scale["failures"]
    ]
    return "\n\n".join(part for part in (table(heads, rows), table(("", "failed"), failed)) if part)


def _plot(title: str, note: str, runs: Mapping[str, Sequence[Mapping[str, float]]], by: str) -> str:
    told = {int(value): spread([one["rate"] for one in of]) for value, of in runs.items()}
    points = [(float(value), median) for value, (median, _, _) in told.items()]
    one = Series("ours, exactly once", points, [(low, high) for _, low, high in told.values()])
    most = max((high for _, _, high in told.values()), default=0.0)
    x = Axis(by, sorted(told) if len(told) > 1 else (1, 2), log=True)
    return lines(title, note, [one], x, Axis("events/s", ticks(most)))
