"""``supervisor scale``."""

from __future__ import annotations

import re

import click

from supervisor.cli._settings import with_settings
from supervisor.config.load import Loaded

__all__ = ["command"]


class _Scale(click.Command):
    # Or -1 would be an option.
    ignore_unknown_options = True


@click.command("scale", cls=_Scale, short_help="Have more or fewer OLAP workers.")
@click.argument("workers", metavar="N|+N|-N")
@click.option("--json", "as_json", is_flag=True, help="Progress and outcome as JSON lines.")
@with_settings()
def command(loaded: Loaded, workers: str, as_json: bool) -> int:
    """Have N OLAP workers, or N more or fewer than now: at least one, and at most one per partition.

    Only workers whose partitions change are touched. It lasts until the next start, or a reload of another
    olap.workers, which go by that.

    \b
    Examples:
      supervisor scale 4
      supervisor scale +1
      supervisor scale -1
    """
    from supervisor.cli._control import carry_out
    from supervisor.control.protocol import Scale

    return carry_out(loaded, Scale(*_number(workers)), as_json=as_json)


def _number(text: str) -> tuple[int | None, int]:
    """How many there are to be, or how many more."""
    if not re.fullmatch(r"[+-]?[0-9]{1,6}", text):
        raise click.BadParameter(f"expected a number, as in 4, +1 or -1; got {text!r}", param_hint="N|+N|-N")
    if text[0] in "+-":
        return None, int(text)
    if int(text) == 0:
        raise click.BadParameter("there is at least one OLAP worker", param_hint="N|+N|-N")
    return int(text), 0
