"""What the demo says at its end, as text and as one JSON document (``docs/demo.md``)."""

from __future__ import annotations

import textwrap
from typing import Literal

from msgspec import Struct

from supervisor.contract.exits import Exit
from supervisor.demo.findings import Audit
from supervisor.demo.gap import Gap
from supervisor.demo.view import top
from supervisor.reporting.render import columns

__all__ = ["Summary", "exit_code", "judged", "text"]

_SIGNAL_EXIT = 128


class Summary(Struct, frozen=True, kw_only=True):
    """The outcome; what only the audit can tell is None if it was interrupted before."""

    outcome: Literal["passed", "failed", "interrupted"]
    seconds: float = 0.0
    """From the first event until all was processed, or to the interruption."""
    events_in: int
    events_out: int
    dead_letters: int
    lost: int | None = None
    duplicated: int | None = None
    aggregates_agree: bool | None = None
    """Whether the counts, in total and of every minute, equal a recount of the output topic."""
    findings: list[str] = []
    """Examples of what is lost, duplicated or miscounted."""
    acknowledged: int | None = None
    """Events that the brokers confirmed to the generator; None if that did not end."""
    gap: Gap | None = None
    restarts: int = 0
    realtime_p50_ms: int | None = None
    realtime_p99_ms: int | None = None
    regions: dict[str, int] = {}
    """Logins by region, the most first."""
    periods: dict[str, int] = {}
    """Logins by period of the day."""
    top_region: str | None = None
    top_period: str | None = None
    directory: str | None = None
    """Where everything was kept, with ``--keep``."""


def judged(found: Audit) -> Summary:
    """The verdict of an audit, and its figures."""
    return Summary(
        outcome="passed" if found.clean else "failed",
        events_in=found.events_in,
        events_out=found.outputs,
        dead_letters=found.dead_letters,
        lost=found.lost.total,
        duplicated=found.duplicated.total,
        aggregates_agree=not found.wrong_counts,
        findings=[*found.lost.examples, *found.duplicated.examples, *found.wrong_counts.examples],
    )


def exit_code(summary: Summary, signal_number: int) -> int:
    """How the command ends; ``signal_number`` is that of the signal that interrupted it, if one did."""
    if summary.outcome == "interrupted":
        return _SIGNAL_EXIT + signal_number
    return Exit.OK if summary.outcome == "passed" else Exit.FAILED


def text(summary: Summary, width: int) -> str:
    """The summary for people, in lines of at most ``width`` characters where they can be broken."""
    rows = [
        ("events", _events(summary)),
        ("lost", _counted(summary.lost)),
        ("duplicated", _counted(summary.duplicated)),
        ("aggregates", _aggregates(summary)),
        ("crash", _gap(summary.gap)),
        ("real time", _realtime(summary)),
        ("logins", _answer(summary)),
    ]
    indent = " " * (2 + max(len(name) for name, _ in rows))
    lines = [
        part
        for row in [*columns(rows), *(f"  {finding}" for finding in summary.findings)]
        for part in textwrap.wrap(row, width, subsequent_indent=indent, break_on_hyphens=False)
    ]
    lines += ["", _verdict(summary)]
    if summary.directory is not None:
        lines += [
            f"kept in {summary.directory}; to go on with it:",
            f"  supervisor cluster start --dir {summary.directory}/kafka",
            f"  supervisor start --config {summary.directory}/supervisor.toml",
        ]
    return "\n".join(lines)


def _events(summary: Summary) -> str:
    return (
        f"{summary.events_in:,} in, {summary.events_out:,} out, {summary.dead_letters:,} dead letters "
        f"in {summary.seconds:.0f} s"
    )


def _counted(number: int | None) -> str:
    return "not audited" if number is None else f"{number:,}"


def _aggregates(summary: Summary) -> str:
    if summary.aggregates_agree is None:
        return "not audited"
    return "equal the recount" if summary.aggregates_agree else "DIFFER from the recount"


def _gap(gap: Gap | None) -> str:
    if gap is None:
        return "no worker was killed"
    steps = [("noticed", gap.noticed_ms), ("replaced", gap.owned_ms), ("output again", gap.committed_ms)]
    told = [f"{step} after {after:.0f} ms" for step, after in steps if after is not None]
    return f"{gap.worker} killed: {', '.join(told) or 'not noticed yet'}"


def _realtime(summary: Summary) -> str:
    if summary.realtime_p50_ms is None:
        return "nothing shown"
    return f"age of an event when shown: p50 {summary.realtime_p50_ms} ms, p99 {summary.realtime_p99_ms} ms"


def _answer(summary: Summary) -> str:
    region, period = top(summary.regions), top(summary.periods)
    if region is None or period is None:
        return "none counted"
    return f"most in the {region[0]} ({region[1]:.0%}) and {_when(period[0])} ({period[1]:.0%}), UTC"


def _when(period: str) -> str:
    return "at night" if period == "night" else f"in the {period}"


def _verdict(summary: Summary) -> str:
    if summary.outcome == "passed":
        return "PASSED: every event exactly once, as read back from the topics"
    if summary.outcome == "failed":
        return "FAILED: what was read back from the topics is not what it ought to be"
    return "INTERRUPTED: the figures are what was counted so far, and nothing was audited"
