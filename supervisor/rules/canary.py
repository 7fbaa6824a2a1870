"""Whether the first worker of a reload does worse than the one it has replaced. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, lgamma

__all__ = ["Sample", "compare"]

_CHANCE = 0.001
_FEWEST = 3
_TIMES = 2.0
_FLOOR = 0.001
_SLOWER = 0.5
_ENOUGH_EVENTS = 100


@dataclass(frozen=True)
class Sample:
    """What one worker committed while it was watched."""

    events: int
    """Records processed and committed, dead letters among them."""
    dead_letters: int
    seconds: float
    """For how long it had work to do."""

    @property
    def share(self) -> float:
        """Of dead letters among events."""
        return self.dead_letters / self.events if self.events else 0.0

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds if self.seconds > 0 else 0.0


def compare(before: Sample, after: Sample, lag: int) -> str | None:
    """Why ``after`` is worse than ``before``, in words, or ``None`` if it is not.

    ``lag`` is the least lag that was seen while ``after`` was watched: zero if it had caught up at any time.

    1. It committed nothing although there was lag all the time.
    2. Its share of dead letters is clearly above. It has three or more; the share is more than twice as high
       (or that of the others less than half), and higher by more than 1 in 1,000; and by chance it would be
       as high in less than 1 of 1,000 cases (Fisher's exact test, one-sided). So 3 dead letters of 3 events
       after 0 of 1,000 are worse; 3 of 200 after 5 of 1,000 are not.
    3. It is slower than half of before, per second, while it was behind by more than a second's worth of
       before all the time; looked at only where 100 events or more were to be expected.
    """
    if after.events == 0 and lag > 0:
        return f"it committed nothing in {after.seconds:.1f} s with a lag of {lag:,}"
    if _clearly_above(before, after):
        return f"{after.share:.1%} of its events became dead letters, {before.share:.1%} before"
    expected = before.rate * after.seconds
    if lag > before.rate and expected >= _ENOUGH_EVENTS and after.events < _SLOWER * expected:
        return f"it commits {after.rate:,.0f} events/s with a lag of {lag:,}, {before.rate:,.0f} before"
    return None


def _clearly_above(before: Sample, after: Sample) -> bool:
    if not before.events or after.dead_letters < _FEWEST or after.share <= before.share + _FLOOR:
        return False
    # Above one half nothing is twice as high, and yet all may be lost that was not.
    much = after.share > _TIMES * before.share or (1 - before.share) > _TIMES * (1 - after.share)
    return much and _chance(before, after) < _CHANCE


def _chance(before: Sample, after: Sample) -> float:
    """The probability that of all dead letters as many as this or more fall to ``after`` by chance alone.

    Called with a share above the mean only, where each term is less than the one before: the sum ends soon,
    whatever the counts.
    """
    total = before.events + after.events
    bad = before.dead_letters + after.dead_letters
    drawn, found = after.events, after.dead_letters
    term = exp(_choose(bad, found) + _choose(total - bad, drawn - found) - _choose(total, drawn))
    chance = 0.0
    while found <= min(bad, drawn) and term > chance * 1e-9:
        chance += term
        term *= (bad - found) * (drawn - found) / ((found + 1) * (total - bad - drawn + found + 1))
        found += 1
    return chance


def _choose(whole: int, part: int) -> float:
    """The logarithm of the binomial coefficient."""
    return lgamma(whole + 1) - lgamma(part + 1) - lgamma(whole - part + 1)
