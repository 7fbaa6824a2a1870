"""``supervisor init``."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("init")
@click.argument("path", default="supervisor.toml", metavar="[PATH]", type=click.Path(allow_dash=True))
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
def command(path: str, *, force: bool) -> None:
    """Write a commented configuration to start from, with every key in it.

    PATH is supervisor.toml in the working directory if it is not given; - prints.

    \b
    Examples:
      supervisor init
      supervisor init /etc/supervisor/orders.toml
      supervisor init - | less
    """
    from supervisor.config.sample import sample
    from supervisor.config.writing import write

    if path == "-":
        click.echo(sample(), nl=False)
        return
    write(Path(path), sample(), overwrite=force)
    click.echo(f"wrote {click.format_filename(path)}; `supervisor config check` finds mistakes in it")
