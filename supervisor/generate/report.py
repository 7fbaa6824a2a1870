"""What became of the events."""

from __future__ import annotations

from msgspec import Struct, field

__all__ = ["Report"]


class Report(Struct, frozen=True):
    """Counts of events since the start; when the generator has ended, each is acknowledged or failed."""

    produced: int = 0
    """Handed to the client."""
    acknowledged: int = 0
    """Written to all in-sync replicas, as told by the brokers."""
    failed: int = 0
    """Given up, so that nobody can say whether they were written."""
    bad_sent: int = 0
    """Of those produced, how many are from the catalogue of bad events."""
    seconds: float = 0.0
    causes: dict[str, int] = field(default_factory=dict)
    """Failed events by the error's name."""
    bad_kinds: dict[str, int] = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        """Produced, with neither an acknowledgement nor a failure yet."""
        return self.produced - self.acknowledged - self.failed
