"""The catalogue of bad events: what a topic that others write to will hold sooner or later.

Not all of them are undecodable: some are sound JSON that code tends to stumble over.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from msgspec import Struct

__all__ = ["KINDS", "Kind", "kind"]

_DEPTH = 3_000
_LONG = 100_000


class Kind(Struct, frozen=True):
    """One way for an event to be bad."""

    name: str
    why: str
    """What a reader might wrongly take for granted."""
    make: Callable[[Random, bytes], bytes | None]
    """From a good event, the value to send; None is a tombstone."""
    document: bool = False
    """Whether the value is one JSON object by the grammar, whatever it holds."""


def _cut(random: Random, event: bytes) -> int:
    return random.randrange(1, len(event) - 1)


def _wrong_types(random: Random, event: bytes) -> bytes:
    return (
        b'{"user_id":%d,"app_version":2.3,"device_type":["ios"],"ip":{"v4":"10.0.0.1"},'
        b'"locale":false,"device_id":[],"timestamp":{"at":1}}' % random.getrandbits(16)
    )


def _stamped(timestamp: bytes) -> Callable[[Random, bytes], bytes]:
    return lambda random, event: (
        b'{"user_id":"%032x","locale":"TX","timestamp":%b}'
        % (
            random.getrandbits(128),
            timestamp,
        )
    )


def _two_documents(random: Random, event: bytes) -> bytes:
    return event + random.choice((b"", b" ", b"\n")) + event


def _invalid_utf8(random: Random, event: bytes) -> bytes:
    return b'{"user_id":"\xff\xfe\xed\xa0\x80%x","locale":"NY"}' % random.getrandbits(32)


def _nested(random: Random, event: bytes) -> bytes:
    return b'{"user_id":' + b"[" * _DEPTH + b"]" * _DEPTH + b"}"


def _pretty_printed(random: Random, event: bytes) -> bytes:
    return event.replace(b',"', b',\n  "').replace(b"{", b"{\n  ", 1).replace(b"}", b"\n}\n")


KINDS: tuple[Kind, ...] = (
    Kind("undecodable", "that it is text", lambda r, _: b"\x00" + r.randbytes(40)),
    Kind("empty", "that there is a first byte", lambda r, _: b""),
    Kind("tombstone", "that a record has a value", lambda r, _: None),
    Kind("truncated", "that what begins as an object ends as one", lambda r, e: e[: _cut(r, e)]),
    Kind("remainder", "that joining values with newlines keeps them apart", lambda r, e: e[_cut(r, e) :]),
    Kind("two_documents", "that one record is one document", _two_documents),
    Kind(
        "not_an_object", "that JSON is an object", lambda r, _: r.choice((b"null", b"17", b'"TX"', b"[{}]"))
    ),
    Kind("invalid_utf8", "that a string is Unicode", _invalid_utf8),
    Kind(
        "lone_surrogate",
        "that a string can be encoded",
        lambda r, _: b'{"user_id":"\\ud800","locale":"NY"}',
        True,
    ),
    Kind("wrong_types", "that a field has its type", _wrong_types, True),
    Kind("far_future", "that an event lies in the past", _stamped(b"99999999999"), True),
    Kind("milliseconds", "that a timestamp is in seconds", _stamped(b"1694479551000"), True),
    Kind("before_1970", "that a timestamp is positive", _stamped(b"-62135596801"), True),
    Kind("huge_number", "that an integer fits 64 bits", _stamped(b"1" + b"0" * 40), True),
    Kind("nested", "that recursion ends soon", _nested, True),
    Kind("long_field", "that a field is short", lambda r, _: b'{"locale":"' + b"T" * _LONG + b'"}', True),
    Kind(
        "control_characters",
        "that a field can be shown on a terminal",
        lambda r, _: b'{"device_type":"\\u001b[2J\\u001b]0;pwned\\u0007","locale":"CA\\u0000\\u202e"}',
        True,
    ),
    Kind("pretty_printed", "that a document is one line", _pretty_printed, True),
)


def kind(name: str) -> Kind:
    """The kind of that name; KeyError if there is none."""
    for candidate in KINDS:
        if candidate.name == name:
            return candidate
    raise KeyError(name)
