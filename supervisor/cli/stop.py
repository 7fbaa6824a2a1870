"""``supervisor stop``."""

from __future__ import annotations

import os
import signal
import time

import click

from supervisor.cli._settings import with_settings
from supervisor.config.load import Loaded
from supervisor.contract.exits import Exit

__all__ = ["command"]

_BEYOND_DRAIN_S = 5.0


@click.command("stop", short_help="Drain the workers and stop the supervisor.")
@click.option("--quick", is_flag=True, help="Do not wait for work in hand: it is processed again later.")
@with_settings()
def command(loaded: Loaded, quick: bool) -> int:
    """Stop the running supervisor and wait until it is gone.

    \b
    Examples:
      supervisor stop
      supervisor stop --quick
    """
    from supervisor.contract.faults import Fault
    from supervisor.contract.rundir import run_dir
    from supervisor.host import instance

    directory = run_dir(loaded.settings, os.environ)
    pid = instance.holder(directory)
    if pid is None:
        raise Fault(f"no supervisor is running here ({directory})", "start one with `supervisor start`")
    if instance.elsewhere(directory):
        # In a container, say: that number is another process here, or none.
        from supervisor.control.client import ask
        from supervisor.control.protocol import Stop

        click.echo(ask(directory, Stop(quick), click.echo).text)
        return Exit.OK
    try:
        os.kill(pid, signal.SIGINT if quick else signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has ended this very moment
    except PermissionError:
        raise Fault(
            f"the supervisor (pid {pid}) is another user's", "stop it as that user, or as root"
        ) from None
    patience = loaded.settings.runtime.drain_timeout_s + _BEYOND_DRAIN_S
    deadline = time.monotonic() + patience
    while instance.holder(directory) == pid:
        if time.monotonic() > deadline:
            raise Fault(
                f"the supervisor (pid {pid}) has not stopped after {patience:g} s",
                "see its log, or stop it with `kill -9`: nothing is lost by that",
            )
        time.sleep(0.05)
    click.echo(f"stopped (pid {pid})")
    return Exit.OK
