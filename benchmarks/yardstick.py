"""How fast this machine is right now: what the pipeline's own work on an event costs, and nothing around it.

A shared machine's speed varies, by twice within minutes, and from one machine to the next. A cost measured
just before and just behind, by the same code every time, says how much of a figure is the machine's.
"""

from __future__ import annotations

import statistics
import time
from itertools import islice

from supervisor.generate.events import events
from workers import logins
from workers.decode import Processor
from workers.pipeline import load

__all__ = ["Yardstick"]

_BATCH = 1_000
_BATCHES = 20
_PASSES = 3


class Yardstick:
    """Logins decoded, enriched and encoded a thousand at a time, on one CPU."""

    def __init__(self) -> None:
        values = [value for _, value in islice(events(1), _BATCH * _BATCHES)]
        self._batches = [values[begin : begin + _BATCH] for begin in range(0, len(values), _BATCH)]
        self._processor = Processor(load(logins.__name__))

    def measure_us(self) -> float:
        """CPU time of an event, µs; it takes some tenths of a second."""
        return statistics.median(self._pass_us() for _ in range(_PASSES))

    def _pass_us(self) -> float:
        began = time.process_time_ns()
        for batch in self._batches:
            self._processor.process(batch)
        return (time.process_time_ns() - began) / (_BATCH * _BATCHES * 1_000)
