"""``supervisor restart``."""

from __future__ import annotations

import difflib
import os

import click

from supervisor.cli._settings import with_settings
from supervisor.config.load import Loaded
from supervisor.contract.faults import Fault

__all__ = ["command"]


@click.command("restart", short_help="Replace the process of one worker, or of all in turn.")
@click.argument("worker", required=False)
@click.option("--json", "as_json", is_flag=True, help="Progress and outcome as JSON lines.")
@with_settings()
def command(loaded: Loaded, worker: str | None, as_json: bool) -> int:
    """Replace the process of WORKER, such as olap-2, or of all workers, one after the other.

    Each finishes and commits what it has in hand first. A worker that is parked, or waits before its next
    try, tries again at once. Configuration and code stay as they are: `supervisor reload` reads them anew.

    \b
    Examples:
      supervisor restart            all of them, one after the other
      supervisor restart olap-2     one, also if it is parked
    """
    from supervisor.cli._control import carry_out
    from supervisor.control.protocol import Restart

    if worker is not None and not as_json:
        _refuse_unknown(loaded, worker)
    return carry_out(loaded, Restart(worker), as_json=as_json)


def _refuse_unknown(loaded: Loaded, worker: str) -> None:
    """The supervisor would refuse it as well; here it is known how it was typed."""
    from supervisor.contract.rundir import run_dir
    from supervisor.reporting import status

    found = status.read(status.join(run_dir(loaded.settings, os.environ)))
    names = [known.name for known in found.workers]
    if worker not in names:
        close = difflib.get_close_matches(worker, names, 1)
        raise Fault(
            f"there is no worker {worker!r}",
            f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}",
        )
