"""What the real-time worker asks of a sink, and what a sink may answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from supervisor.contract.faults import Fault

__all__ = ["Sink", "SinkClosed", "SinkFault", "SinkInUse", "SinkLost", "SinkUnavailable"]


class Sink(Protocol):
    """Takes events, at least once, as encoded JSON lines.

    The worker's side of the contract::

        sink.write(lines)      # after each batch
        sink.poll()            # after each batch, and at least every 100 ms
        sink.flush()           # before offsets are committed: if it returns, the lines are out

    Lines handed to ``write`` are the sink's from then on, whether or not it raises: they are never to be
    handed over a second time. No method waits for a reader longer than 50 ms.
    """

    name: str

    def write(self, lines: Sequence[bytes]) -> None:
        """Take lines over, each one JSON document without its newline, and put out what goes at once."""

    def flush(self) -> None:
        """Return when every line taken over has been given to the operating system, else raise."""

    def poll(self) -> None:
        """Do whatever is due besides writing. Never raises for what a reader does."""

    def reopen(self) -> None:
        """Go on in the file that now has our name (SIGUSR1, after logrotate); elsewhere nothing."""

    def close(self) -> None:
        """Put out what can be put out at once and let go of everything. Harmless when repeated."""


class SinkFault(Fault):
    """A sink cannot go on as it was asked to. No offset may be committed for what it holds."""


class SinkUnavailable(SinkFault):
    """Full disk, slow reader: the sink keeps its lines. Stop consuming, call ``flush`` until it returns."""


class SinkLost(SinkFault):
    """Lines taken over since the last ``flush`` are gone; it works again. Go back to what is committed."""


class SinkClosed(SinkFault):
    """The reader has gone for good. Drop this sink, or end."""


class SinkInUse(SinkFault):
    """Another process writes there."""
