"""What a peer's application is told on its command line, and the login pipeline for one record."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Task", "told", "transformation"]


@dataclass(frozen=True)
class Task:
    servers: str
    source: str
    """Topic to read, from its beginning."""
    target: str
    """Topic to write; its name is unique, so that it serves for the group's name, too."""
    directory: str
    """For state and the like."""
    index: int
    """Which of the ``count`` processes this is."""
    count: int
    ports: list[int]
    """Free ones on loopback, one for each process."""
    options: dict[str, Any]


def told() -> Task:
    """The task, from the last argument."""
    return Task(**json.loads(sys.argv[-1]))


def transformation() -> Callable[[bytes], bytes]:
    """The product's own login pipeline, over one record: the peers are to differ in what is around it."""
    import msgspec

    from workers.logins import Event, enrich

    decode = msgspec.json.Decoder(Event).decode
    encode = msgspec.json.Encoder().encode

    def transform(value: bytes) -> bytes:
        return encode(enrich(decode(value))[0])

    return transform
