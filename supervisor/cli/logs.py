"""``supervisor logs``."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from supervisor.cli._settings import with_settings
from supervisor.config.load import Loaded
from supervisor.contract.exits import Exit
from supervisor.contract.loglines import LEVELS, Line, encode, stamp, text

__all__ = ["command"]

_LINES = 100
_LOOK_S = 0.1
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class _Duration(click.ParamType[float]):
    """Seconds, as ``30s``, ``10m``, ``2h`` or ``1d``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)([smhd])", str(value))
        if found is None:
            self.fail(f"{value!r} is no duration: give 30s, 10m, 2h or 1d", param, ctx)
        return float(found[1]) * _UNITS_S[found[2]]


@click.command("logs", short_help="Show what supervisor and workers have logged.")
@click.argument("workers", nargs=-1, metavar="[WORKER]…")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is logged from now on.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"Show the last N lines; {_LINES} if not given, with --since all.",
)
@click.option("--since", type=_Duration(), metavar="AGE", help="Only lines younger than 30s, 10m, 2h or 1d.")
@click.option("--level", type=click.Choice(LEVELS), default="debug", help="Only this severity and above.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@with_settings()
def command(
    loaded: Loaded,
    workers: tuple[str, ...],
    follow: bool,
    lines: int | None,
    since: float | None,
    level: str,
    as_json: bool,
) -> int:
    """Show the log lines of all processes, or of some, in the order of time.

    WORKER is a seat such as olap-2, over all the processes that were in it, with what the supervisor says
    of it; or supervisor, probe, spare. Works from the log files, whether a supervisor runs or not.

    \b
    Examples:
      supervisor logs -f
      supervisor logs olap-2 --since 10m
      supervisor logs --level warning --json | jq .message
    """
    from supervisor.contract import logs
    from supervisor.contract.rundir import run_dir
    from supervisor.reporting.logfiles import Follower, Wanted, last, resolve

    home = run_dir(loaded.settings, os.environ)
    directory = logs.directory(loaded.settings.log, home)
    names = resolve(directory, workers, _seats(home))
    wanted = Wanted(names, level, stamp(time.time() - since) if since is not None else "")
    count = _LINES if lines is None and since is None else lines
    render = _Json() if as_json else _Text()
    try:
        if not follow:
            render(last(directory, wanted, count))
            return Exit.OK
        with contextlib.closing(Follower(directory, wanted)) as follower:
            render(last(directory, wanted, count, follower.began))
            while True:
                render(follower.look())
                time.sleep(_LOOK_S)
    except BrokenPipeError:
        # The reader has what it wanted. At its end Python would flush stdout again, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.OK


def _seats(home: Path) -> list[str]:
    """The seats on the board: one of them may not have logged anything yet."""
    from supervisor.contract.board import Board, Role
    from supervisor.contract.faults import Fault
    from supervisor.host.instance import BOARD

    try:
        board = Board.open(home / BOARD)
    except Fault:
        return []
    seats = [board.seat(place) for place in range(board.header.seats)]
    names = [(Role(seat.role).name.lower(), seat.index) for seat in seats]
    return [role if role == "probe" else f"{role}-{index}" for role, index in names]


class _Json:
    def __call__(self, lines: Iterable[Line]) -> None:
        sys.stdout.buffer.writelines(encode(line) for line in lines)
        sys.stdout.buffer.flush()


class _Text:
    def __init__(self) -> None:
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def __call__(self, lines: Iterable[Line]) -> None:
        shown = (text(line, date=True, colour=self._colour) for line in lines)
        sys.stdout.buffer.writelines(row.encode("utf-8", "backslashreplace") for row in shown)
        sys.stdout.buffer.flush()
