"""The report: ``docs/benchmarks.md``, its plots and the README's table of goals, of the results there are.

    python -m benchmarks.report                 (writes it anew, measures nothing)

A part is ``benchmarks/<part>.py``, which measures; its result, ``benchmarks/results/<part>.json``; and
``benchmarks/<part>_page.py``, pure functions of that result: ``section(result)``, Markdown that begins with a
heading of the second level; ``plots(result)``, SVG by file name; and, where it has goals, ``goals(result)``.
"""

from __future__ import annotations

import importlib
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.goals import Goal, goals_table

__all__ = ["PARTS", "command", "keep", "page", "plots", "readme", "results", "write"]

Result = dict[str, Any]

PARTS = (
    *("throughput", "anatomy", "latency", "isolation"),
    *("recovery", "supervision", "supervision_loop", "start", "soak"),
)
"""In the order in which they stand in the report."""

_HERE = Path(__file__).parent
_RESULTS = _HERE / "results"
_DOCS = _HERE.parent / "docs"
_README = _HERE.parent / "README.md"
_BEGIN, _END = "<!-- figures -->\n", "<!-- /figures -->"
"""What the README's table of goals stands between."""
_PROSE = _HERE / "report.md"
"""What stands around the parts."""


def command() -> str:
    """The command line of this process, as somebody types it in a checkout."""
    script = Path(sys.argv[0])
    return shlex.join(["python", f"benchmarks/{script.name}", *sys.argv[1:]])


def keep(part: str, result: Result) -> None:
    """Store the result of a part, and write the report anew."""
    _RESULTS.mkdir(exist_ok=True)
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
    (_RESULTS / f"{part}.json").write_text(f"{text}\n", encoding="utf-8")
    write()


def write() -> None:
    """Page and plots, of the results that are there; plots of no result go."""
    found = results()
    (_DOCS / "benchmarks.md").write_text(page(found), encoding="utf-8")
    _README.write_text(readme(_README.read_text(encoding="utf-8"), found), encoding="utf-8")
    pictures = plots(found)
    directory = _DOCS / "plots"
    directory.mkdir(exist_ok=True)
    for path in directory.glob("*.svg"):
        if path.name not in pictures:
            path.unlink()
    for name, picture in pictures.items():
        (directory / name).write_text(picture, encoding="utf-8")


def results() -> dict[str, Result]:
    """Every part's result that is there, in the order of the report."""
    paths = {part: _RESULTS / f"{part}.json" for part in PARTS}
    return {part: json.loads(path.read_bytes()) for part, path in paths.items() if path.exists()}


def page(found: Mapping[str, Result]) -> str:
    """The whole of ``docs/benchmarks.md``."""
    table = _table(found)
    sections = "\n\n".join(_page_of(part).section(result).strip() for part, result in found.items())
    text = _PROSE.read_text(encoding="utf-8").replace("{goals}", table).replace("{sections}", sections)
    return text.rstrip() + "\n"


def readme(text: str, found: Mapping[str, Result]) -> str:
    """``text``, the README, with the table of goals as it is to be."""
    before, rest = text.split(_BEGIN)
    return f"{before}{_BEGIN}{_table(found)}\n{_END}{rest.split(_END)[1]}"


def plots(found: Mapping[str, Result]) -> dict[str, str]:
    """Every picture, by the name of its file."""
    return {
        name: picture
        for part, result in found.items()
        for name, picture in _page_of(part).plots(result).items()
    }


def _table(found: Mapping[str, Result]) -> str:
    goals = [goal for part, result in found.items() for goal in _goals(part, result)]
    return goals_table(goals) or "None has been measured yet."


def _goals(part: str, result: Result) -> list[Goal]:
    module = _page_of(part)
    return list(module.goals(result)) if hasattr(module, "goals") else []


def _page_of(part: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{part}_page")


if __name__ == "__main__":
    write()
