"""Judges one value against its key's type, says what would fit, and shows values but for secrets."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import inspect as types

from supervisor.config.keys import Key, Path, quoted

__all__ = [
    "REDACTED",
    "UnfitError",
    "convert",
    "expected",
    "from_text",
    "is_secret",
    "literal",
    "shown",
    "without_secrets",
]

REDACTED = "<redacted>"

_LARGEST = 2**63 - 1
_SHOWN_LENGTH = 60


class UnfitError(ValueError):
    """The value does not fit its key; the message says what would."""


def convert(key: Key, value: object) -> Any:
    """``value`` (plain data, as TOML gives it) as the type of ``key``. Raises UnfitError."""
    return _convert(key, value, strict=True)


def from_text(key: Key, text: str) -> Any:
    """The text of a variable or a flag as the type of ``key``; lists have commas. Raises UnfitError."""
    if isinstance(key.type, types.ListType):
        parts = [part.strip() for part in text.split(",")] if text.strip() else []
        return _convert(key, parts, strict=False)
    return _convert(key, text if _takes_text(key.type) else text.strip(), strict=False)


def _convert(key: Key, value: object, *, strict: bool) -> Any:
    _refuse_unusable(value)  # before msgspec, which raises another error for text that is not UTF-8
    try:
        result = msgspec.convert(value, key.annotation, strict=strict)
    except msgspec.ValidationError:
        raise UnfitError(expected(key.type)) from None
    _refuse_unusable(result)  # and after, since text may have become a number
    return result


def _refuse_unusable(item: object) -> None:
    """Refuse what the types let through and no later step can use."""
    if isinstance(item, list):
        for part in item:
            _refuse_unusable(part)
    if isinstance(item, float) and not math.isfinite(item):
        raise UnfitError("a finite number")
    if isinstance(item, int) and not -_LARGEST - 1 <= item <= _LARGEST:
        raise UnfitError("a number of at most 64 bits")
    if isinstance(item, str):
        if "\0" in item:
            raise UnfitError("text without NUL characters")
        try:
            item.encode()
        except UnicodeEncodeError:  # bytes of the environment or the command line that are not UTF-8
            raise UnfitError("text in UTF-8") from None


def _takes_text(type_: types.Type) -> bool:
    if isinstance(type_, types.UnionType):
        return any(_takes_text(option) for option in type_.types)
    return isinstance(type_, types.StrType)


def expected(type_: types.Type) -> str:
    """What fits a type, in words: ``a whole number from 0 to 19``."""
    match type_:
        case types.Metadata():
            described = (type_.extra_json_schema or {}).get("description")
            return str(described) if described else expected(type_.type)
        case types.BoolType():
            return "true or false"
        case types.IntType():
            return "a whole number" + _bounds(type_)
        case types.FloatType():
            return "a number" + _bounds(type_)
        case types.StrType():
            return "text" + _text_limits(type_)
        case types.LiteralType():
            return "one of " + ", ".join(literal(value) for value in type_.values)
        case types.ListType():
            return f"a list, each {expected(type_.item_type)}"
        case types.DictType():
            return "a table"
        case types.UnionType():
            return _union(type_)
    return "a value of another type"


def _union(type_: types.UnionType) -> str:
    options = [option for option in type_.types if not isinstance(option, types.NoneType)]
    if any(isinstance(option, types.IntType) for option in options):
        # A float takes whole numbers too: naming both would only be longer.
        options = [option for option in options if not isinstance(option, types.FloatType)] or options
    return " or ".join(expected(option) for option in options)


def _bounds(type_: types.IntType | types.FloatType) -> str:
    if type_.ge is not None and type_.le is not None:
        return f" from {_number(type_.ge)} to {_number(type_.le)}"
    limits = {"above": type_.gt, "of at least": type_.ge, "below": type_.lt, "of at most": type_.le}
    named = [f"{word} {_number(limit)}" for word, limit in limits.items() if limit is not None]
    return " " + " and ".join(named) if named else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _text_limits(type_: types.StrType) -> str:
    limits = []
    if type_.min_length:
        limits.append("not empty" if type_.min_length == 1 else f"at least {type_.min_length} characters")
    if type_.max_length:
        limits.append(f"at most {type_.max_length} characters")
    if type_.pattern:
        limits.append(f"matching {type_.pattern}")
    return f" ({', '.join(limits)})" if limits else ""


# Names of librdkafka properties whose values open a door. What merely points at a secret (a file, a URL, an
# id) is not one. `sasl.oauthbearer.config` and `kinit.cmd` are free text in which passwords are usual.
_SECRET = re.compile(
    r"pas+w|passphrase|pwd|secret|credential|token|jaas|assertion|private"
    r"|(^|[._-])(key|pem|config|cmd)($|[._-])",
    re.IGNORECASE,
)
_POINTER = re.compile(
    r"[._-](location|file|path|paths|url|uri|id|type|method|algorithm|scope|seconds|ms)$"
    r"|^ssl\.(ca|certificate)\.pem$"
    r"|^sasl\.oauthbearer\.assertion\.(claim|jwt)\.",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(r"PRIVATE KEY|\bpassword\s*=|://[^/\s]*:[^/\s]*@", re.IGNORECASE)


def is_secret(path: Path, value: object) -> bool:
    """Whether ``value`` of the key at ``path`` must not be shown.

    Anything may be passed through to librdkafka, so the name decides there, and in doubt it is a secret.
    Everywhere a value that plainly holds a private key, a password or credentials in a URL is one as well.
    """
    if path[:2] == ("kafka", "client"):
        name = ".".join(path[2:])
        if not name and value:
            return True  # something else where the table should be, or the whole of it
        if _SECRET.search(name) and not _POINTER.search(name):
            return True
    if path == ("hooks", "webhook") and value:
        return True  # whoever knows such an address may post there; many have a token in their path
    if isinstance(value, list):
        return any(is_secret(path, item) for item in value)
    return isinstance(value, str) and _SECRET_VALUE.search(value) is not None


def without_secrets(text: str, client: Mapping[str, object]) -> str:
    """``text`` of librdkafka's, which may quote part of a value, without four letters of a secret.

    ``client`` has the entries of ``kafka.client``, and may have more.
    """
    for name, value in client.items():
        if is_secret(("kafka", "client", name), value):
            while True:
                found = difflib.SequenceMatcher(None, text, str(value), autojunk=False).find_longest_match()
                if found.size < 4:
                    break
                text = text[: found.a] + "\0" + text[found.a + found.size :]  # no value contains NUL
    return re.sub("\0+", REDACTED, text)


def _nested(item: object) -> bool:
    return isinstance(item, dict | list)


def literal(value: object) -> str:
    """``value`` as TOML writes it; None, which TOML lacks, as ``(not set)``."""
    match value:
        case None:
            return "(not set)"
        case bool():
            return "true" if value else "false"
        case str():
            return quoted(value)
        case list():
            return "[" + ", ".join(literal(item) for item in value) + "]"
        case dict():
            return "{" + ", ".join(f"{quoted(name)} = {literal(item)}" for name, item in value.items()) + "}"
    return str(value)


def shown(path: Path, value: object, length: int | None = _SHOWN_LENGTH) -> str:
    """``value`` for a person's eyes: redacted if secret, cut to ``length``, with nothing a terminal obeys."""
    if is_secret(path, value):
        return REDACTED
    if isinstance(value, int) and not isinstance(value, bool) and not -_LARGEST - 1 <= value <= _LARGEST:
        return "a number of more than 64 bits"
    if (isinstance(value, dict) and value) or (isinstance(value, list) and any(map(_nested, value))):
        return "a table" if isinstance(value, dict) else "a list of tables or lists"
    text = "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in literal(value))
    return text if length is None or len(text) <= length else text[: length - 1] + "…"
