"""How late the real-time side shows events, lately, by what it counts on the board. Pure.

The age of an event at delivery is the real-time worker's clock minus the record's timestamp. That is not what
brokers and OLAP workers do to it alone: producers on other hosts have other clocks, their clients wait for
batches to fill, records may bear old timestamps. What these add does not change with the OLAP rate. So it is
taken as LEDBAT takes a one-way delay (RFC 6817): what counts is how much more it is than the least of the
last minutes. Clocks do not have to agree for that; a step of one of them is over when its minute is
forgotten. A clock that is ahead of ours hides that much: negative ages are counted as zero.

An age also comes of the worker itself: after a restart it goes through what it has missed. Until it has been
at the end of the partitions once, its ages say nothing, and it is taken for silent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from supervisor.contract.histogram import lower_bound

__all__ = ["Delay", "Look"]

_SHORT_S = 0.4
_LONG_S = 2.0
_LEAST_WINDOW_S = 60.0
_LEAST_WINDOWS = 5
# Fewer than these say nothing about a tenth of them, or a hundredth.
_ENOUGH_SHORT = 10
_ENOUGH_LONG = 100
_CAUGHT_UP_S = 1.0
_CAUGHT_UP_EVENTS = 100
_A_FEW = 0.05

_Entry = tuple[float, int, list[tuple[int, int]]]
"""When, how many events, and how many in which bucket."""


@dataclass(frozen=True)
class Look:
    """What was seen of the last moments, in milliseconds beyond the least."""

    p90_ms: float
    """Of the last :data:`_SHORT_S`, or of at least ten events; of all there are where there are fewer. A
    smaller percentile, and of the last :data:`_LONG_S`, where more than a few are forgiven."""
    p99_ms: float
    """Of the last :data:`_LONG_S`. A smaller percentile where more than one in a hundred is forgiven."""
    unforgiven_ms: float
    """The 99th percentile of the last :data:`_LONG_S` with nothing forgiven, which is what is told."""
    events: int
    """Delivered within the last :data:`_SHORT_S`."""


class Delay:
    """Fed with the counts of the histogram again and again; times are monotonic seconds.

    Late is what is more than ``late_ms`` beyond the least.
    """

    def __init__(self, late_ms: float) -> None:
        self._late_ms = late_ms
        self._source: object = None
        self._before: list[int] = []
        self._recent: deque[_Entry] = deque()
        self._least: deque[tuple[float, int]] = deque()
        self._caught_up = False
        self._heard_s = float("-inf")
        self._began_s = 0.0
        self._settled_s = float("-inf")

    @property
    def heard_s(self) -> float:
        """When events were last delivered that say something; minus infinity before."""
        return self._heard_s

    @property
    def caught_up(self) -> bool:
        """Whether the worker has been at the end of what there is."""
        return self._caught_up

    def feed(self, source: object, counts: Sequence[int], lag: int, now_s: float) -> tuple[int, int] | None:
        """``counts`` is the histogram of the process ``source``, ``lag`` what it has not read yet.

        Returns how many events were late, and of how many, that were shown since the last call; ``None``
        where there were none, or they say nothing.
        """
        if source != self._source or len(counts) != len(self._before):
            self._source, self._before = source, list(counts)
            self._recent.clear()
            self._caught_up = False
            self._began_s = now_s
            return None
        delta = [
            (bucket, after - before)
            for bucket, (after, before) in enumerate(zip(counts, self._before, strict=True))
            if after > before
        ]
        self._before = list(counts)
        if not delta:
            return None
        number = sum(count for _, count in delta)
        rate = number / max(0.1, now_s - self._began_s)
        self._began_s = now_s
        if not self._caught_up:
            self._caught_up = lag <= max(_CAUGHT_UP_EVENTS, rate * _CAUGHT_UP_S)
            return None
        self._heard_s = now_s
        self._remember_least(lower_bound(delta[0][0]), now_s)
        if now_s >= self._settled_s:
            self._recent.append((now_s, number, delta))
            while self._recent and self._recent[0][0] <= now_s - _LONG_S - 0.001 and len(self._recent) > 1:
                self._recent.popleft()
        bound = self._least_ms + self._late_ms
        return sum(count for bucket, count in delta if lower_bound(bucket) > bound), number

    def settle(self, moment_s: float) -> None:
        """What is delivered before ``moment_s`` was under another rate, and is not looked at."""
        self._recent.clear()
        self._settled_s = moment_s

    def _remember_least(self, least_ms: int, now_s: float) -> None:
        if not self._least or now_s - self._least[-1][0] >= _LEAST_WINDOW_S:
            self._least.append((now_s, least_ms))
            while len(self._least) > _LEAST_WINDOWS:
                self._least.popleft()
        elif least_ms < self._least[-1][1]:
            self._least[-1] = (self._least[-1][0], least_ms)

    @property
    def _least_ms(self) -> int:
        return min(value for _, value in self._least)

    def look(self, now_s: float, forgiven: float = 0.0) -> Look | None:
        """The last moments before ``now_s``; ``None`` if nothing was delivered in them.

        Of the share of events that is ``forgiven`` the latest are left out; where that is more than a few,
        the last moment alone tells nothing.
        """
        long = [entry for entry in self._recent if entry[0] > now_s - _LONG_S]
        if not long:
            return None
        short = _latest(long, now_s - _SHORT_S)
        p90 = _quantile(short if forgiven < _A_FEW else long, 1 - max(0.10, forgiven))
        p99, told = p90, _quantile(short, 0.90)
        if sum(entry[1] for entry in long) >= _ENOUGH_LONG:
            p99, told = _quantile(long, 1 - max(0.01, forgiven)), _quantile(long, 0.99)
        least = self._least_ms
        p90, p99, told = (max(0.0, age - least) for age in (p90, p99, told))
        return Look(p90, p99, told, sum(entry[1] for entry in long if entry[0] > now_s - _SHORT_S))


def _latest(entries: Sequence[_Entry], since_s: float) -> list[_Entry]:
    """Those after ``since_s``, and so many before that a tenth of them says something."""
    taken: list[_Entry] = []
    events = 0
    for entry in reversed(entries):
        if entry[0] <= since_s and events >= _ENOUGH_SHORT:
            break
        taken.append(entry)
        events += entry[1]
    return taken


def _quantile(entries: Sequence[_Entry], share: float) -> float:
    counts: dict[int, int] = {}
    for _, _, delta in entries:
        for bucket, count in delta:
            counts[bucket] = counts.get(bucket, 0) + count
    rank = share * sum(counts.values())
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= rank:
            return float(lower_bound(bucket))
    return 0.0
