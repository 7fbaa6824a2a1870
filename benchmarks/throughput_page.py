"""What the throughput benchmark prints, and its section of the report. Of its result alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import Goal
from benchmarks.markdown import figure, machine, picture, spread, table
from benchmarks.plots import Bar, bars

__all__ = ["goals", "plots", "section", "text"]

Result = dict[str, Any]

RATE_PLOT, CPU_PLOT = "throughput.svg", "throughput-cpu.svg"

_PROSE = Path(__file__).with_name("throughput.md")
"""What stands around the figures; ``{figures}`` is their place."""

_CPU_US = 3.0
_OF_THE_PIPELINE = 3.0 / 0.87
"""The same, where the pipeline's own work on an event takes 0.87 µs, as on the machine of that goal."""
_TIMES = {"ours": 5.0, "ours, with aggregates": 3.0}
_RIVALS = ("Kafka Streams", "Quix Streams")
"""Those that are exactly once, as ours is."""


def text(result: Result) -> str:
    """Machine and tables, in Markdown."""
    parts = [_conditions(result)]
    trials = _trials(result)
    if trials:
        parts += [_rates(trials), _ceiling(trials, result["machine"]["cpus"]), _starts(trials)]
    parts += [_about(result), _unmeasured(result)]
    return "\n\n".join(part for part in parts if part)


def section(result: Result) -> str:
    """Its part of the report."""
    pictures = f"{picture(RATE_PLOT, 'Events a second')}\n\n{picture(CPU_PLOT, 'CPU time of an event')}"
    figures = f"{pictures}\n\n{text(result)}" if _trials(result) else text(result)
    return _PROSE.read_text(encoding="utf-8").replace("{figures}", figures)


def goals(result: Result) -> list[Goal]:
    """What was to be reached, of those that were measured."""
    trials = _trials(result)
    found = []
    if "ours" in trials:
        cpu = statistics.median(trial["cpu_us"] for trial in trials["ours"])
        reached = cpu <= _CPU_US
        found.append(Goal("CPU of an event, exactly once", f"≤ {_CPU_US} µs", f"{cpu:.2f} µs", reached))
        share = statistics.median(trial["cpu_us"] / trial["yardstick_us"] for trial in trials["ours"])
        what = "the same, to the pipeline's own work on an event"
        reached = share <= _OF_THE_PIPELINE
        found.append(Goal(what, f"≤ {_OF_THE_PIPELINE:.1f} ×", f"{share:.1f} ×", reached))
    for name, goal in _TIMES.items():
        for rival in _RIVALS:
            if ratios := _ratios(trials, rival, name, "rate"):
                ratio = statistics.median(ratios)
                what = f"events/s, {name}, to those of {rival}"
                found.append(Goal(what, f"≥ {goal:g} ×", f"{ratio:.1f} ×", ratio >= goal))
    return found


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
        median, low, high = spread([trial[key] for trial in of])
        found.append(Bar(name, median, low, high, form.format(median), name.startswith("ours")))
    return found


def _conditions(result: Result) -> str:
    return (
        f"{machine(result['machine'])} {result['events']:,} events of {result['bytes']:.0f} bytes on "
        f"average; {result['rounds']} rounds; {result['brokers']}."
    )


def _rates(trials: dict[str, list[dict[str, Any]]]) -> str:
    """Ratios are taken within a round, with what the first one did in that round."""
    first = next(iter(trials))
    rows = []
    for name, of in trials.items():
        rate, cpu = ([trial[key] for trial in of] for key in ("rate", "cpu_us"))
        share = statistics.median(trial["cpu_us"] / trial["yardstick_us"] for trial in of)
        brokers = statistics.median(trial["brokers_us"] for trial in of)
        rows.append(
            (
                name,
                *figure(rate, "{:,.0f}"),
                _ratio(trials, first, name, "rate"),
                *figure(cpu, "{:,.2f}"),
                _ratio(trials, first, name, "cpu_us"),
                f"{share:,.1f}",
                f"{brokers:,.1f}",
                str(len(of)),
            )
        )
    heads = (
        *("", "events/s", "least – most", f"of {first}"),
        *("CPU, µs an event", "least – most", f"of {first}", "of the pipeline's", "brokers', µs", "runs"),
    )
    return table(heads, rows)


def _ceiling(trials: dict[str, list[dict[str, Any]]], cpus: int) -> str:
    """How fast a client would be that costs nothing, and one that costs nothing but the pipeline's work."""
    if "ours" not in trials:
        return ""
    brokers = statistics.median(trial["brokers_us"] for trial in trials["ours"])
    work = statistics.median(trial["yardstick_us"] for trial in trials["ours"])
    free, busy = cpus / brokers * 1e6, cpus / (brokers + work) * 1e6
    return (
        f"Brokers that take {brokers:.1f} µs of {cpus} CPUs for an event leave room for {free:,.0f} events/s"
        f" of a client that takes nothing at all{_of_rivals(trials, free)}. With the pipeline's own work, "
        f"{work:.1f} µs in Python, and a Kafka client and a supervisor that take nothing, they leave room "
        f"for {busy:,.0f}{_of_rivals(trials, busy)}."
    )


def _of_rivals(trials: dict[str, list[dict[str, Any]]], rate: float) -> str:
    times = [
        f"{rate / statistics.median(trial['rate'] for trial in trials[name]):.1f} × those of {name}"
        for name in _RIVALS
        if name in trials
    ]
    return f", {' and '.join(times)}" if times else ""


def _ratio(trials: dict[str, list[dict[str, Any]]], first: str, name: str, key: str) -> str:
    ratios = _ratios(trials, first, name, key)
    return f"{statistics.median(ratios):.2f}" if ratios else "–"


def _ratios(trials: dict[str, list[dict[str, Any]]], first: str, name: str, key: str) -> list[float]:
    """Of what ``name`` did to what ``first`` did in the same round."""
    base = {trial["round"]: trial[key] for trial in trials.get(first, [])}
    return [trial[key] / base[trial["round"]] for trial in trials.get(name, []) if trial["round"] in base]


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
    return table(heads, rows)


def _about(result: Result) -> str:
    rows = [
        (name, about["version"], about["guarantee"], about["settings"])
        for name, about in result["peers"].items()
    ]
    return table(("", "version", "guarantees of its output", "settings"), rows)


def _unmeasured(result: Result) -> str:
    rows = [(name, f"absent: {reason}") for name, reason in result["absent"].items()]
    rows += [
        (name, f"round {failure['round']} failed: {failure['reason'].splitlines()[0]}")
        for name, about in result["peers"].items()
        for failure in about["failures"]
    ]
    return table(("", "not measured"), rows)
