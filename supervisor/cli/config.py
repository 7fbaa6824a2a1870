"""``supervisor config show`` and ``supervisor config check``."""

from __future__ import annotations

import json
from typing import Any

import click

from supervisor.cli._settings import with_settings
from supervisor.config.load import Loaded
from supervisor.config.mistakes import Mistake, MistakenConfiguration, Origin, in_order
from supervisor.config.view import Value, values
from supervisor.contract.exits import Exit

__all__ = ["command"]


@click.group("config")
def command() -> None:
    """Look at the configuration, and check it."""


@command.command("show")
@click.option("--changed", is_flag=True, help="Only what differs from the defaults.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_settings(tolerant=True)
def show(loaded: Loaded, *, changed: bool, as_json: bool) -> int:
    """Print each key, its value and where that comes from. Secrets are not shown.

    \b
    Examples:
      supervisor config show                 every key
      supervisor config show --changed       what somebody set
      SUPERVISOR_OLAP_NICE=5 supervisor config show --json
    """
    rows = [value for value in values(loaded) if value.origin.kind != "default" or not changed]
    if as_json:
        _print_json({"values": [_value_json(row) for row in rows], **_mistakes_json(loaded, loaded.mistakes)})
        return Exit.CONFIGURATION if loaded.mistakes else Exit.OK
    _print_columns([(row.key, row.text, row.source) for row in rows])
    if loaded.mistakes:
        raise MistakenConfiguration(loaded.mistakes)
    return Exit.OK


@command.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_settings(runs_here=True, tolerant=True)
def check(loaded: Loaded, *, as_json: bool) -> int:
    """Report every mistake in the configuration at once, as `start` on this machine would find them.

    The pipeline's module is imported and the workers' clients are made with [kafka.client], both in a process
    of their own; no broker is asked. Exit code 0 if all is well, 78 if not.

    \b
    Examples:
      supervisor config check
      supervisor config check --config /etc/supervisor/orders.toml --json
    """
    from supervisor.config.trial import client_mistakes, pipeline_mistakes

    mistakes = in_order([*loaded.mistakes, *pipeline_mistakes(loaded), *client_mistakes(loaded)])
    if as_json:
        _print_json(_mistakes_json(loaded, mistakes))
        return Exit.CONFIGURATION if mistakes else Exit.OK
    if mistakes:
        raise MistakenConfiguration(mistakes)
    click.echo(f"{click.format_filename(loaded.file) if loaded.file else 'no file'}: no mistakes")
    return Exit.OK


def _print_columns(rows: list[tuple[str, str, str]]) -> None:
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for key, value, source in rows:
        click.echo(f"{key:<{widths[0]}}  {value:<{min(widths[1], 40)}}  {source}")


def _value_json(row: Value) -> dict[str, Any]:
    return {"key": row.key, "value": row.value, "secret": row.secret, "origin": _origin_json(row.origin)}


def _mistakes_json(loaded: Loaded, mistakes: list[Mistake] | tuple[Mistake, ...]) -> dict[str, Any]:
    return {
        "file": str(click.format_filename(loaded.file)) if loaded.file else None,
        "mistakes": [
            {
                "key": mistake.key or None,
                "problem": mistake.problem,
                "hint": mistake.hint or None,
                "origin": _origin_json(mistake.origin),
            }
            for mistake in mistakes
        ],
    }


def _origin_json(origin: Origin) -> dict[str, Any]:
    return {"kind": origin.kind, "name": origin.name or None, "line": origin.line or None}


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
