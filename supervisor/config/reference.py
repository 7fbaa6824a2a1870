"""Renders the table of all keys that stands in ``docs/configuration.md`` between two markers.

``python -m supervisor.config.reference docs/configuration.md`` brings that file up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path as File

from supervisor.config.keys import Key, Path, dotted, inherited, keys
from supervisor.config.values import expected, literal

__all__ = ["BEGIN", "END", "reference", "with_reference"]

BEGIN = "<!-- keys: begin (made by python -m supervisor.config.reference) -->"
END = "<!-- keys: end -->"


def reference() -> str:
    """One Markdown table per table of the configuration."""
    by_table: dict[Path, list[Key]] = {}
    for key in keys():
        by_table.setdefault(key.path[:-1], []).append(key)
    return "\n".join(_section(table, members) for table, members in by_table.items())


def with_reference(document: str) -> str:
    """``document``, what stands between the markers renewed. Raises ValueError if a marker is missing."""
    before, _, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the document lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"


def _section(table: Path, members: list[Key]) -> str:
    rows = "".join(_row(key) for key in members)
    return f"### `[{dotted(table)}]`\n\n| Key | Expects | Default | Meaning |\n|---|---|---|---|\n{rows}"


def _row(key: Key) -> str:
    cells = [f"`{key.path[-1]}`", expected(key.type), _default(key), key.doc]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _default(key: Key) -> str:
    if key.default is None:
        above = inherited(key.path)
        return f"that of `{dotted(above)}`" if above else "not set"
    if key.is_table:
        entries = [f"`{literal(name)} = {literal(value)}`" for name, value in key.default.items()]
        return "<br>".join(entries) or "empty"
    return f"`{literal(key.default)}`"


if __name__ == "__main__":
    document = File(sys.argv[1])
    document.write_text(with_reference(document.read_text(encoding="utf-8")), encoding="utf-8")
