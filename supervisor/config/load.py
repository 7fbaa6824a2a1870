"""Puts the configuration together: defaults, file, environment, flags, each over those before, key by key."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path as File
from typing import Any

import msgspec
from msgspec import Struct

from supervisor.config.file import read_file
from supervisor.config.keys import (
    Key,
    Path,
    PathSyntaxError,
    Tree,
    dotted,
    keys,
    locate,
    nearest,
    parse,
    tree,
    variables,
)
from supervisor.config.mistakes import DEFAULT, Mistake, MistakenConfiguration, Origin, in_order
from supervisor.config.rules import contradictions
from supervisor.config.values import UnfitError, convert, from_text, shown
from supervisor.contract.settings import Settings

__all__ = ["CONFIG_VARIABLE", "DEFAULT_FILE", "Flag", "Loaded", "find_file", "load", "read"]

CONFIG_VARIABLE = "SUPERVISOR_CONFIG"
DEFAULT_FILE = "supervisor.toml"

# What supervisord puts into the environment of the programs it runs.
_SUPERVISORD = {
    "SUPERVISOR_ENABLED",
    "SUPERVISOR_PROCESS_NAME",
    "SUPERVISOR_GROUP_NAME",
    "SUPERVISOR_SERVER_URL",
}
# What Kubernetes puts into every container if a Service is called `supervisor` or `supervisor-something`.
_SERVICE_LINK = re.compile(
    r"_SERVICE_HOST$|_SERVICE_PORT(_|$)|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$"
)


class Flag(Struct, frozen=True):
    """A value from the command line. Text is converted as the environment's is; other values must fit."""

    key: str
    value: object
    name: str = "--set"
    """The flag as it is typed, for messages."""


class Loaded(Struct, frozen=True):
    """A configuration and where each of its values comes from."""

    settings: Settings
    origins: dict[str, Origin]
    """Every key, entries of table keys too, as it is written in TOML -> its origin."""
    file: File | None
    """The file that was read, as an absolute path."""
    flags: tuple[Flag, ...] = ()
    """The flags that were given: a reload is ``load(loaded.file, os.environ, loaded.flags)``."""
    mistakes: tuple[Mistake, ...] = ()
    """Empty if it comes from :func:`load`. The keys to blame have the value of the source below."""


