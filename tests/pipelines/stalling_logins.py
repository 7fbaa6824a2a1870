"""The login pipeline in a worker that stalls once, for longer than its transaction may take.

The directory ``STALL_TOKENS`` holds one file per stall; the stall ends when ``STALL_TOKENS.end`` exists.
"""

import os
import time
from pathlib import Path

from workers.logins import DIMENSIONS, Event
from workers.logins import enrich as plain
from workers.olap.partition import PartitionWork

__all__ = ["DIMENSIONS", "Event", "enrich"]

_TOKENS = Path(os.environ["STALL_TOKENS"])
_END = _TOKENS.with_suffix(".end")
enrich = plain

_commit = PartitionWork.commit


def _stalled_commit(self):
    for token in _TOKENS.iterdir():
        try:
            token.unlink()
        except FileNotFoundError:  # another worker was quicker
            continue
        self._transaction._producer.flush()
        while not _END.exists():
            time.sleep(0.01)
    _commit(self)


PartitionWork.commit = _stalled_commit
