"""When a worker is replaced although nothing is wrong with it: age, count of events, memory. Pure."""

from __future__ import annotations

import random as _random
from collections.abc import Callable
from enum import Enum

from supervisor.contract.settings import Limits

__all__ = ["Reason", "Recycling"]

_MB = 1024 * 1024


class Reason(Enum):
    AGE = "age"
    COUNT = "count of events"
    MEMORY_SOFT = "memory above the soft limit"
    MEMORY_HARD = "memory above the hard limit"
    """The only one that is not drained but killed at once."""


class Recycling:
    """The limits of one process.

    Its own limits of age and count are drawn when it is born and stay as they are: drawn anew at each look,
    the lowest draw would win, and workers that started together would all go at once.
    """

    def __init__(self, limits: Limits, born_s: float, random: Callable[[], float] = _random.random) -> None:
        self._born_s = born_s
        self._age_draw, self._events_draw = random(), random()
        self._sampled_s: float | None = None
        self.adopt(limits)

    def adopt(self, limits: Limits) -> None:
        """Other limits from now on, varied by what was drawn at its birth."""

        def varied(limit: float, draw: float) -> float:
            return limit * (1.0 + limits.jitter * (2.0 * draw - 1.0))

        self._limits = limits
        self._max_age_s = varied(limits.max_age_s, self._age_draw)
        self._max_events = varied(limits.max_events, self._events_draw)
        self._above = 0

    def due(self, now_s: float, events: int, rss_bytes: int) -> Reason | None:
        """Why the process is to be replaced now, the most pressing reason first, or ``None``.

        ``events`` is how many it has processed; ``rss_bytes`` its resident memory, zero if not known. It may
        be asked at any time: what is asked within half of ``memory_interval_s`` is one look at the memory.
        """
        limits = self._limits
        if limits.memory_hard_mb and rss_bytes > limits.memory_hard_mb * _MB:
            return Reason.MEMORY_HARD
        if self._stays_above(now_s, rss_bytes):
            return Reason.MEMORY_SOFT
        if limits.max_events and events >= self._max_events:
            return Reason.COUNT
        if limits.max_age_s and now_s - self._born_s >= self._max_age_s:
            return Reason.AGE
        return None

    def _stays_above(self, now_s: float, rss_bytes: int) -> bool:
        limits = self._limits
        if not limits.memory_soft_mb:
            return False
        new = self._sampled_s is None or now_s - self._sampled_s >= limits.memory_interval_s / 2
        if rss_bytes and new:
            self._sampled_s = now_s
            self._above = self._above + 1 if rss_bytes > limits.memory_soft_mb * _MB else 0
        return self._above >= limits.memory_samples
