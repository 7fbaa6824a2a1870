"""What an audit found, and a few examples of it."""

from __future__ import annotations

from msgspec import Struct, field

__all__ = ["Audit", "Findings"]

_EXAMPLES = 5


class Findings(Struct):
    """How many there are, and the first few of them in words. True if there is any."""

    total: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str, times: int = 1) -> None:
        self.total += times
        if len(self.examples) < _EXAMPLES:
            self.examples.append(example)

    def __bool__(self) -> bool:
        return self.total > 0


class Audit(Struct):
    """What was read back from the topics, against what ought to be there.

    A changed payload shows as one lost and one duplicated: the expected one is missing, and there is one
    that nobody expected.
    """

    events_in: int = 0
    outputs: int = 0
    dead_letters: int = 0
    filtered: int = 0
    """Events that the pipeline drops on purpose."""
    lost: Findings = field(default_factory=Findings)
    """Events with neither the output nor the dead letter that they ought to have."""
    duplicated: Findings = field(default_factory=Findings)
    """Outputs and dead letters that are there too often, or ought not to be there at all."""
    wrong_counts: Findings = field(default_factory=Findings)
    """Counts of the aggregates that differ from the recount of the output."""

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.wrong_counts)
