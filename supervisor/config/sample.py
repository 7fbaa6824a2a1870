"""Writes the commented sample configuration, out of the structs, their defaults and their docstrings."""

from __future__ import annotations

import textwrap
from typing import Any

from msgspec import Struct
from msgspec import inspect as types

from supervisor.config.keys import Key, Path, Tree, docstrings, dotted, inherited, keys, struct_at, tree
from supervisor.config.values import expected, literal

__all__ = ["SET_BY_MOST", "sample"]

# The keys that most people set. A choice of presentation: all others are there too, as comments.
SET_BY_MOST = (
    "app.name",
    "kafka.bootstrap_servers",
    "topics.partitions",
    "topics.replication_factor",
    "topics.min_insync_replicas",
    "topics.input.name",
    "topics.output.name",
    "realtime.sinks",
)

_HEAD = """\
# Configuration of kafka-supervisor.
#
# Every key is here. A line with # right before the key shows its default, or an example where nothing is set
# by default: take the # away and change it. Lines with "# " explain.
# Each can also be given as a variable, SUPERVISOR_OLAP_COMMIT_INTERVAL_MS=50, and as a flag,
# --set olap.commit_interval_ms=50; flags go before variables, variables before this file.
# `supervisor config check` finds mistakes; `supervisor config show` tells what is in force and why.
"""

# What goes into a table that is empty by default, to show its form.
_ENTRIES = {
    "kafka.client": {
        "security.protocol": "PLAINTEXT",
        "socket.keepalive.enable": True,
    },
}

_WIDTH = 110


def sample() -> str:
    """The text of the sample: every key with its default, and its meaning the first time it occurs."""
    return _HEAD + _table(tree(), (), set())


def _table(branch: Tree, path: Path, explained: set[type[Struct]]) -> str:
    struct = struct_at(path)
    first_time = struct not in explained
    explained.add(struct)
    plain = {name: key for name, key in branch.items() if isinstance(key, Key) and not key.is_table}
    text = "".join(_key(key, explain=first_time) for key in plain.values())
    if path:
        text = f"\n{_comment(_doc_of_table(path))}[{dotted(path)}]\n{text}"
    for name, entry in branch.items():
        if isinstance(entry, dict):
            text += _table(entry, (*path, name), explained)
        elif entry.is_table:
            text += _entries(entry, explain=first_time)
    return text


def _doc_of_table(path: Path) -> str:
    return docstrings(struct_at(path[:-1])).get(path[-1], "")


def _key(key: Key, *, explain: bool) -> str:
    name = dotted(key.path)
    doc = ""
    if explain:
        doc = _comment(" ".join(filter(None, [key.doc, _choices(key.type)])))
    sign = "" if name in SET_BY_MOST else "#"
    return f"{doc}{sign}{key.path[-1]} = {literal(_value(key))}\n"


def _choices(type_: types.Type) -> str:
    if isinstance(type_, types.ListType):
        return _choices(type_.item_type).replace("One of", "Any of")
    return f"{expected(type_).capitalize()}." if isinstance(type_, types.LiteralType) else ""


def _value(key: Key) -> Any:
    """The default; for a key that is not set by default, the value it inherits or else the least one."""
    if key.default is not None:
        return key.default
    above = inherited(key.path)
    if above is not None:
        return next(other.default for other in keys() if other.path == above)
    assert isinstance(key.type, types.UnionType)
    return next(option.ge for option in key.type.types if isinstance(option, types.IntType))


def _entries(key: Key, *, explain: bool) -> str:
    name = dotted(key.path)
    entries = key.default or _ENTRIES.get(name, {})
    doc = _comment(key.doc) if explain else ""
    lines = "".join(f"#{literal(entry)} = {literal(value)}\n" for entry, value in entries.items())
    return f"\n{doc}[{name}]\n{lines}"


def _comment(text: str) -> str:
    if not text:
        return ""
    return textwrap.fill(text, _WIDTH, initial_indent="# ", subsequent_indent="# ") + "\n"
