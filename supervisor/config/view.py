"""The values in force, ready to be shown: every key in order, secrets taken out."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from supervisor.config.keys import Key, Path, dotted, inherited, keys
from supervisor.config.load import Loaded
from supervisor.config.mistakes import DEFAULT, Origin
from supervisor.config.values import REDACTED, is_secret, shown

__all__ = ["Value", "values"]


class Value(Struct, frozen=True):
    """One row of ``supervisor config show``. ``value`` is plain data, ``text`` the same for people."""

    key: str
    value: Any
    text: str
    secret: bool
    origin: Origin
    source: str
    """The origin for people; for a value that is inherited, from which key."""


def values(loaded: Loaded) -> list[Value]:
    """Every key; of a table key each entry, or the table itself if it is empty."""
    tree = msgspec.to_builtins(loaded.settings)
    rows: list[Value] = []
    for key in keys():
        value: Any = tree
        for part in key.path:
            value = value[part]
        if key.is_table and value:
            rows.extend(_row(loaded, (*key.path, name), entry, None) for name, entry in value.items())
        else:
            rows.append(_row(loaded, key.path, value, key))
    return rows


def _row(loaded: Loaded, path: Path, value: Any, key: Key | None) -> Value:
    name = dotted(path)
    origin = loaded.origins.get(name, DEFAULT)
    above = inherited(path) if key is not None and value is None else None
    secret = is_secret(path, value)
    return Value(
        key=name,
        value=REDACTED if secret else value,
        text=shown(path, value, length=None),
        secret=secret,
        origin=origin,
        source=f"as {dotted(above)}" if above else str(origin),
    )
