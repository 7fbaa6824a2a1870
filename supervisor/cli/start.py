"""``supervisor start``."""

from __future__ import annotations

import os

import click

from supervisor.cli._settings import reader, setting, with_settings
from supervisor.config.load import Loaded

__all__ = ["command"]


@click.command("start", short_help="Run the workers, in the foreground.")
@setting(
    "--olap-workers",
    "olap.workers",
    metavar="N",
    help="Number of OLAP workers; one per partition if not given.",
)
@setting(
    "--bootstrap/--no-bootstrap",
    "runtime.bootstrap",
    help="Create and extend topics first (default), or not.",
)
@setting(
    "--park",
    "restart.when_spent",
    flag_value="park",
    help="Park a partition whose restart budget is spent, and let the others run.",
)
@setting(
    "--fail-fast",
    "restart.when_spent",
    flag_value="stop",
    help="Stop everything when a restart budget is spent, exit code 70 (default).",
)
@with_settings(runs_here=True)
def command(loaded: Loaded) -> None:
    """Run one real-time worker and N OLAP workers until told to stop.

    SIGTERM drains: workers finish, flush and commit, all within runtime.drain_timeout_s. Ctrl-C stops
    quickly, a second one at once; nothing is lost either way: what is not committed is processed again.
    SIGHUP reloads configuration and code, one worker at a time. SIGTTIN and SIGTTOU make it one OLAP worker
    more or less, SIGUSR1 opens the log files anew.

    \b
    Examples:
      supervisor start                          one OLAP worker per partition
      supervisor start --olap-workers 4
      supervisor start --config prod.toml --set log.format=json
    """
    from supervisor.host import strangers

    strangers.hold_signals()
    import logging

    from supervisor.contract import logs
    from supervisor.contract.faults import Fault
    from supervisor.contract.rundir import ensure_run_dir, run_dir
    from supervisor.host.loop import Loop
    from supervisor.supervision import Supervisor

    settings, read_again = loaded.settings, reader(loaded)
    directory = ensure_run_dir(run_dir(settings, os.environ))
    logs.set_up(settings.log, "supervisor", directory)
    try:
        with Loop() as loop:
            Supervisor(settings, directory, loop, read_again).run()
    except Fault as fault:
        # Standard error gets it from whoever catches it; `supervisor logs` is to know it, too.
        logging.getLogger("supervisor").error("ended: %s", fault.cause, extra=logs.FILES_ONLY)
        raise
    except Exception:
        logging.getLogger("supervisor").exception("ended by an exception", extra=logs.FILES_ONLY)
        raise
