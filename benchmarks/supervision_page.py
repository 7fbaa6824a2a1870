"""What the benchmark of supervision prints, and its section of the report. Of its result alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import Goal
from benchmarks.markdown import machine, picture, table
from benchmarks.plots import Bar, bars

__all__ = ["goals", "plots", "section", "text"]

Result = dict[str, Any]
Spreads = Mapping[str, Mapping[str, float]]

ONE_PLOT, ALL_PLOT = "supervision.svg", "supervision-all.svg"

_PROSE = Path(__file__).with_name("supervision.md")
"""What stands around the figures; ``{figures}`` is their place."""
_OURS = "ours, with the spare"
_MEDIAN_MS = 10.0
_SPREAD = ("median_ms", "p95_ms", "worst_ms")


def text(result: Result) -> str:
    """Machine and tables, in Markdown."""
    parts = (
        f"{machine(result['machine'])} {result['workers']} workers each.",
        _spreads("SIGKILL → first instruction of the replacement, ms", _one(result)),
        _spreads("SIGKILL of all workers → the last one is back, ms", result["all"]),
        _steps(result["one"]),
        _idle(result["idle"]),
        table(("supervisor", "version", "settings"), _about(result)),
    )
    return "\n\n".join(part for part in parts if part)


def section(result: Result) -> str:
    """Its part of the report."""
    pictures = "\n\n".join(
        (
            picture(ONE_PLOT, "SIGKILL of one worker to its replacement's first instruction"),
            picture(ALL_PLOT, "SIGKILL of all workers until the last is back"),
        )
    )
    return _PROSE.read_text(encoding="utf-8").replace("{figures}", f"{pictures}\n\n{text(result)}")


def goals(result: Result) -> list[Goal]:
    """What was to be reached, if it was measured."""
    spread = _one(result).get(_OURS)
    if spread is None:
        return []
    median = spread["median_ms"]
    what = "SIGKILL → first instruction of the replacement, with the spare, median"
    return [Goal(what, f"≤ {_MEDIAN_MS:g} ms", f"{median:.1f} ms", median <= _MEDIAN_MS)]


def plots(result: Result) -> dict[str, str]:
    """The pictures, by the names of their files."""
    note = f"Median, with the least and the most; {result['workers']} workers each, all at the same time."
    return {
        ONE_PLOT: bars("SIGKILL → first instruction, ms: less is better", note, _bars(_one(result))),
        ALL_PLOT: bars("SIGKILL of all → the last is back, ms", note, _bars(result["all"])),
    }


def _bars(spreads: Spreads) -> list[Bar]:
    return [
        Bar(
            name,
            spread["median_ms"],
            spread["best_ms"],
            spread["worst_ms"],
            f"{spread['median_ms']:,.0f}",
            name.startswith("ours"),
        )
        for name, spread in spreads.items()
    ]


def _one(result: Result) -> Spreads:
    return {name: steps["first instruction"] for name, steps in result["one"].items()}


def _spreads(title: str, spreads: Spreads) -> str:
    rows = [
        (name, *(f"{spread[key]:,.1f}" for key in _SPREAD), str(spread["kills"]))
        for name, spread in spreads.items()
    ]
    return table((title, "median", "p95", "worst", "kills"), rows)


def _steps(one: Mapping[str, Spreads]) -> str:
    """On the way there, where a supervisor tells."""
    rows = [
        (name, step, *(f"{spread[key]:,.2f}" for key in _SPREAD))
        for name, steps in one.items()
        if len(steps) > 1
        for step, spread in steps.items()
    ]
    return table(("SIGKILL → step, ms", "step", "median", "p95", "worst"), rows)


def _idle(idle: Spreads) -> str:
    rows = [
        (
            name,
            f"{of['cpu_percent']:.2f}",
            f"{of['rss_mb']:.0f}",
            f"{of['helpers_rss_mb']:.0f} ({of['helpers']})",
        )
        for name, of in idle.items()
    ]
    return table(("the idle supervisor", "% of a CPU", "RSS, MB", "RSS of its helpers, MB (how many)"), rows)


def _about(result: Result) -> Sequence[Sequence[str]]:
    rows = [(name, about["version"], about["settings"]) for name, about in result["supervisors"].items()]
    return rows + [(name, "absent", reason) for name, reason in result["absent"].items()]
