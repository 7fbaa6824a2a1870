"""Which record kills its workers: deaths, narrowed down to one offset. Pure.

The board says which piece of a batch was in hand when a worker died: a range of up to some hundred offsets.
Its successor is told to go through that range one record at a time (a ``Suspect``), so that the next death
names a single offset. An offset with enough deaths is quarantined: it goes to the dead letters untouched.
Whatever is committed past was not it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from supervisor.contract.messages import Suspect
from supervisor.reporting.tally import Death
from supervisor.rules.policy import Cause, describe

__all__ = ["Suspicions", "counts"]

# Far more than a budget lets happen without progress; a bound all the same.
_REMEMBERED = 100

_COUNTED = {Cause.CRASH, Cause.OUT_OF_MEMORY, Cause.HUNG, Cause.KILLED}


def counts(cause: Cause) -> bool:
    """Whether a record may be what a worker died of.

    A kill from outside looks the same as one that a record brought about (an OOM killer nobody saw), so it
    counts; where the record was innocent, its successor gets past it, and the suspicion is gone.
    """
    return cause in _COUNTED


@dataclass(frozen=True)
class _Fatality:
    offset: int
    end: int
    alone: bool
    """It was the only record in hand. One that is merely left of a piece, the others being committed, is not
    named by that: whoever died there may have died of something else."""
    cause: str
    stack: str


class Suspicions:
    """What is suspected on each partition.

    A single offset's deaths are those that named it alone and, as one, those of pieces that held it: however
    often a whole piece was in hand, an innocent record in it must not add up to a culprit.
    """

    def __init__(self, deaths_needed: int) -> None:
        self._needed = deaths_needed
        self._fatalities: dict[int, deque[_Fatality]] = {}

    def adopt(self, deaths_needed: int) -> None:
        """Another number from now on, for the deaths that there were as well."""
        self._needed = deaths_needed

    def died(
        self, partition: int, in_hand: int, in_hand_end: int, committed: int, cause: str, stack: str = ""
    ) -> None:
        """A worker died, for a reason that :func:`counts`, with the offsets ``in_hand`` up to, not including,
        ``in_hand_end`` in hand. With nothing in hand, or what is committed since, nothing is suspected."""
        begin = max(in_hand, committed)
        if begin < in_hand_end:
            fatalities = self._fatalities.setdefault(partition, deque(maxlen=_REMEMBERED))
            fatalities.append(_Fatality(begin, in_hand_end, in_hand_end - in_hand == 1, cause, stack))

    def passed(self, partition: int, committed: int) -> None:
        """Everything below ``committed`` is done with: it was not it, or it is in the dead letters."""
        fatalities = self._fatalities.get(partition)
        if not fatalities or min(fatality.offset for fatality in fatalities) >= committed:
            return
        left = [
            replace(fatality, offset=max(fatality.offset, committed))
            for fatality in fatalities
            if fatality.end > committed
        ]
        if left:
            self._fatalities[partition] = deque(left, maxlen=_REMEMBERED)
        else:
            del self._fatalities[partition]

    def suspect(self, partition: int) -> Suspect | None:
        """What to tell the next owner of ``partition``, if anything.

        With ``quarantine`` the record at ``offset`` is the culprit; what is behind it up to ``end`` is still
        to be approached one record at a time.
        """
        fatalities = self._fatalities.get(partition)
        if not fatalities:
            return None
        end = max(fatality.end for fatality in fatalities)
        culprit = min(
            (
                f.offset
                for f in fatalities
                if f.alone and self._deaths_at(partition, f.offset) >= self._needed
            ),
            default=None,
        )
        offset = min(f.offset for f in fatalities) if culprit is None else culprit
        blamed = [f for f in fatalities if culprit is None or f.offset <= culprit < f.end]
        deaths = max(self._deaths_at(partition, fatality.offset) for fatality in blamed)
        last = blamed[-1]
        return Suspect(partition, offset, end, deaths, culprit is not None, last.cause, last.stack)

    def load(self, deaths: Iterable[Death]) -> None:
        """Take up what an earlier supervisor knew, the oldest first. What has been committed since is cleared
        by :meth:`passed`, as always; until then its owners are a little careful for nothing."""
        for death in deaths:
            cause = Cause.__members__.get(death.cause.upper())
            if cause is None or not counts(cause):
                continue
            if death.partition is not None and death.offset is not None and death.offset_end is not None:
                how = describe(cause, death.exit_code)
                self.died(death.partition, death.offset, death.offset_end, 0, how, death.stack_tail)

    def _deaths_at(self, partition: int, offset: int) -> int:
        there = [f for f in self._fatalities[partition] if f.offset <= offset < f.end]
        alone = sum(fatality.alone for fatality in there)
        return alone + (alone < len(there))
