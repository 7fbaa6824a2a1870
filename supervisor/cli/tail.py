"""``supervisor tail``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import IO, Any

import click

from supervisor.cli._settings import with_settings
from supervisor.config.load import Loaded
from supervisor.contract.exits import Exit

__all__ = ["command"]

_PATIENCE_S = 10.0
_ABSENT = object()


@click.command("tail")
@click.option("-c", "--count", type=click.IntRange(min=1), metavar="N", help="End after N events.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, on a terminal too.")
@click.option(
    "--grep",
    "conditions",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Only events whose field has this value; may be repeated, then all must hold.",
)
@with_settings()
def command(loaded: Loaded, count: int | None, as_json: bool, conditions: tuple[str, ...]) -> int:
    """Show events as the real-time worker sees them, from now on.

    For people on a terminal, JSON lines into a pipe. A reader that is too slow misses events, never delays
    them, and is told on stderr how many it missed. A worker that is replaced meanwhile is waited for.

    \b
    Examples:
      supervisor tail
      supervisor tail -c 10 --grep region=West --grep device_type=iOS
      supervisor tail | jq .locale
    """
    from supervisor.contract.rundir import LIVE_SOCKET, run_dir, socket_path
    from supervisor.reporting.livefeed import follow

    wanted = [_condition(text) for text in conditions]
    path = socket_path(run_dir(loaded.settings, os.environ), LIVE_SOCKET)
    render = _Plain() if as_json or not sys.stdout.isatty() else _Readable(not os.environ.get("NO_COLOR"))
    left = count
    try:
        for lines in follow(path, _PATIENCE_S, _say_gap):
            shown = [line for line in _events(lines) if _matches(line, wanted)][:left]
            render(shown, sys.stdout.buffer)
            left = None if left is None else left - len(shown)
            if left == 0:
                break
    except BrokenPipeError:
        # The reader has what it wanted. At its end Python would flush stdout again, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.OK


def _condition(text: str) -> tuple[list[str], str]:
    field, equals, value = text.partition("=")
    if not equals or not field:
        raise click.BadParameter(f"expected FIELD=VALUE, got {text!r}", param_hint="--grep")
    return field.split("."), value


def _events(lines: Iterable[bytes]) -> Iterable[bytes]:
    """The lines that are events; the feed's own notices go to stderr."""
    import msgspec

    for line in lines:
        if line.startswith(b'{"dropped":'):
            notice = msgspec.json.decode(line)
            if len(notice) == 1:
                click.echo(f"(missed {notice['dropped']:,} events: read too slowly)", err=True)
                continue
        yield line


def _say_gap() -> None:
    click.echo("(the real-time worker was replaced: events meanwhile are not shown)", err=True)


def _matches(line: bytes, wanted: list[tuple[list[str], str]]) -> bool:
    import msgspec

    if not wanted:
        return True
    try:
        event = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return False
    return all(_text(_at(event, field)) == value for field, value in wanted)


def _at(event: Any, field: list[str]) -> Any:
    for name in field:
        if not isinstance(event, dict) or name not in event:
            return _ABSENT
        event = event[name]
    return event


def _text(value: Any) -> str | None:
    import msgspec

    if value is _ABSENT:
        return None
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


class _Plain:
    """JSON lines as they came."""

    def __call__(self, lines: list[bytes], out: IO[bytes]) -> None:
        out.writelines(line + b"\n" for line in lines)
        out.flush()


class _Readable:
    """``name=value`` pairs. What could act on the terminal is replaced, since anybody can write events."""

    def __init__(self, colour: bool) -> None:
        self._pair = "\x1b[2m{}=\x1b[0m{}" if colour else "{}={}"

    def __call__(self, lines: list[bytes], out: IO[bytes]) -> None:
        for line in lines:
            out.write(self._row(line).encode("utf-8", "replace") + b"\n")
        out.flush()

    def _row(self, line: bytes) -> str:
        import msgspec

        try:
            event = msgspec.json.decode(line)
        except msgspec.DecodeError:
            event = None
        if not isinstance(event, dict):
            return _harmless(line.decode("utf-8", "replace"))
        return "  ".join(
            self._pair.format(_harmless(name), _harmless(_text(value) or "")) for name, value in event.items()
        )


def _harmless(text: str) -> str:
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
