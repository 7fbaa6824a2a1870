"""What the report's sections have in common: tables, figures with their spread, the machine's line."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

__all__ = ["figure", "machine", "picture", "spread", "table"]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; nothing where it has no rows."""
    if not rows:
        return ""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in (heads, *rows)]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:]])


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and most."""
    return statistics.median(values), min(values), max(values)


def figure(values: Sequence[float], form: str) -> tuple[str, str]:
    """Two cells: the median, and the least and the most."""
    median, low, high = spread(values)
    return form.format(median), f"{form.format(low)} – {form.format(high)}"


def machine(told: dict[str, Any]) -> str:
    """What ``Machine.told()`` says, as a sentence."""
    return (
        f"{told['date']}: {told['system']}, {told['cpus']} CPUs, Python {told['python']}; load before "
        f"{told['load_before']}, CPUs used by others meanwhile {told['cpus_used_by_others']}, "
        f"{told['seconds']:,} s in all."
    )


def picture(name: str, words: str) -> str:
    """A plot, as the report shows it."""
    return f"![{words}](plots/{name})"
