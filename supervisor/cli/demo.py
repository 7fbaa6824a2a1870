"""``supervisor demo``."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

import click

from supervisor.cli._types import Rate, Share
from supervisor.contract.exits import Exit

if TYPE_CHECKING:
    from supervisor.demo.summary import Summary

__all__ = ["command"]


@click.command("demo", short_help="See it all work, on a Kafka of its own.")
@click.option(
    "--duration",
    type=click.FloatRange(min=5, max=86_400),
    default=60,
    show_default=True,
    metavar="S",
    help="Generate events for S seconds.",
)
@click.option(
    "--olap-workers",
    type=click.IntRange(1, 32),
    default=4,
    show_default=True,
    metavar="N",
    help="Number of OLAP workers.",
)
@click.option(
    "--rate", type=Rate(), default="500", show_default=True, metavar="N|max", help="Events a second."
)
@click.option(
    "--bad",
    type=Share(),
    default="1%",
    show_default=True,
    metavar="SHARE",
    help="Share of bad events: 1% or 0.01.",
)
@click.option("--keep", is_flag=True, help="Keep topics, configuration and logs, and say where they are.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON (see docs/demo.md).")
def command(*, duration: float, olap_workers: int, rate: float, bad: float, keep: bool, as_json: bool) -> int:
    """Start a Kafka of three brokers, process logins with everything there is, kill a worker half-way, and
    audit what became of every event.

    Needs neither Docker nor a configuration, touches nothing outside a temporary directory, and listens on
    127.0.0.1 only. Exit code 0 if nothing was lost or duplicated and the counts are right, as read back from
    the topics; 1 if not. Ctrl-C ends it at any time and cleans up; a second one hastens that.

    \b
    Examples:
      supervisor demo
      supervisor demo --duration 20 --olap-workers 2 --rate 5000
      supervisor demo --bad 5% --json > summary.json
      supervisor demo --keep                 leave topics and logs to look at
    """
    from supervisor.demo.screen import open_screen
    from supervisor.host.interrupts import Interrupts

    stream = sys.stderr if as_json else sys.stdout
    try:
        with Interrupts() as interrupts:
            with open_screen(stream) as screen:
                screen.say("the demo begins; Ctrl-C ends it")
                from supervisor.demo.show import Demo, Options

                options = Options(
                    duration_s=duration, olap_workers=olap_workers, rate=rate, bad=bad, keep=keep
                )
                summary = Demo(options, screen, interrupts).run()
            click.echo(_as_json(summary) if as_json else "\n" + _as_text(summary))
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        # Whoever looked on has gone. What is still buffered has nowhere to go, and need not complain.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.dup2(nowhere, sys.stderr.fileno())
        return Exit.FAILED
    from supervisor.demo.summary import exit_code

    return exit_code(summary, interrupts.number)


def _as_json(summary: Summary) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(summary)).decode()


def _as_text(summary: Summary) -> str:
    import shutil

    from supervisor.demo.summary import text

    # A pipe or a file has no width.
    return text(summary, shutil.get_terminal_size((10_000, 24)).columns)
