"""``supervisor status``."""

from __future__ import annotations

import os

import click

from supervisor.cli._settings import with_settings
from supervisor.config.load import Loaded
from supervisor.contract.exits import Exit

__all__ = ["command"]


@click.command("status", short_help="Show workers, partitions and lag.")
@click.option("--json", "as_json", is_flag=True, help="As JSON; docs/status.md describes it.")
@with_settings()
def command(loaded: Loaded, as_json: bool) -> int:
    """Show what the running supervisor does, and whether it is well: exit code 0 if so, else 1.

    \b
    Examples:
      supervisor status
      supervisor status --json | jq '.partitions[].lag'
    """
    import msgspec

    from supervisor.contract.rundir import run_dir
    from supervisor.reporting import render, status

    found = status.read(status.join(run_dir(loaded.settings, os.environ)))
    click.echo(msgspec.json.encode(found).decode() if as_json else "\n".join(render.tables(found)))
    return Exit.OK if found.health == "ok" else Exit.FAILED
