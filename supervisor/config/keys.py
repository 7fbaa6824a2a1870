"""Every key of the configuration, derived from the structs of :mod:`supervisor.contract.settings`.

A path is the tuple of a key's parts: ``("olap", "workers")``. A key whose value is a free table
(``kafka.client``) is a *table key*: whatever stands below it is one part more, dots included.
"""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
import itertools
import json
import re
import sys
from typing import Annotated, Any, TypeAlias, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec import inspect as types

from supervisor.contract.settings import Settings

__all__ = [
    "Key",
    "Path",
    "PathSyntaxError",
    "Tree",
    "docstrings",
    "dotted",
    "inherited",
    "keys",
    "locate",
    "nearest",
    "parse",
    "quoted",
    "struct_at",
    "tree",
    "variable",
    "variables",
]

Path: TypeAlias = tuple[str, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_PREFIX = "SUPERVISOR"


class PathSyntaxError(ValueError):
    """A key as text that cannot be read: a quote that does not end, an empty part."""


class Key(Struct, frozen=True):
    """One key. ``default`` is plain data (text, number, bool, list, dict or None)."""

    path: Path
    annotation: Any
    type: types.Type
    default: Any
    doc: str

    @property
    def is_table(self) -> bool:
        return isinstance(self.type, types.DictType)

    @property
    def optional(self) -> bool:
        """Whether the key may be absent without a value of its own (None in the struct)."""
        return isinstance(self.type, types.UnionType) and self.type.includes_none

    def entry(self, name: str) -> Key:
        """The key of entry ``name`` of this table key."""
        assert isinstance(self.type, types.DictType)
        table = self.annotation
        while get_origin(table) is Annotated:
            table = get_args(table)[0]
        return Key(
            path=(*self.path, name),
            annotation=get_args(table)[1],
            type=self.type.value_type,
            default=self.default.get(name),
            doc="",
        )


# Name of a key or a table -> the key, or what is in the table.
Tree: TypeAlias = "dict[str, Key | Tree]"


def quoted(text: str) -> str:
    """``text`` as a basic string of TOML."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def dotted(path: Path) -> str:
    """A path as it is written in TOML: ``kafka.client."sasl.password"``."""
    return ".".join(part if _BARE.fullmatch(part) else quoted(part) for part in path)


def parse(text: str) -> Path:
    """The path that ``text`` names; below a table key quotes may be left out: ``kafka.client.sasl.username``.

    Raises PathSyntaxError. That the key exists is not checked: see :func:`locate`.
    """
    parts: list[str] = []
    rest = text.strip()
    while True:
        found = re.match(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|([^."\'\s=]+)', rest)
        if found is None:
            raise PathSyntaxError(text)
        double, single, bare = found.groups()
        if double is not None:
            try:
                parts.append(json.loads(f'"{double}"'))
            except ValueError:
                raise PathSyntaxError(text) from None
        else:
            parts.append(single if single is not None else bare)
        rest = rest[found.end() :]
        if not rest:
            return _joined(tuple(parts))
        if not rest.startswith("."):
            raise PathSyntaxError(text)
        rest = rest[1:]


def _joined(path: Path) -> Path:
    """``path`` with the parts below a table key joined into one."""
    for key in keys():
        below = len(key.path)
        if key.is_table and path[:below] == key.path and len(path) > below:
            return (*key.path, ".".join(path[below:]))
    return path


@functools.cache
def tree() -> Tree:
    """All tables and keys, nested as in the file."""
    return _tree(Settings, (), msgspec.to_builtins(Settings()))


def _tree(struct: type[Struct], path: Path, defaults: dict[str, Any]) -> Tree:
    described = {field.encode_name: field for field in types.type_info(struct).fields}  # type: ignore[attr-defined]
    result: Tree = {}
    for field in msgspec.structs.fields(struct):
        name = field.encode_name
        type_ = described[name].type
        if isinstance(type_, types.StructType):
            result[name] = _tree(type_.cls, (*path, name), defaults[name])
        else:
            result[name] = Key(
                path=(*path, name),
                annotation=field.type,
                type=type_,
                default=defaults[name],
                doc=docstrings(struct).get(field.name, ""),
            )
    return result


@functools.cache
def keys() -> tuple[Key, ...]:
    """Every key in the order of the structs; a table key counts as one."""

    def flat(branch: Tree) -> list[Key]:
        found: list[Key] = []
        for entry in branch.values():
            found.extend([entry] if isinstance(entry, Key) else flat(entry))
        return found

    return tuple(flat(tree()))


def locate(path: Path) -> Key | None:
    """The key at ``path``, or the entry of a table key; None where there is no such key."""
    for key in keys():
        if key.path == path and not key.is_table:
            return key
        if key.is_table and path[:-1] == key.path:
            return key.entry(path[-1])
    return None


def struct_at(path: Path) -> type[Struct]:
    """The struct behind the table at ``path``; the empty path is the whole configuration."""
    info = types.type_info(Settings)
    for part in path:
        assert isinstance(info, types.StructType)
        info = next(field.type for field in info.fields if field.encode_name == part)
    assert isinstance(info, types.StructType)
    return info.cls


def inherited(path: Path) -> Path | None:
    """Where the value of an optional key comes from if it is not set: the key of that name one table up."""
    above = (*path[:-2], path[-1])
    return above if len(path) > 2 and any(key.path == above for key in keys()) else None


@functools.cache
def docstrings(struct: type[Struct]) -> dict[str, str]:
    """Field name -> the string under that field in the struct's source, on one line.

    Empty where the source is not at hand.
    """
    try:
        module = ast.parse(inspect.getsource(sys.modules[struct.__module__]))
    except OSError:
        return {}
    body = next(
        (
            node.body
            for node in module.body
            if isinstance(node, ast.ClassDef) and node.name == struct.__name__
        ),
        [],
    )
    found: dict[str, str] = {}
    for field, text in itertools.pairwise(body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                found[name] = " ".join(doc.split())
    return found


def nearest(path: Path) -> Path | None:
    """The key or table most like the unknown ``path``.

    A slip of the pen in the same table goes before the same name in another table, and that before a weak
    likeness.
    """
    branch: Key | Tree = tree()
    for part in path[:-1]:
        branch = branch.get(part, {}) if isinstance(branch, dict) else {}
    siblings = {name: (*path[:-1], name) for name in branch} if isinstance(branch, dict) else {}
    every = {dotted(key.path): key.path for key in keys()}
    return (
        _closest(path[-1], siblings, 0.8)
        or next((key for key in every.values() if key[-1] == path[-1]), None)
        or _closest(path[-1], siblings, 0.6)
        or _closest(dotted(path), every, 0.6)
    )


def _closest(text: str, among: dict[str, Path], cutoff: float) -> Path | None:
    close = difflib.get_close_matches(text, among, 1, cutoff)
    return among[close[0]] if close else None


def variable(path: Path) -> str:
    """The environment variable of a key: ``SUPERVISOR_KAFKA_CLIENT_SASL_PASSWORD``."""
    return "_".join((_PREFIX, *path)).upper().replace(".", "_")


@functools.cache
def variables() -> dict[str, Key]:
    """Environment variable -> its key; a table key's variable is the prefix of its entries' variables."""
    return {variable(key.path): key for key in keys()}
