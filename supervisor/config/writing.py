"""Writes a configuration file without harming one that is there."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from supervisor.contract.faults import Fault

__all__ = ["write"]


def write(path: Path, text: str, *, overwrite: bool) -> None:
    """Write ``text`` to ``path``. Raises Fault if that fails, or if it exists and is not to be replaced."""
    shown_as = os.fsencode(path).decode(errors="backslashreplace")
    try:
        if path.exists() and not path.is_file():
            # Replacing a device or a pipe would destroy it, which --force does not ask for.
            kind = "a directory" if path.is_dir() else "not a regular file"
            raise Fault(f"{shown_as} is {kind}", "name the file to write")
        if overwrite and path.exists():
            _replace(Path(os.path.realpath(path)), text)  # what a link points at, not the link
        else:
            _create(path, text)
    except FileExistsError:
        raise Fault(f"{shown_as} exists already", "give --force to overwrite it") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Fault(f"{shown_as} cannot be written: {reason}") from None


def _create(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            path.unlink()
            raise


def _replace(path: Path, text: str) -> None:
    """Put the new text in place in one step, so that a full disk leaves the old one as it was."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    _create(unfinished, text)
    try:
        shutil.copymode(path, unfinished)
        unfinished.replace(path)
    except OSError:
        unfinished.unlink()
        raise