def find_file(named: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> File | None:
    """The configuration file to read: the one named by ``--config`` or else $SUPERVISOR_CONFIG, else
    ``supervisor.toml`` in the working directory if there is one. A file that is named need not exist."""
    name = named or environ.get(CONFIG_VARIABLE)
    if name:
        return File(name)
    default = File(DEFAULT_FILE)
    return default if os.path.lexists(default) else None


def load(
    file: File | None,
    environ: Mapping[str, str],
    flags: Sequence[Flag] = (),
    *,
    cpus: Set[int] | None = None,
) -> Loaded:
    """Read and judge the whole configuration. Raises MistakenConfiguration with every mistake in it.

    ``cpus``, the CPUs of this machine, are given where the workers will run here.
    """
    loaded = read(file, environ, flags, cpus=cpus)
    if loaded.mistakes:
        raise MistakenConfiguration(loaded.mistakes)
    return loaded


def read(
    file: File | None,
    environ: Mapping[str, str],
    flags: Sequence[Flag] = (),
    *,
    cpus: Set[int] | None = None,
) -> Loaded:
    """As :func:`load`, but the mistakes are in the result, beside the best settings that can be had."""
    merge = _Merge()
    if file is not None:
        _take_file(merge, file)
    _take_environment(merge, environ)
    for flag in flags:
        _take_flag(merge, flag)
    settings = merge.settings()
    return Loaded(
        settings=settings,
        origins={dotted(path): origin for path, origin in merge.origins.items()},
        file=file.absolute() if file is not None else None,
        flags=tuple(flags),
        mistakes=tuple(in_order([*merge.mistakes, *_contradictions(merge, settings, cpus)])),
    )


class _Merge:
    """Values by path. Each source is put over those before it."""

    def __init__(self) -> None:
        self.values: dict[Path, Any] = {}
        for key in keys():
            if key.is_table:
                self.values.update({(*key.path, name): value for name, value in key.default.items()})
            else:
                self.values[key.path] = key.default
        self.origins = dict.fromkeys(self.values, DEFAULT)
        self.mistakes: list[Mistake] = []
        self.unsettled: set[Path] = set()
        """Keys and tables, of which nobody knows what was meant; the empty path is all of them."""

    def put(self, key: Key, value: object, origin: Origin, *, text: bool) -> None:
        """Take one value for ``key``, or note why it does not fit."""
        try:
            fitting = from_text(key, str(value)) if text else convert(key, value)
        except UnfitError as unfit:
            name = dotted(key.path)
            problem = f"{name} = {shown(key.path, value)} does not fit: expected {unfit}"
            self.mistakes.append(Mistake(origin, problem, key=name))
            self.unsettled.add(key.path)
        else:
            self.unsettled.discard(key.path)
            self.values[key.path] = fitting
            self.origins[key.path] = origin

    def unknown(self, path: Path, origin: Origin) -> None:
        near = nearest(path)
        problem = f"the key {dotted(path)} is unknown"
        self.mistakes.append(
            Mistake(origin, problem, _did_you_mean(dotted(near) if near else None), key=dotted(path))
        )
        if near is not None:
            self.unsettled.add(near)

    def unknown_variable(self, name: str, origin: Origin) -> None:
        close = difflib.get_close_matches(name.upper(), variables(), 1)
        self.mistakes.append(
            Mistake(origin, "there is no such key", _did_you_mean(close[0] if close else None))
        )
        if close:
            self.unsettled.add(variables()[close[0]].path)

    def settled(self, path: Path) -> bool:
        """Whether neither the key at ``path`` nor a table it is in has a mistake."""
        return not any(path[:length] in self.unsettled for length in range(len(path) + 1))

    def settings(self) -> Settings:
        nested: dict[str, Any] = {}
        tables = [key.path for key in keys() if key.is_table]
        for path in tables:
            _table(nested, path)
        for path, value in self.values.items():
            _table(nested, path[:-1])[path[-1]] = value
        return msgspec.convert(nested, Settings)


def _did_you_mean(name: str | None) -> str:
    return f"did you mean {name}?" if name else "`supervisor config show` lists every key"


def _table(nested: dict[str, Any], path: Path) -> dict[str, Any]:
    for part in path:
        nested = nested.setdefault(part, {})
    return nested


def _take_file(merge: _Merge, file: File) -> None:
    # Names that are not UTF-8 must not break the message about them.
    shown_as = os.fsencode(file).decode(errors="backslashreplace")
    contents = read_file(file, shown_as)
    if contents.mistake is not None:
        merge.mistakes.append(contents.mistake)
        merge.unsettled.add(())

    def origin(path: Path) -> Origin:
        return Origin("file", shown_as, contents.lines.get(path, 0))

    def walk(table: dict[str, Any], known: Tree, above: Path) -> None:
        for name, value in table.items():
            path, entry = (*above, name), known.get(name)
            if entry is None:
                merge.unknown(path, origin(path))
            elif isinstance(entry, Key) and not entry.is_table:
                merge.put(entry, value, origin(path), text=False)
            elif not isinstance(value, dict):
                problem = f"{dotted(path)} = {shown(path, value)} does not fit: expected a table"
                merge.mistakes.append(Mistake(origin(path), problem, key=dotted(path)))
                merge.unsettled.add(path)
            elif isinstance(entry, Key):
                for nested, entry_value in _entries(value, path):
                    name = ".".join(nested[len(path) :])
                    merge.put(entry.entry(name), entry_value, origin(nested), text=False)
            else:
                walk(value, entry, path)

    walk(contents.table, tree(), ())


def _entries(table: dict[str, Any], above: Path) -> list[tuple[Path, Any]]:
    """Entries of a table key. Dots without quotes make tables of tables in TOML, and mean the same here."""
    found: list[tuple[Path, Any]] = []
    for name, value in table.items():
        found.extend(
            _entries(value, (*above, name)) if isinstance(value, dict) else [((*above, name), value)]
        )
    return found


def _take_environment(merge: _Merge, environ: Mapping[str, str]) -> None:
    for name in sorted(environ):
        if not name.startswith("SUPERVISOR_") or name == CONFIG_VARIABLE or name in _SUPERVISORD:
            continue
        origin = Origin("environment", name.encode(errors="backslashreplace").decode())
        key = _key_of_variable(name)
        if key is not None:
            merge.put(key, environ[name], origin, text=True)
        elif not _SERVICE_LINK.search(name):
            merge.unknown_variable(name, origin)


def _key_of_variable(name: str) -> Key | None:
    key = variables().get(name)
    if key is not None and not key.is_table:
        return key
    for prefix, table in variables().items():
        if table.is_table and name.startswith(f"{prefix}_") and len(name) > len(prefix) + 1:
            return table.entry(name[len(prefix) + 1 :].lower().replace("_", "."))
    return None


def _take_flag(merge: _Merge, flag: Flag) -> None:
    origin = Origin("flag", flag.name)
    try:
        path = parse(flag.key)
    except PathSyntaxError:
        problem = f"{shown((), flag.key)} is not the name of a key"
        merge.mistakes.append(Mistake(origin, problem, "write it as in olap.workers=4", key=""))
        return
    key = locate(path)
    if key is None:
        merge.unknown(path, origin)
    else:
        merge.put(key, flag.value, origin, text=isinstance(flag.value, str))


def _contradictions(merge: _Merge, settings: Settings, cpus: Set[int] | None) -> list[Mistake]:
    """Contradictions as mistakes, placed at the first of their keys that somebody set.

    One that involves a key with a mistake of its own is left out: it was judged by a value nobody meant.
    """
    origins = {dotted(path): origin for path, origin in merge.origins.items()}
    found = []
    for contradiction in contradictions(settings, cpus):
        if all(merge.settled(parse(key)) for key in contradiction.keys):
            set_here = [origins[key] for key in contradiction.keys if origins.get(key, DEFAULT) != DEFAULT]
            origin = set_here[0] if set_here else DEFAULT
            found.append(
                Mistake(origin, contradiction.problem, contradiction.hint, key=contradiction.keys[0])
            )
    return found
