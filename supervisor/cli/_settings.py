"""Options and loading of the configuration, for every command that needs it.

    @click.command("start")
    @setting("--olap-workers", "olap.workers", metavar="N", help="Number of OLAP workers.")
    @with_settings(runs_here=True)
    def command(loaded: Loaded) -> None: ...

adds ``--config``, ``--set``, ``--bootstrap-servers`` and ``--olap-workers``, loads, and gives ``loaded``.
Give such an option no ``type``: then all mistakes are reported together, whichever source they come from.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from supervisor.config.load import Flag, Loaded, find_file, load, read
from supervisor.config.mistakes import MistakenConfiguration
from supervisor.contract.settings import Settings

__all__ = ["reader", "setting", "with_settings"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FLAGS = "supervisor.flags"
_CONFIG = "supervisor.config"


def setting(flag: str, key: str, **attributes: Any) -> Callable[[_Command], _Command]:
    """A click option that sets ``key`` of the configuration; the command function gets no argument of it.

    For a switch, ``flag`` is ``--this/--that`` or ``is_flag=True`` is given.
    """

    def remember(ctx: click.Context, param: click.Parameter, value: object) -> None:
        if value is not None:
            name = param.secondary_opts[0] if value is False and param.secondary_opts else param.opts[0]
            _given(ctx).append(Flag(key, value, name))

    attributes.setdefault("default", None)
    return click.option(flag, expose_value=False, callback=remember, **attributes)


def with_settings(
    *, runs_here: bool = False, tolerant: bool = False
) -> Callable[[_Command], Callable[..., Any]]:
    """Give the command a first argument ``loaded: Loaded``; a mistaken configuration ends it, exit code 78.

    ``runs_here``: the workers will run on this machine, so its CPUs count.
    ``tolerant``: do not raise; the command looks at ``loaded.mistakes`` itself.
    """

    def decorate(function: _Command) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            ctx = click.get_current_context()
            cpus = os.sched_getaffinity(0) if runs_here else None
            file = find_file(ctx.meta.get(_CONFIG), os.environ)
            loaded: Loaded = read(file, os.environ, _in_order(_given(ctx)), cpus=cpus)
            if loaded.mistakes and not tolerant:
                raise MistakenConfiguration(loaded.mistakes)
            return function(loaded, *args, **kwargs)

        for option in reversed(_common()):
            wrapper = option(wrapper)
        return wrapper

    return decorate


def reader(started: Loaded) -> Callable[[], Settings]:
    """What reads a configuration anew: the same file, variables and flags.

    Nobody has to have named the file that was found: where it is gone that is a mistake, too, and no reason
    to go on with nothing but defaults. It raises :class:`MistakenConfiguration`.
    """

    def again() -> Settings:
        file = started.file or find_file(None, os.environ)
        return load(file, os.environ, started.flags, cpus=os.sched_getaffinity(0)).settings

    return again


def _common() -> list[Callable[[Any], Any]]:
    return [
        click.option(
            "--config",
            metavar="PATH",
            expose_value=False,
            callback=_remember_config,
            help="Configuration file; else $SUPERVISOR_CONFIG, else supervisor.toml if it exists.",
        ),
        setting(
            "--bootstrap-servers", "kafka.bootstrap_servers", metavar="HOST:PORT,…", help="Brokers to ask."
        ),
        click.option(
            "--set",
            metavar="KEY=VALUE",
            multiple=True,
            expose_value=False,
            callback=_remember_set,
            help="Set any key of the configuration, as in --set olap.nice=5; may be repeated.",
        ),
    ]


def _given(ctx: click.Context) -> list[Flag]:
    flags: list[Flag] = ctx.meta.setdefault(_FLAGS, [])
    return flags


def _in_order(flags: list[Flag]) -> list[Flag]:
    """A flag of its own goes over --set; among --set the last one does."""
    return sorted(flags, key=lambda flag: not flag.name.startswith("--set"))


def _remember_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value == "":
        raise click.BadParameter("the path is empty", ctx=ctx, param=param)
    ctx.meta[_CONFIG] = value


def _remember_set(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> None:
    for text in values:
        key, equals, value = text.partition("=")
        if not equals:
            # The text is not repeated here: it may be a password.
            raise click.BadParameter("expected KEY=VALUE", ctx=ctx, param=param)
        _given(ctx).append(Flag(key, value, f"--set {key}"))
