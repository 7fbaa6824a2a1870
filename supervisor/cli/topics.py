"""``supervisor topics``: what differs between the declared topics and the cluster, and bringing it about."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from supervisor.cli._settings import with_settings
from supervisor.config.load import Loaded
from supervisor.contract.exits import Exit
from supervisor.contract.faults import Fault

if TYPE_CHECKING:
    from supervisor.host.interrupts import Interrupts
    from supervisor.topics.converge import Survey
    from supervisor.topics.render import Line

__all__ = ["command"]

_COLOURS = {"+": "green", "~": "yellow", "!": "magenta", "x": "red", "?": "yellow", "": None}
_timeout = click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True, max=3600),
    default=10.0,
    show_default=True,
    help="How long the brokers may take to answer.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, as docs/topics.md describes it.")


@click.group()
def command() -> None:
    """Create, extend and configure the declared topics; never shrink or delete one.

    \b
    Examples:
      supervisor topics plan             what would be changed; exit code 3 if anything
      supervisor topics apply --yes      make it so, and wait until every broker shows it
      supervisor topics check --json     the same verdict for a health check or CI
    """


@command.command()
@_json
@click.option("--reassignment", is_flag=True, help="Print the JSON for kafka-reassign-partitions instead.")
@_timeout
@with_settings()
def plan(loaded: Loaded, as_json: bool, reassignment: bool, timeout_s: float) -> None:
    """Show what differs from the declared topics. Changes nothing.

    Exit code 0 if nothing differs, 3 if something does, 78 if it is refused.

    \b
    Examples:
      supervisor topics plan
      supervisor topics plan --set topics.partitions=8
      supervisor topics plan --reassignment > moves.json
    """
    found = _survey(loaded, timeout_s)
    if reassignment:
        _print_reassignment(found)
    elif as_json:
        _print_json(found)
    else:
        _print_plan(found)
    _end(found)


@command.command()
@_json
@_timeout
@with_settings()
def check(loaded: Loaded, as_json: bool, timeout_s: float) -> None:
    """Only the verdict: exit code 0 if the topics are as declared, 3 if not, 78 if refused.

    \b
    Examples:
      supervisor topics check || supervisor topics plan
      supervisor topics check --json | jq .verdict
    """
    found = _survey(loaded, timeout_s)
    if as_json:
        _print_json(found)
    _end(found)


@command.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True, max=3600),
    default=60.0,
    show_default=True,
    help="How long it may take until every broker shows the topics, leaders and replicas.",
)
@with_settings()
def apply(loaded: Loaded, yes: bool, timeout_s: float) -> None:
    """Create, extend and configure topics as declared, and wait until every broker shows them.

    Nothing at all is changed if anything is refused. Interrupted, it can be run again; two at once are fine.

    \b
    Examples:
      supervisor topics apply
      supervisor topics apply --yes --timeout 120
    """
    from supervisor.topics import converge

    def approve(found: Survey) -> bool:
        _print_plan(found, err=True)
        return yes or _confirmed(len(found.plan.actions), interrupts)

    def report(progress: str) -> None:
        click.echo(progress, err=True)

    with _interrupts("interrupted: what was done stays done; run it again to go on") as interrupts:
        observed = converge.apply(
            loaded.settings, timeout_s, approve=approve, report=report, heed=interrupts.check
        )
    if observed is None:
        raise Fault("declined: nothing was changed")
    count = len(observed.topics)
    click.echo(f"{count} topics are as declared; live brokers: {len(observed.brokers)}", err=True)


def _survey(loaded: Loaded, timeout_s: float) -> Survey:
    from supervisor.topics.converge import survey

    with _interrupts("interrupted: nothing was changed") as interrupts:
        return survey(loaded.settings, timeout_s, heed=interrupts.check)


@contextlib.contextmanager
def _interrupts(said: str) -> Iterator[Interrupts]:
    """Signals are heeded between requests, and end the command with ``said``."""
    from supervisor.host.interrupts import Interrupted, Interrupts

    try:
        with Interrupts() as interrupts:
            yield interrupts
    except Interrupted as interrupted:
        with contextlib.suppress(OSError):  # the terminal may have closed
            click.echo(said, err=True)
        raise click.exceptions.Exit(128 + interrupted.number) from None


def _confirmed(changes: int, interrupts: Interrupts) -> bool:
    if not sys.stdin.isatty():
        refused = Fault(
            f"{changes} change{'' if changes == 1 else 's'} to make, and nobody to ask: "
            "standard input is not a terminal",
            "run it with --yes",
        )
        refused.exit_code = Exit.USAGE
        raise refused
    try:
        with interrupts.at_once():
            return click.confirm("Apply?", err=True)
    except click.Abort:
        interrupts.check()  # click takes whatever interrupts a prompt for Ctrl-C
        raise


def _end(found: Survey) -> None:
    from supervisor.topics.errors import refusals_fault

    if found.plan.verdict == "refused":
        raise refusals_fault(found.plan.refusals)
    if found.plan.verdict == "differs":
        raise click.exceptions.Exit(Exit.DIFFERS)


def _print_plan(found: Survey, *, err: bool = False) -> None:
    from supervisor.topics.render import lines

    for line in lines(found.plan, found.observed):
        _print_line(line, err=err)


def _print_line(line: Line, *, err: bool) -> None:
    text = f"{line.mark} {line.text}" if line.mark else line.text
    color = False if os.environ.get("NO_COLOR") else None
    colour = _COLOURS[line.mark]
    click.echo(click.style(text, fg=colour) if colour else text, err=err, color=color)


def _print_json(found: Survey) -> None:
    import msgspec

    from supervisor.topics.render import document

    click.echo(msgspec.json.format(msgspec.json.encode(document(found.plan, found.observed)), indent=2))


def _print_reassignment(found: Survey) -> None:
    import msgspec

    from supervisor.topics.reassignment import reassignment

    click.echo(msgspec.json.encode(reassignment(found.desired, found.observed)))
