"""``supervisor events``."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING

import click

from supervisor.cli._settings import with_settings
from supervisor.cli._types import Moment
from supervisor.config.load import Loaded
from supervisor.contract.exits import Exit

if TYPE_CHECKING:
    from supervisor.reporting.journal import Happening

__all__ = ["command"]


@click.command("events", short_help="Show what happens to the workers, as it happens.")
@click.option(
    "-f/-n", "--follow/--no-follow", default=True, help="Go on with what happens (default), or end."
)
@click.option(
    "--since", type=Moment(), metavar="WHEN", help="How far back: 10m, 2h, or a time as 2026-01-31T12:00."
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines; docs/events.schema.json describes one.")
@with_settings()
def command(loaded: Loaded, follow: bool, since: datetime | None, as_json: bool) -> int:
    """Show what happens to the workers: deaths, restarts, reloads, parked partitions.

    First what the supervisor remembers, the last thousand, then what happens from now on. It ends when the
    supervisor does.

    \b
    Examples:
      supervisor events
      supervisor events --no-follow --since 1h
      supervisor events --json | jq 'select(.event == "died")'
    """
    from supervisor.contract.rundir import run_dir
    from supervisor.control import client
    from supervisor.control.protocol import Events
    from supervisor.reporting.journal import iso

    request = Events(since=iso(since) if since is not None else "", follow=follow)
    show = _as_json if as_json else _as_text
    try:
        for happening in client.follow(run_dir(loaded.settings, os.environ), request):
            sys.stdout.buffer.write(show(happening))
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        # The reader has what it wanted. At its end Python would flush stdout again, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.OK


def _as_json(happening: Happening) -> bytes:
    import msgspec

    return msgspec.json.encode(happening) + b"\n"


def _as_text(happening: Happening) -> bytes:
    """The time is UTC, as in the log. An exception's text may hold anything: nothing a terminal obeys."""
    text = "".join(char if char.isprintable() else " " for char in happening.text)
    return f"{happening.time}  {happening.event:<13} {text}\n".encode("utf-8", "replace")
