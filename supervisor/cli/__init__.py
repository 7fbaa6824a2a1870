"""The command line: parses and prints, and leaves the work to the packages beside it.

``supervisor --help`` must stay quick, so a command's module is imported only when that command runs;
the table below carries the one-line help that the list of commands shows.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import IO, NoReturn, TextIO

import click

from supervisor.contract.exits import Exit
from supervisor.contract.faults import Fault

__all__ = ["main"]

# For who reads standard error to take what is there.
_PATIENCE_S = 1.0

# name: (module with an attribute `command`, help shown in the list)
COMMANDS = {
    "demo": ("supervisor.cli.demo", "See it all work, on a Kafka of its own."),
    "init": ("supervisor.cli.init", "Write a commented configuration to start from."),
    "config": ("supervisor.cli.config", "Look at the configuration, and check it."),
    "cluster": ("supervisor.cli.cluster", "Run a real Kafka on this machine, for trials and tests."),
    "topics": ("supervisor.cli.topics", "Show, create, extend and configure the declared topics."),
    "start": ("supervisor.cli.start", "Run the workers, in the foreground."),
    "stop": ("supervisor.cli.stop", "Drain the workers and stop the supervisor."),
    "restart": ("supervisor.cli.restart", "Replace the process of one worker, or of all in turn."),
    "reload": ("supervisor.cli.reload", "Take over a new configuration and new code, worker by worker."),
    "scale": ("supervisor.cli.scale", "Have more or fewer OLAP workers."),
    "status": ("supervisor.cli.status", "Show workers, partitions and lag."),
    "logs": ("supervisor.cli.logs", "Show what supervisor and workers have logged."),
    "events": ("supervisor.cli.events", "Show what happens to the workers, as it happens."),
    "tail": ("supervisor.cli.tail", "Show events as the real-time worker sees them."),
    "systemd": ("supervisor.cli.systemd", "Install as a service of systemd."),
    "generate": ("supervisor.cli.generate", "Send login events to the input topic, at an even rate."),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kafka-supervisor", prog_name="supervisor")
def _root() -> None:
    """Run Python Kafka workers the way Erlang runs processes.

    \b
    Examples:
      supervisor demo                      see it all work, on a Kafka of its own
      supervisor init                      write supervisor.toml, commented, to start from
      supervisor start --olap-workers 4    run one real-time and four OLAP workers
    """


def main() -> None:
    """Run the command line; a :class:`Fault` becomes two lines on stderr and its exit code."""
    _write_anyway(sys.stdout)
    # A pipeline may be a module in the working directory. Last, so that it can hide no installed one.
    with contextlib.suppress(FileNotFoundError):  # the directory may have been removed
        sys.path.append(str(Path.cwd()))
    try:
        sys.exit(_root.main(prog_name="supervisor", standalone_mode=False) or Exit.OK)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except ImportError:
        # Reading every file of ours is too slow for each start, and right once something is missing.
        from supervisor.host.installation import installation_fault

        cause = installation_fault()
        if cause is None:
            raise
        _end(cause)
    except Fault as fault:
        _end(fault)


def _end(fault: Fault) -> NoReturn:
    if _is_read(sys.stderr):
        remedy = f"\nremedy: {fault.remedy}" if fault.remedy else ""
        click.echo(f"error: {fault.cause}{remedy}", err=True)
    sys.exit(fault.exit_code)


def _write_anyway(stream: TextIO) -> None:
    """A terminal that cannot show a character shows a question mark: that is no reason to fail."""
    if isinstance(stream, TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
        stream.reconfigure(errors="replace")


def _is_read(stream: IO[str] | None) -> bool:
    """Whether a write goes on: a supervisor that has stopped everything must not hang at its last words."""
    import select

    try:
        return stream is not None and bool(select.select([], [stream], [], _PATIENCE_S)[1])
    except (OSError, ValueError):  # it is not a file of the system's: a write does not wait
        return True
