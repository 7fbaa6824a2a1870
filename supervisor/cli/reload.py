"""``supervisor reload``."""

from __future__ import annotations

import click

from supervisor.cli._settings import with_settings
from supervisor.config.load import Loaded

__all__ = ["command"]


@click.command("reload", short_help="Take over a new configuration and new code, worker by worker.")
@click.option("--all", "everything", is_flag=True, help="Replace all workers, whatever has changed.")
@click.option("--json", "as_json", is_flag=True, help="Progress and outcome as JSON lines.")
@with_settings()
def command(loaded: Loaded, everything: bool, as_json: bool) -> int:
    """Read configuration and code anew, and replace the workers that are touched by what has changed.

    The running supervisor reads them again, from where `start` got them. What is bad changes nothing, and
    this command says why and fails. One worker is replaced first and watched (runtime.canary_s); then the
    others, one after the other. If it fails half-way, those replaced get what they had before.

    \b
    Examples:
      supervisor reload           what has changed
      supervisor reload --all     all workers, as after an upgrade of the operating system's libraries
    """
    from supervisor.cli._control import carry_out
    from supervisor.control.protocol import Reload

    return carry_out(loaded, Reload(everything), as_json=as_json)
