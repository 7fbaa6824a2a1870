"""What the supervisor and a worker say to each other over the pipe between them: one JSON document a message.

Numbers that change all the time stand on the board; the pipe carries what happens once.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.json import Decoder, Encoder

__all__ = [
    "Command",
    "Failed",
    "Found",
    "Owned",
    "Report",
    "Serve",
    "Standby",
    "Stop",
    "decode_command",
    "decode_report",
    "encode",
]

WorkerRole = Literal["olap", "realtime", "probe"]


class Serve(Struct, frozen=True, tag=True):
    """To a worker in standby: take this role."""

    role: WorkerRole
    index: int
    partitions: tuple[int, ...]
    cpus: tuple[int, ...]
    nice: int
    contested: bool = False
    """The predecessor was fenced: look whether somebody else is at work before taking over."""


class Stop(Struct, frozen=True, tag=True):
    """To a worker: drain and end within this many seconds."""

    seconds: float


class Standby(Struct, frozen=True, tag=True):
    """From a worker: imported and configured, waiting for a role."""


class Owned(Struct, frozen=True, tag=True):
    """From a worker: the partitions of its role are owned and the first fetch is out."""

    partitions: tuple[int, ...]


class Found(Struct, frozen=True, tag=True):
    """From the probe: what the cluster has."""

    partitions: int
    cluster_id: str
    brokers: int


class Failed(Struct, frozen=True, tag=True):
    """From a worker, before it ends by its own decision."""

    cause: str
    remedy: str
    exit_code: int
    partition: int | None = None
    offset: int | None = None


Command = Serve | Stop
Report = Standby | Owned | Found | Failed

_encoder = Encoder()
encode = _encoder.encode
decode_command = Decoder(Command).decode
decode_report = Decoder(Report).decode
