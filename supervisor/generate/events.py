"""Login events as they really come in, from a seed: the same seed and clock give the same events."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Literal, get_args
from uuid import UUID

import msgspec
from msgspec import Struct

from supervisor.generate.malformed import KINDS

__all__ = ["KEYS", "KeyField", "KeyedValue", "Timestamps", "events"]

KeyedValue = tuple[bytes | None, bytes | None]
"""Key and value of a record."""
KeyField = Literal["none", "locale", "device_type", "user_id"]
KEYS: tuple[KeyField, ...] = get_args(KeyField)
Timestamps = Literal["now", "day"]

_USERS = 5_000
_DAY_S = 86_400
# Shares of events; the documented sample has a string, the observed stream integers.
_STRING_TIMESTAMPS = 0.1
_IRREGULAR = 0.02
# Of users.
_NO_DEVICE_TYPE = 0.05
_NUMBERED_DEVICE = 0.05
# Millions of inhabitants, roughly, so that "which region" has an answer.
_STATES = {
    "CA": 39, "TX": 31, "FL": 23, "NY": 20, "PA": 13, "IL": 12.5, "OH": 12, "GA": 11, "NC": 11, "MI": 10,
    "NJ": 9.5, "VA": 9, "WA": 8, "AZ": 7.5, "TN": 7, "MA": 7, "IN": 7, "MO": 6, "MD": 6, "WI": 6, "CO": 6,
    "MN": 6, "SC": 5.5, "AL": 5, "LA": 4.5, "KY": 4.5, "OR": 4, "OK": 4, "CT": 3.6, "UT": 3.4, "IA": 3,
    "NV": 3, "AR": 3, "MS": 3, "KS": 3, "NM": 2, "NE": 2, "ID": 2, "WV": 1.8, "HI": 1.4, "NH": 1.4, "ME": 1.4,
    "MT": 1.1, "RI": 1.1, "DE": 1, "SD": 0.9, "ND": 0.8, "AK": 0.7, "VT": 0.6, "WY": 0.6,
    "RU": 4,
}  # fmt: skip
_DEVICES = {"android": 47, "iOS": 43, "web": 8, "tv": 2}
_VERSIONS = {"2.3.0": 60, "2.2.1": 20, "2.1.0": 12, "1.9.4": 7, "3.0.0-rc.1": 1}
# Logins per hour of the day, UTC, from midnight on: most in the evening.
_HOURS = (3, 2, 1, 1, 1, 2, 4, 6, 8, 8, 7, 7, 9, 9, 8, 8, 9, 11, 16, 18, 17, 13, 8, 5)


class _User(Struct, frozen=True):
    fields: dict[str, str]
    head: bytes
    """The event as JSON up to the value of its timestamp."""
    key: bytes | None


def events(
    seed: int,
    *,
    key: KeyField = "none",
    bad: float = 0.0,
    timestamps: Timestamps = "now",
    clock: Callable[[], float] = time.time,
    tally: Counter[str] | None = None,
) -> Iterator[KeyedValue]:
    """Endless login events as key and value.

    ``bad`` is the share, 0 to 1, that comes from the catalogue in :mod:`supervisor.generate.malformed`,
    each kind in turn; ``tally`` counts them by name. ``clock`` tells seconds since 1970; ``timestamps="day"``
    spreads the events over the 24 hours before it. ``key`` names the field whose value is the record's key.
    """
    random = Random(seed)
    users = [_user(random, key) for _ in range(_USERS)]
    kinds = itertools.cycle(KINDS)
    draw, regular_from = random.random, bad + (1 - bad) * _IRREGULAR
    ago = _ago(random) if timestamps == "day" else None
    while True:
        user = users[int(draw() * _USERS)]
        now = int(clock())
        timestamp = now if ago is None else now - ago(now)
        value = (b'%b"%d"}' if draw() < _STRING_TIMESTAMPS else b"%b%d}") % (user.head, timestamp)
        share = draw()
        if share >= regular_from:
            yield user.key, value
        elif share >= bad:
            yield _irregular(random, user, key, timestamp)
        else:
            kind = next(kinds)
            if tally is not None:
                tally[kind.name] += 1
            yield user.key, kind.make(random, value)


def _user(random: Random, key: KeyField) -> _User:
    fields = {
        "user_id": _uuid(random),
        "app_version": _pick(random, _VERSIONS),
        "device_type": _pick(random, _DEVICES),
        "ip": ".".join(str(random.randrange(1, 255)) for _ in range(4)),
        "locale": _pick(random, _STATES),
        "device_id": _uuid(random),
    }
    if random.random() < _NUMBERED_DEVICE:
        fields["device_id"] = (
            f"{random.randrange(100, 1000)}-{random.randrange(10, 100)}-{random.randrange(1000, 10_000)}"
        )
    if random.random() < _NO_DEVICE_TYPE:
        del fields["device_type"]
    return _User(fields, msgspec.json.encode(fields)[:-1] + b',"timestamp":', _key(fields, key))


def _irregular(random: Random, user: _User, key: KeyField, timestamp: int) -> KeyedValue:
    """One field absent or null; now and then all of them."""
    fields: dict[str, str | int | None] = {**user.fields, "timestamp": timestamp}
    if random.random() < 0.01:
        return None, b"{}"
    name = random.choice(list(fields))
    if random.random() < 0.5:
        del fields[name]
    else:
        fields[name] = None
    return _key(fields, key), msgspec.json.encode(fields)


def _key(fields: dict[str, str] | dict[str, str | int | None], key: KeyField) -> bytes | None:
    value = fields.get(key)
    return value.encode() if isinstance(value, str) else None


def _ago(random: Random) -> Callable[[int], int]:
    """How many seconds before a moment an event was, so that hours of the day are as in ``_HOURS``."""
    hours = [hour for hour, weight in enumerate(_HOURS) for _ in range(weight)]
    draw, choices = random.random, len(hours)

    def ago(now: int) -> int:
        second_of_day = hours[int(draw() * choices)] * 3600 + int(draw() * 3600)
        return (now - second_of_day) % _DAY_S

    return ago


def _uuid(random: Random) -> str:
    return str(UUID(int=random.getrandbits(128), version=4))


def _pick(random: Random, weights: dict[str, float] | dict[str, int]) -> str:
    return random.choices(list(weights), list(weights.values()))[0]
