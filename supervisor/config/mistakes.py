"""What is wrong with a configuration: each mistake with its place, and the fault that carries all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from supervisor.contract.faults import ConfigurationFault

__all__ = ["DEFAULT", "Mistake", "MistakenConfiguration", "Origin", "in_order"]


class Origin(Struct, frozen=True, omit_defaults=True):
    """Where a value comes from. ``name``: the file's path, the variable's name or the flag as it is typed."""

    kind: Literal["file", "environment", "flag", "default"]
    name: str = ""
    line: int = 0
    """Line in the file, from 1; 0 where there is none to name."""

    def __str__(self) -> str:
        if self.kind == "default":
            return "default"
        return f"{self.name}:{self.line}" if self.line else self.name


DEFAULT = Origin("default")


class Mistake(Struct, frozen=True):
    """One mistake. ``key`` is empty where no key is to blame, such as a file that cannot be read."""

    origin: Origin
    problem: str
    hint: str = ""
    key: str = ""

    def __str__(self) -> str:
        place = "" if self.origin == DEFAULT else f"{self.origin}: "
        return f"{place}{self.problem}" + (f"; {self.hint}" if self.hint else "")


class MistakenConfiguration(ConfigurationFault):
    """Every mistake of one configuration, in :func:`in_order`."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        if len(self.mistakes) == 1:
            only = self.mistakes[0]
            super().__init__(str(Mistake(only.origin, only.problem)), only.hint)
        else:
            listed = "".join(f"\n  {mistake}" for mistake in self.mistakes)
            super().__init__(
                f"the configuration has {len(self.mistakes)} mistakes:{listed}",
                "correct them all, then try `supervisor config check`",
            )


_PRECEDENCE = {"file": 0, "environment": 1, "flag": 2, "default": 3}


def in_order(mistakes: Sequence[Mistake]) -> list[Mistake]:
    """The file's by line, then the environment's by name, then the flags' and those of no single place."""
    return sorted(
        mistakes,
        key=lambda mistake: (
            _PRECEDENCE[mistake.origin.kind],
            mistake.origin.line,
            mistake.origin.name if mistake.origin.kind == "environment" else "",
        ),
    )
