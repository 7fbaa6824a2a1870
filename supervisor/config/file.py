"""Reads a TOML file without trusting it: any file at all becomes a table, lines and mistakes."""

from __future__ import annotations

import re
import stat
import tomllib
from pathlib import Path as File
from typing import Any

from msgspec import Struct

from supervisor.config.keys import Path
from supervisor.config.lines import key_lines
from supervisor.config.mistakes import Mistake, Origin

__all__ = ["FileContents", "read_file"]

_LARGEST_FILE = 1024 * 1024


class FileContents(Struct, frozen=True):
    table: dict[str, Any] = {}
    lines: dict[Path, int] = {}
    mistake: Mistake | None = None


def read_file(file: File, shown_as: str) -> FileContents:
    """The file's table and the line of each key in it; on a mistake, the mistake alone. Never raises."""
    try:
        text = _decoded(_bytes_of(file))
        table = tomllib.loads(text)
        return FileContents(table, key_lines(text))
    except _UnreadableError as reason:
        line, problem, hint = reason.args
    except tomllib.TOMLDecodeError as error:
        line, problem, hint = *_syntax_error(str(error), text), ""
    except RecursionError:
        line, problem, hint = 0, "tables or lists are nested too deep", ""
    except ValueError:  # int() refuses numbers of thousands of digits
        line, problem, hint = 0, "a number in it has too many digits", ""
    return FileContents(mistake=Mistake(Origin("file", shown_as, line), problem, hint))


class _UnreadableError(Exception):
    """Arguments: line, problem, hint."""


def _bytes_of(file: File) -> bytes:
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            # A pipe can be read once only, and a reload reads the file again; it could also block for ever.
            kind = "a directory" if file.is_dir() else "not a regular file"
            raise _UnreadableError(0, f"this is {kind}", "name a TOML file")
        with file.open("rb") as opened:
            data = opened.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        raise _UnreadableError(0, "there is no such file", "`supervisor init` writes one") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _UnreadableError(0, f"the file cannot be read: {reason}", "") from None
    if len(data) > _LARGEST_FILE:
        raise _UnreadableError(0, "the file is larger than 1 MiB", "name a TOML file")
    return data


def _decoded(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")  # editors on Windows put a byte order mark first
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise _UnreadableError(line, problem, "save the file as UTF-8") from None
    # Line ends as TOML has them; tomllib does the same, and the search for lines must see what it sees.
    return text.replace("\r\n", "\n")


def _syntax_error(message: str, text: str) -> tuple[int, str]:
    """Line and cause out of tomllib's message, such as ``Invalid value (at line 3, column 5)``."""
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
    if found is None:
        return 0, f"not TOML: {message}"
    cause = found[1][:1].lower() + found[1][1:]
    if found[2] is None:
        return text.count("\n") + 1, f"not TOML: {cause} at the end of the file"
    return int(found[2]), f"not TOML: {cause} in column {found[3]}"
