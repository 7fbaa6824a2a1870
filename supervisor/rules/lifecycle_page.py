"""Writes a seat's life into a page: ``python -m supervisor.rules.lifecycle_page docs/supervision.md``."""

from __future__ import annotations

import sys
from pathlib import Path

from supervisor.rules.lifecycle import TABLE, Event, State

__all__ = ["page"]

_BEGIN, _END = "<!-- lifecycle:begin -->", "<!-- lifecycle:end -->"


def page(text: str) -> str:
    """``text`` with table and diagram between its two markers."""
    before, _, rest = text.partition(_BEGIN)
    _, _, behind = rest.partition(_END)
    return f"{before}{_BEGIN}\n{_table()}\n\n{_diagram()}\n{_END}{behind}"


def _table() -> str:
    events = list(Event)
    lines = [
        "| | " + " | ".join(f"`{event.name.lower()}`" for event in events) + " |",
        "|---" * (len(events) + 1) + "|",
    ]
    lines += [
        f"| `{state.name.lower()}` | " + " | ".join(_cell(state, event) for event in events) + " |"
        for state in State
    ]
    return "\n".join(lines)


def _cell(state: State, event: Event) -> str:
    following = TABLE[state, event]
    if following is None:
        return "cannot be"
    return "·" if following is state else following.name.lower()


def _diagram() -> str:
    edges: dict[tuple[State, State], list[str]] = {}
    for (state, event), following in TABLE.items():
        if following is not None and following is not state:
            edges.setdefault((state, following), []).append(event.name.lower())
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> vacant"]
    lines += [
        f"    {state.name.lower()} --> {following.name.lower()}: {', '.join(names)}"
        for (state, following), names in edges.items()
    ]
    return "\n".join([*lines, "    closed --> [*]", "```"])


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(page(target.read_text(encoding="utf-8")), encoding="utf-8")
