"""One log line: what it holds, as JSON for machines and as text for people."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

__all__ = ["LEVELS", "Line", "decode", "encode", "stamp", "text"]

LEVELS = ("debug", "info", "warning", "error", "critical")
"""From the least severe on."""

# Longer ones would be torn apart by others in a pipe, and nobody reads them.
_LONGEST = 16_000
_COLOURS = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}
_PLAIN = "\x1b[0m"


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """What does not apply is left out of the JSON."""

    time: str
    """UTC, ISO 8601 with microseconds: two of them compare as strings do."""
    level: str
    process: str
    """Who says it: ``supervisor``, the name of a seat, or ``worker-N`` while it has no role."""
    pid: int
    message: str
    exception: str = ""
    """The traceback."""
    worker: str = ""
    """The seat that a line of the supervisor is about."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


def stamp(seconds: float) -> str:
    """A time since the epoch as lines have it."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def encode(line: Line) -> bytes:
    """As one line of JSON, whatever the texts hold, ended by a newline."""
    if len(line.message) > _LONGEST or len(line.exception) > _LONGEST:
        # The reason for an exception stands at the end of its traceback.
        line = msgspec.structs.replace(
            line, message=_cut(line.message), exception=_cut(line.exception[::-1])[::-1]
        )
    try:
        return _encode(line) + b"\n"
    except UnicodeEncodeError:  # lone surrogates: a file's name, or bytes that somebody decoded loosely
        texts = {
            name: value.encode("utf-8", "backslashreplace").decode()
            for name in line.__struct_fields__
            if isinstance(value := getattr(line, name), str)
        }
        return _encode(msgspec.structs.replace(line, **texts)) + b"\n"


def decode(data: bytes) -> Line | None:
    """The line that ``data`` is, or ``None`` if it is something else."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def text(line: Line, *, date: bool = False, colour: bool = False) -> str:
    """For people: time, level, process, message; what follows in further lines is indented.

    What could act on a terminal is escaped, and no message can look like a line of its own: anybody's data
    may be in it.
    """
    when = line.time.replace("T", " ") if date else line.time[11:]
    begin, end = (_COLOURS.get(line.level, ""), _PLAIN) if colour else ("", "")
    first = f"{when[:-4]}Z {begin}{line.level.upper():<7}{end if begin else ''} {line.process:<11} "
    body = f"{line.message}\n{line.exception}" if line.exception else line.message
    return first + "\n    ".join(_harmless(row) for row in body.split("\n")) + "\n"


def _cut(long: str) -> str:
    return long if len(long) <= _LONGEST else f"{long[:_LONGEST]} …"


def _harmless(row: str) -> str:
    if row.isprintable():
        return row
    return "".join(
        character if character.isprintable() or character == "\t" else ascii(character)[1:-1]
        for character in row
    )
