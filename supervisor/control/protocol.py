"""What goes over the control socket: one request, then replies until the last one, each a JSON line.

``docs/control.md`` describes it for people who write a client of their own.
"""

from __future__ import annotations

from typing import Annotated, Protocol

from msgspec import Meta, Struct
from msgspec.json import Decoder, Encoder
from msgspec.structs import asdict, replace

from supervisor.contract.exits import Exit
from supervisor.contract.faults import Fault
from supervisor.reporting.journal import Happening

__all__ = [
    "CONTROL_SOCKET",
    "MAX_REQUEST_BYTES",
    "Accepted",
    "Commands",
    "Ended",
    "Events",
    "Happened",
    "Ping",
    "Reload",
    "Reply",
    "Request",
    "Restart",
    "Said",
    "Scale",
    "Stop",
    "Talk",
    "decode_reply",
    "decode_request",
    "encode",
    "failed",
]

CONTROL_SOCKET = "control.sock"
"""In the run directory."""
MAX_REQUEST_BYTES = 64 * 1024


class _Request(Struct, frozen=True, tag_field="request", tag=str.lower, forbid_unknown_fields=True):
    """A member that nobody knows is refused: a client that means something by it is not to be half obeyed."""


class Ping(_Request, frozen=True):
    """Is anybody there?"""


class Restart(_Request, frozen=True):
    """Replace the process of one worker, or of all of them one after the other."""

    worker: Annotated[str, Meta(max_length=100)] | None = None


class Reload(_Request, frozen=True):
    """Read configuration and code anew, and replace the workers that are touched by what has changed."""

    everything: bool = False
    """Replace all workers, whatever has changed."""


class Scale(_Request, frozen=True):
    """Have another number of OLAP workers: ``workers``, or ``by`` more (fewer, if negative) than now."""

    workers: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    by: Annotated[int, Meta(ge=-1_000_000, le=1_000_000)] = 0


class Stop(_Request, frozen=True):
    """Drain and end; ``quick`` waits for no work in hand."""

    quick: bool = False


class Events(_Request, frozen=True):
    """What has happened since ``since`` (as :attr:`Happening.time`), and what happens from now on."""

    since: Annotated[str, Meta(max_length=40)] = ""
    follow: bool = True


Request = Ping | Restart | Reload | Scale | Stop | Events


class _Reply(Struct, frozen=True, tag_field="reply", tag=str.lower):
    pass


class Accepted(_Reply, frozen=True):
    """The request was understood; the rest may take its time."""

    pid: int


class Said(_Reply, frozen=True):
    """How far it is."""

    text: str


class Happened(_Reply, frozen=True):
    happening: Happening


class Ended(_Reply, frozen=True):
    """The last reply."""

    ok: bool
    text: str
    remedy: str = ""
    exit_code: int = Exit.OK
    """What a command that asked is to end with: one of ``contract.exits.Exit``."""


Reply = Accepted | Said | Happened | Ended


class Talk(Protocol):
    """To whoever gave a command. It outlives their connection: what is said then is heard by nobody, and the
    work goes on."""

    def say(self, text: str) -> None:
        """How far the work is."""

    def end(self, outcome: Ended) -> None:
        """The work is done, or has failed; only the first end counts."""


class Commands(Protocol):
    """What the supervisor can be told. None of them blocks: each begins the work and ends the talk later.

    A :class:`Fault` that is raised ends the talk.
    """

    def restart(self, worker: str | None, talk: Talk) -> None: ...

    def reload(self, everything: bool, talk: Talk) -> None: ...

    def scale(self, workers: int | None, by: int, talk: Talk) -> None: ...

    def stop(self, quick: bool, talk: Talk) -> None: ...


def failed(fault: Fault) -> Ended:
    """The end of something that could not be done."""
    return Ended(False, fault.cause, fault.remedy, fault.exit_code)


_encode = Encoder().encode
_requests: Decoder[Request] = Decoder(Request)
_replies: Decoder[Reply] = Decoder(Reply)


def encode(message: Request | Reply) -> bytes:
    """``message`` as one line. What is not text, such as bytes in a file name, becomes question marks."""
    try:
        return _encode(message) + b"\n"
    except UnicodeEncodeError:
        mended = {
            name: value.encode("utf-8", "replace").decode()
            for name, value in asdict(message).items()
            if isinstance(value, str)
        }
        return _encode(replace(message, **mended)) + b"\n"


def decode_request(line: bytes) -> Request:
    """Raises ``ValueError`` for what is none: no JSON, not UTF-8, no such request or member."""
    try:
        return _requests.decode(line)
    except RecursionError as error:  # arrays in arrays in arrays …
        raise ValueError("it is nested too deeply") from error


def decode_reply(line: bytes) -> Reply:
    """Raises ``ValueError`` for what is none."""
    return _replies.decode(line)
