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
    "Prepare",
    "Prepared",
    "Reopen",
    "Report",
    "Serve",
    "Standby",
    "Stop",
    "Suspect",
    "decode_command",
    "decode_report",
    "encode",
]

WorkerRole = Literal["olap", "realtime", "probe"]


class Suspect(Struct, frozen=True):
    """A record at which workers died: it is approached one record at a time, and quarantined if so said."""

    partition: int
    offset: int
    """The first offset of the batch that was in hand."""
    end: int
    """The offset behind that batch. While ``end - offset`` is more than one, any of them may be it."""
    deaths: int
    quarantine: bool
    """Send the record at ``offset`` to the dead letters without touching it, and go on behind it."""
    cause: str
    """How the last worker died, in words: ``SIGSEGV``, ``hang``, ``out of memory``."""
    stack: str
    """The end of that worker's stack dump, or nothing."""


class Prepare(Struct, frozen=True, tag=True):
    """To a worker in standby: these partitions will likely be its next. Do what can be done before, and say
    when that is done."""

    partitions: tuple[int, ...]
    cpus: tuple[int, ...] = ()
    """Those the role will have, if not all."""


class Serve(Struct, frozen=True, tag=True):
    """To a worker in standby: take this role."""

    role: WorkerRole
    index: int
    partitions: tuple[int, ...]
    cpus: tuple[int, ...]
    nice: int
    contested: bool = False
    """The predecessor was fenced: look whether somebody else is at work before taking over."""
    suspects: tuple[Suspect, ...] = ()
    """Records that killed predecessors, at most one a partition."""
    topic_id: str = ""
    """Of the input, as far as is known."""


class Stop(Struct, frozen=True, tag=True):
    """To a worker: drain and end within this many seconds."""

    seconds: float


class Reopen(Struct, frozen=True, tag=True):
    """To a worker: open the log files anew; somebody has moved them."""


class Standby(Struct, frozen=True, tag=True):
    """From a worker: imported and configured, waiting for a role."""

    code: str = ""
    """A fingerprint of the code it has imported, but for the standard library and installed packages."""


class Prepared(Struct, frozen=True, tag=True):
    """From a worker: what can be done for these partitions before they are its own is done, or has failed."""

    partitions: tuple[int, ...]


class Owned(Struct, frozen=True, tag=True):
    """From a worker: the partitions of its role are owned; an OLAP worker has also fetched once, and
    committed what there was."""

    partitions: tuple[int, ...]


class Found(Struct, frozen=True, tag=True):
    """From the probe: what the cluster has; again whenever the number of partitions has grown."""

    partitions: int
    cluster_id: str
    brokers: int
    topic_id: str
    """Of the input: another one once it was deleted and created anew."""


class Failed(Struct, frozen=True, tag=True):
    """From a worker, before it ends by its own decision."""

    cause: str
    remedy: str
    exit_code: int
    partition: int | None = None
    offset: int | None = None


Command = Prepare | Serve | Stop | Reopen
Report = Standby | Prepared | Owned | Found | Failed

_encoder = Encoder()
encode = _encoder.encode
decode_command = Decoder(Command).decode
decode_report = Decoder(Report).decode
