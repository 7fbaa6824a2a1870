"""What the anatomy benchmark prints, and its section of the report. Of its result alone."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.markdown import figure, machine, table

__all__ = ["PASSES", "plots", "section", "text"]

Result = dict[str, Any]

PASSES = ("fetched", "transformed", "produced and committed", "the same by confluent_kafka.Producer")
"""Each does what those before it do, but for the last one, which produces in another way."""

_PROSE = Path(__file__).with_name("anatomy.md")
"""What stands around the figures; ``{figures}`` is their place."""


def text(result: Result) -> str:
    """Machine and tables, in Markdown."""
    conditions = (
        f"{machine(result['machine'])} {result['events']:,} events a pass; {result['rounds']} rounds; "
        f"{result['brokers']}."
    )
    return "\n\n".join((conditions, _passes(result), _steps(result)))


def section(result: Result) -> str:
    """Its part of the report."""
    return _PROSE.read_text(encoding="utf-8").replace("{figures}", text(result))


def plots(_result: Result) -> dict[str, str]:
    """None."""
    return {}


def _passes(result: Result) -> str:
    passes = result["passes"]
    rows, before = [], None
    for name in PASSES:
        base = passes[before] if before else None
        python, own = (_differences(passes[name], base, key) for key in ("python", "client"))
        both = [one + other for one, other in zip(python, own, strict=True)]
        rows.append((name, *figure(python, "{:.2f}"), *figure(own, "{:.2f}"), *figure(both, "{:.2f}")))
        before = name if name != PASSES[2] else PASSES[1]
    whole = [trial["python"] + trial["client"] for trial in passes[PASSES[2]]]
    rows.insert(3, ("**all of it**", "", "", "", "", *figure(whole, "{:.2f}")))
    heads = (
        "CPU of an event, µs",
        "Python",
        "least – most",
        "client",
        "least – most",
        "both",
        "least – most",
    )
    return table(heads, rows)


def _differences(
    trials: list[dict[str, float]], base: list[dict[str, float]] | None, key: str
) -> list[float]:
    if base is None:
        return [trial[key] for trial in trials]
    return [trial[key] - below[key] for trial, below in zip(trials, base, strict=True)]


def _steps(result: Result) -> str:
    steps = result["steps"]
    whole = statistics.median([sum(of) for of in zip(*steps.values(), strict=True)])
    rows = [
        (name, *figure(of, "{:.2f}"), f"{statistics.median(of) / whole:.0%}") for name, of in steps.items()
    ]
    return table(("the transformation, µs an event", "median", "least – most", "of it"), rows)
