"""What the isolation benchmark prints, and its section of the report. Of its result alone.

A result has a part for each mode that was run: ``governor`` and ``variants``.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import Goal
from benchmarks.markdown import figure, machine, picture, table
from benchmarks.plots import Bar, bars

__all__ = ["goals", "line", "plots", "section", "text"]

Result = dict[str, Any]
Trials = dict[str, list[dict[str, Any]]]

P99_PLOT, VARIANTS_PLOT = "isolation.svg", "isolation-variants.svg"

_PROSE = Path(__file__).with_name("isolation.md")
"""What stands around the figures; ``{governor}`` and ``{variants}`` are their places."""
_NOT_MEASURED = "Not measured yet."

_RATIO, _SHARE, _CALM_S = 2.0, 0.35, 5.0
_HEADS = ("", "OLAP events/s", "p50", "p99", "idle p50", "idle p99", "p99 / idle p99", "least – most", "runs")


def line(name: str, trial: dict[str, Any]) -> str:
    """One drain, as it is printed when it is over."""
    busy, idle = trial["busy"], trial["idle"]
    return (
        f"{trial['round']}: {name:<32} OLAP {trial['olap_rate']:>9,.0f}/s  p50 {busy['p50']:6.1f} "
        f"p99 {busy['p99']:6.1f}  idle p50 {idle['p50']:6.1f} p99 {idle['p99']:6.1f}  "
        f"ratio {trial['ratio']:.1f}"
    )


def text(result: Result) -> str:
    """Machine and tables of every mode, in Markdown."""
    return "\n\n".join(_part(mode, part) for mode, part in result.items())


def section(result: Result) -> str:
    """Its part of the report."""
    prose = _PROSE.read_text(encoding="utf-8")
    for mode, name, words in (
        ("governor", P99_PLOT, "Age of real-time events, 99th percentile"),
        ("variants", VARIANTS_PLOT, "Age of real-time events, 99th percentile, by variant"),
    ):
        found = f"{picture(name, words)}\n\n{_part(mode, result[mode])}" if mode in result else _NOT_MEASURED
        prose = prose.replace(f"{{{mode}}}", found)
    return prose


def goals(result: Result) -> list[Goal]:
    """What was to be reached, where the governor's mode was run."""
    part = result.get("governor")
    if part is None:
        return []
    ratio = statistics.median(trial["ratio"] for trial in part["trials"]["guided"])
    share = statistics.median(_shares(part["trials"]))
    found = [
        Goal(
            "real-time p99 beside a backlog, to that at idle",
            f"≤ {_RATIO:g} ×",
            f"{ratio:.1f} ×",
            ratio <= _RATIO,
        ),
        Goal("OLAP rate meanwhile, to the unguided one", f"≥ {_SHARE:.0%}", f"{share:.0%}", share >= _SHARE),
    ]
    if part["calm_s"]:
        calm = _worst(part["calm_s"])
        measured = "never" if calm is None else f"{calm:.1f} s"
        reached = calm is not None and calm <= _CALM_S
        found.append(Goal("calm → the whole OLAP rate, worst", f"≤ {_CALM_S:g} s", measured, reached))
    return found


def plots(result: Result) -> dict[str, str]:
    """The pictures, by the names of their files."""
    names = {"governor": P99_PLOT, "variants": VARIANTS_PLOT}
    return {name: _plot(result[mode]) for mode, name in names.items() if mode in result}


def _plot(part: dict[str, Any]) -> str:
    rows = []
    for name, of in part["trials"].items():
        ratios = [trial["ratio"] for trial in of]
        median = statistics.median(ratios)
        rate = statistics.median(trial["olap_rate"] for trial in of)
        label = f"{median:.1f}, {rate:,.0f}/s"
        rows.append(Bar(name, median, min(ratios), max(ratios), label, name in ("guided", "the governor")))
    note = f"Median of {part['rounds']} rounds, with least and most; the OLAP side's events a second."
    return bars("p99 beside a backlog / p99 at idle: less is better", note, rows)


def _part(mode: str, part: dict[str, Any]) -> str:
    parts = [_conditions(part), table(_HEADS, [_row(name, of) for name, of in part["trials"].items()])]
    if mode == "governor":
        parts.append(_beside(part))
    parts.append(table(("", "not measured"), list(part["absent"].items())))
    return "\n\n".join(part for part in parts if part)


def _conditions(part: dict[str, Any]) -> str:
    return (
        f"`{part['command']}`\n\n{machine(part['machine'])} {part['brokers']}; a backlog of "
        f"{part['backlog']:,} events, {part['events_s']} real-time events/s, {part['idle_s']:g} s of idle "
        f"time behind each drain{_targets(part)}. "
        f"Medians of {part['rounds']} rounds, ages in ms:"
    )


def _targets(part: dict[str, Any]) -> str:
    told = [f"{trial['slo_p99_ms']:g}" for trial in part["trials"].get("guided", [])]
    return f"; `realtime.slo_p99_ms` of the guided ones: {', '.join(told)}" if told else ""


def _row(name: str, of: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    def median(phase: str, quantile: str) -> str:
        return f"{statistics.median(trial[phase][quantile] for trial in of):,.1f}"

    return (
        name,
        f"{statistics.median(trial['olap_rate'] for trial in of):,.0f}",
        *(median(phase, quantile) for phase in ("busy", "idle") for quantile in ("p50", "p99")),
        *figure([trial["ratio"] for trial in of], "{:.1f}"),
        str(len(of)),
    )


def _beside(part: dict[str, Any]) -> str:
    share, spread = figure([100 * share for share in _shares(part["trials"])], "{:.0f}")
    told = f"OLAP rate, guided to unguided, in the same round: {share} % ({spread} %)."
    if part["calm_s"]:
        each = ", ".join("never" if calm is None else f"{calm:.1f}" for calm in part["calm_s"])
        told += (
            f" From the last real-time event amid a backlog to nine tenths of the unguided rate: {each} s."
        )
    return told


def _shares(trials: Trials) -> list[float]:
    """Guided to unguided, within each round."""
    whole = {trial["round"]: trial["olap_rate"] for trial in trials["unguided"]}
    return [
        trial["olap_rate"] / whole[trial["round"]] for trial in trials["guided"] if trial["round"] in whole
    ]


def _worst(calm_s: Sequence[float | None]) -> float | None:
    found = [calm for calm in calm_s if calm is not None]
    return max(found) if len(found) == len(calm_s) else None
