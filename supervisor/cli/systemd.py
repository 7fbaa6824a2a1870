"""``supervisor systemd install`` and ``supervisor systemd uninstall``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["command"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group("systemd", short_help="Install as a service of systemd.")
def command() -> None:
    """Install as a service of systemd; docs/systemd.md has the whole story."""


def _common(function: _Command) -> _Command:
    for option in reversed(
        [
            click.option(
                "--user/--system", "user", help="A service of your own, or of the system (default)."
            ),
            click.option(
                "--instance", default="", metavar="NAME", help="One of several: kafka-supervisor@NAME."
            ),
            click.option(
                "--root",
                type=click.Path(exists=True, file_okay=False, path_type=Path),
                metavar="DIR",
                help="A system in a directory, such as an image that is being built.",
            ),
        ]
    ):
        function = option(function)
    return function


@command.command("install")
@_common
@click.option(
    "--config",
    default="",
    metavar="PATH",
    help="Configuration file; else kafka-supervisor.toml, or the instance's, in /etc/kafka-supervisor.",
)
@click.option("--account", default="", metavar="NAME", help="Who runs it; else kafka-supervisor, made anew.")
@click.option(
    "--systemd-version",
    type=click.IntRange(min=0),
    metavar="N",
    help="The systemd that will read the unit; that of this machine if not given.",
)
@click.option("--print", "only_print", is_flag=True, help="Show the files and do nothing.")
@click.option("--enable/--no-enable", default=True, help="Have it started at boot (default), or not.")
@click.option("--now", is_flag=True, help="Start it, or restart it, at once.")
@click.option("--force", is_flag=True, help="Overwrite a unit that was not written by this command.")
def install(
    *,
    user: bool,
    instance: str,
    root: Path | None,
    config: str,
    account: str,
    systemd_version: int | None,
    only_print: bool,
    enable: bool,
    now: bool,
    force: bool,
) -> None:
    """Write a hardened unit for this installation and configuration, and enable it.

    May be repeated: after an upgrade, and when drain or start time-outs or paths in the configuration change.
    Changes of your own go into drop-ins (systemctl edit), which it leaves alone.

    \b
    Examples:
      supervisor systemd install --print
      supervisor systemd install --config /etc/kafka-supervisor/kafka-supervisor.toml --now
      supervisor systemd install --instance orders     /etc/kafka-supervisor/orders.toml
      supervisor systemd install --user --config orders.toml
    """
    from supervisor.systemd import install as work
    from supervisor.systemd.unit import ACCOUNT, OLDEST

    _refuse_pointless(user=user, instance=instance, config=config, account=account)
    version = systemd_version if systemd_version is not None else work.installed_version()
    target = work.Target(
        user=user,
        instance=instance,
        config=config,
        account=account or ACCOUNT,
        root=root,
        version=OLDEST if version is None else version,
    )
    if only_print:
        for path, text in work.plan(target).items():
            click.echo(f"# {path}\n{text}")
        return
    for path in work.install(target, enable=enable, now=now, force=force):
        click.echo(f"wrote {path}")
    for hint in work.hints(target):
        click.echo(hint)


@command.command("uninstall")
@_common
def uninstall(*, user: bool, instance: str, root: Path | None) -> None:
    """Stop the service and remove its unit; configuration, logs, data and account stay.

    \b
    Examples:
      supervisor systemd uninstall
      supervisor systemd uninstall --instance orders
    """
    from supervisor.systemd import install as work

    for path in work.uninstall(work.Target(user=user, instance=instance, root=root)):
        click.echo(f"removed {path}")


def _refuse_pointless(*, user: bool, instance: str, config: str, account: str) -> None:
    if instance and config:
        raise click.UsageError("an instance reads the file of its name: give no --config with --instance")
    if user and account:
        raise click.UsageError("a service of your own runs as yourself: give no --account with --user")
