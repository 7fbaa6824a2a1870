"""The aggregates counted anew from the output, without the workers' code: pure, without Kafka.

It holds for pipelines whose outputs carry their dimensions as fields and their time as ``timestamp``
(``YYYY-MM-DD HH:MM:SS``, UTC), as those of the login pipeline do.

An event counts in the total always, and in its minute unless that was closed (``workers/olap/windows.py``
has the rule). A worker decides that for a batch at once, and how the records were parted into batches nobody
can tell afterwards: a late event whose minute has been counted in before may stand in either way. So each
count has a lowest and a highest right value; they differ for late events only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from supervisor.demo.findings import Findings

__all__ = ["Recount"]

_AHEAD_MINUTES = 24 * 60
_TOTAL = "total"

Dimensions = tuple[tuple[str, Any], ...]
Cell = tuple[str, Dimensions]


class Recount:
    """Takes the outputs of every partition, each partition's in order."""

    def __init__(self, dimensions: Sequence[str], retention_s: int) -> None:
        output = msgspec.defstruct("Output", [(name, Any, None) for name in (*dimensions, "timestamp")])
        self._decode = msgspec.json.Decoder(output).decode
        # As the reader of the aggregates orders them.
        self._names = sorted(dimensions, key=lambda name: str((name, None)))
        self._retention = max(1, retention_s // 60)
        self._newest: dict[int, int] = {}
        self._lowest: Counter[Cell] = Counter()
        self._perhaps: Counter[Cell] = Counter()

    def take(self, partition: int, payload: bytes, timestamp_ms: int) -> None:
        """Count one output; ``timestamp_ms`` is when it was written."""
        output: Any = self._decode(payload)
        dimensions = tuple((name, getattr(output, name)) for name in self._names)
        self._lowest[_TOTAL, dimensions] += 1
        minute = _minute(output.timestamp)
        if minute is None or minute > timestamp_ms // 60_000 + _AHEAD_MINUTES:
            return
        newest = max(minute, self._newest.get(partition, minute))
        self._newest[partition] = newest
        cell = (output.timestamp[:16], dimensions)
        if minute > newest - self._retention:
            self._lowest[cell] += 1
        elif cell in self._lowest:
            self._perhaps[cell] += 1

    def compare(self, aggregates: Mapping[str, Mapping[Dimensions, int]]) -> Findings:
        """The counts, by window and dimensions, that are not as counted here."""
        found = {(window, key): n for window, counts in aggregates.items() for key, n in counts.items()}
        wrong = Findings()
        for cell in sorted(found.keys() | self._lowest.keys(), key=str):
            count, lowest = found.get(cell, 0), self._lowest.get(cell, 0)
            if not lowest <= count <= lowest + self._perhaps.get(cell, 0):
                window, dimensions = cell
                values = " ".join(str(value) for _, value in dimensions)
                wrong.add(f"{window}, {values}: {count}, recounted {lowest}")
        return wrong


@lru_cache(100_000)
def _minute(timestamp: Any) -> int | None:
    """The epoch minute of an output's time; None where it has none."""
    try:
        return int(datetime.fromisoformat(f"{timestamp}+00:00").timestamp()) // 60
    except ValueError:
        return None
