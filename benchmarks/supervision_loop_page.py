"""What the benchmark of the supervisor's loop prints, and its section of the report. Of its result alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.goals import Goal
from benchmarks.markdown import machine, table

__all__ = ["goals", "plots", "section", "text"]

Result = dict[str, Any]

_PROSE = Path(__file__).with_name("supervision_loop.md")
"""What stands around the figures; ``{figures}`` is their place."""
_CPU_PERCENT, _P99_MS = 0.5, 5.0


def text(result: Result) -> str:
    """Machine and tables, in Markdown."""
    return "\n\n".join((machine(result["machine"]), _idle(result["idle"]), *_crashing(result["crashing"])))


def section(result: Result) -> str:
    """Its part of the report."""
    return _PROSE.read_text(encoding="utf-8").replace("{figures}", text(result))


def goals(result: Result) -> list[Goal]:
    """What was to be reached."""
    idle, crashing = result["idle"], result["crashing"]
    cpu, p99 = idle["cpu_percent"], crashing["p99_ms"]
    return [
        Goal(
            f"the supervisor's CPU with {idle['workers']} idle workers",
            f"< {_CPU_PERCENT} % of one",
            f"{cpu:.2f} %",
            cpu < _CPU_PERCENT,
        ),
        Goal(
            f"timer due → handled while {crashing['workers']} workers crash-loop, p99",
            f"< {_P99_MS:g} ms",
            f"{p99:.2f} ms",
            p99 < _P99_MS,
        ),
    ]


def plots(_result: Result) -> dict[str, str]:
    """None: two figures need no picture."""
    return {}


def _idle(idle: dict[str, Any]) -> str:
    heads = ("idle workers", "start → all serve, s", "the supervisor, % of a CPU", "over, s", "load before")
    cells = (
        str(idle["workers"]),
        f"{idle['start_s']:.1f}",
        f"{idle['cpu_percent']:.3f}",
        f"{idle['seconds']:g}",
        f"{idle['load_before']:.2f}",
    )
    return table(heads, [cells])


def _crashing(crashing: dict[str, Any]) -> tuple[str, str]:
    heads = (
        "timer due → handled, ms",
        "p50",
        "p99",
        "p99.9",
        "most",
        "timers",
        "deaths meanwhile",
        "load before",
    )
    cells = (
        f"{crashing['workers']} workers crash-loop",
        *(f"{crashing[key]:.2f}" for key in ("p50_ms", "p99_ms", "p999_ms", "max_ms")),
        f"{crashing['timers']:,}",
        f"{crashing['deaths']:,}",
        f"{crashing['load_before']:.2f}",
    )
    calls = [
        (f"`{name}`", f"{call['times']:,}", f"{call['median_ms']:.2f}", f"{call['longest_ms']:.2f}")
        for name, call in crashing["longest_calls"].items()
    ]
    return table(heads, [cells]), table(
        ("what took the loop longest", "times", "median, ms", "longest, ms"), calls
    )
