"""What the throughput benchmark prints, and the page that it writes. Of its result alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plots import Bar, bars

__all__ = ["page", "plots", "text"]

Result = dict[str, Any]

RATE_PLOT, CPU_PLOT = "throughput.svg", "throughput-cpu.svg"

_PROSE = Path(__file__).with_name("throughput.md")
"""What stands around the figures; ``{figures}`` is their place."""


def text(result: Result) -> str:
    """Machine and tables, in Markdown."""
    parts = [_machine(result)]
    trials = _trials(result)
    if trials:
        parts += [_rates(trials), _starts(trials)]
    parts += [_about(result), _unmeasured(result)]
    return "\n\n".join(part for part in parts if part)


def page(result: Result) -> str:
    """The whole of ``docs/benchmarks.md``."""
    pictures = f"![Events a second](plots/{RATE_PLOT})\n\n![CPU time of an event](plots/{CPU_PLOT})"
    figures = f"{pictures}\n\n{text(result)}" if _trials(result) else text(result)
    return _PROSE.read_text(encoding="utf-8").replace("{figures}", figures)


def plots(result: Result) -> dict[str, str]:
    """The pictures, by the names of their files."""
    trials = _trials(result)
    note = (
        f"Median of {result['rounds']} rounds, with the least and the most; {result['machine']['cpus']} CPUs."
    )
    return {
        RATE_PLOT: bars("Events a second: more is better", note, _bars(trials, "rate", "{:,.0f}")),
        CPU_PLOT: bars("CPU time of an event, µs: less is better", note, _bars(trials, "cpu_us", "{:,.1f}")),
    }


def _trials(result: Result) -> dict[str, list[dict[str, Any]]]:
    return {name: found["trials"] for name, found in result["peers"].items() if found["trials"]}


def _bars(trials: dict[str, list[dict[str, Any]]], key: str, form: str) -> list[Bar]:
    found = []
    for name, of in trials.items():
        median, low, high = _spread([trial[key] for trial in of])
        found.append(Bar(name, median, low, high, form.format(median), name.startswith("ours")))
    return found


def _machine(result: Result) -> str:
    told = result["machine"]
    return (
        f"{told['date']}: {told['system']}, {told['cpus']} CPUs, Python {told['python']}; load before "
        f"{told['load_before']}, CPUs used by others meanwhile {told['cpus_used_by_others']}, "
        f"{told['seconds']:,} s in all. "
        f"{result['events']:,} events of {result['bytes']:.0f} bytes on average; "
        f"{result['rounds']} rounds; {result['brokers']}."
    )


def _rates(trials: dict[str, list[dict[str, Any]]]) -> str:
    """Ratios are taken within a round, with what the first one did in that round."""
    first = next(iter(trials))
    rows = []
    for name, of in trials.items():
        rate, cpu = ([trial[key] for trial in of] for key in ("rate", "cpu_us"))
        rows.append(
            (
                name,
                *_figure(rate, "{:,.0f}"),
                _ratio(trials, first, name, "rate"),
                *_figure(cpu, "{:,.2f}"),
                _ratio(trials, first, name, "cpu_us"),
                str(len(of)),
            )
        )
    heads = (
        *("", "events/s", "least – most", f"of {first}"),
        *("CPU, µs an event", "least – most", f"of {first}", "runs"),
    )
    return _table(heads, rows)


def _ratio(trials: dict[str, list[dict[str, Any]]], first: str, name: str, key: str) -> str:
    base = {trial["round"]: trial[key] for trial in trials[first]}
    ratios = [trial[key] / base[trial["round"]] for trial in trials[name] if trial["round"] in base]
    return f"{statistics.median(ratios):.2f}" if ratios else "–"


def _starts(trials: dict[str, list[dict[str, Any]]]) -> str:
    def median(of: Sequence[dict[str, Any]], take: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(map(take, of))

    rows = [
        (
            name,
            f"{median(of, lambda trial: trial['start_s']):,.1f}",
            f"{median(of, lambda trial: trial['start_cpu_s']):,.1f}",
            f"{of[0]['events']:,}",
            f"{median(of, lambda trial: trial['seconds']):,.1f}",
            f"{max(trial['repeated'] for trial in of):,}",
        )
        for name, of in trials.items()
    ]
    heads = (
        "",
        "start → first output, s",
        "CPU by then, s",
        "events of a run",
        "measured, s",
        "repeated, most",
    )
    return _table(heads, rows)


def _about(result: Result) -> str:
    rows = [
        (name, about["version"], about["guarantee"], about["settings"])
        for name, about in result["peers"].items()
    ]
    return _table(("", "version", "guarantees of its output", "settings"), rows) if rows else ""


def _unmeasured(result: Result) -> str:
    rows = [(name, f"absent: {reason}") for name, reason in result["absent"].items()]
    rows += [
        (name, f"round {failure['round']} failed: {failure['reason'].splitlines()[0]}")
        for name, about in result["peers"].items()
        for failure in about["failures"]
    ]
    return _table(("", "not measured"), rows) if rows else ""


def _figure(values: Sequence[float], form: str) -> tuple[str, str]:
    median, low, high = _spread(values)
    return form.format(median), f"{form.format(low)} – {form.format(high)}"


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in (heads, *rows)]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:]])
