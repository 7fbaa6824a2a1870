"""Asking the running supervisor for something, for every command that does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from supervisor.config.load import Loaded
from supervisor.contract.faults import Fault

if TYPE_CHECKING:
    from supervisor.control.protocol import Request

__all__ = ["carry_out"]

_INTERRUPTED = 130


def carry_out(loaded: Loaded, request: Request, *, as_json: bool) -> int:
    """Ask, print what is said until it is done, and return the exit code.

    Raises :class:`Fault` where it could not be done, unless ``as_json``: then that is the last line. Ctrl-C
    ends the waiting and not the work.
    """
    from supervisor.contract.rundir import run_dir
    from supervisor.control.client import ask
    from supervisor.control.protocol import Ended, Said, encode, failed

    def print_json(reply: Said | Ended) -> None:
        click.echo(encode(reply), nl=False)

    directory = run_dir(loaded.settings, os.environ)
    try:
        outcome = ask(
            directory, request, lambda text: print_json(Said(text)) if as_json else click.echo(text)
        )
    except KeyboardInterrupt:
        click.echo(
            "not waiting any more: the supervisor goes on with it; `supervisor status` shows how far it is",
            err=True,
        )
        return _INTERRUPTED
    except Fault as fault:
        if not as_json:
            raise
        outcome = failed(fault)
    if as_json:
        print_json(outcome)
    else:
        click.echo(outcome.text)
    return outcome.exit_code
