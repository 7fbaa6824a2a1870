"""What a process needs of memory, and whether the kernel ended it for want of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from supervisor.host.cgroup import oom_kills, own_cgroup

__all__ = ["OomKills", "rss_bytes"]

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_FRESH_S = 1.0


def rss_bytes(pid: int) -> int | None:
    """Resident memory of a process; ``None`` if it is gone, or not ours to look at. Raises nothing."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:  # noqa: PTH123  a Path costs more than the reading
            pages = int(statm.read().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    # A zombie has none, and is not to be taken for a small process.
    return pages * _PAGE_BYTES or None


class OomKills:
    """Out-of-memory kills in this supervisor's own cgroup: what can be told where there is no cgroup for each
    worker, as in a container, or in a systemd unit without delegation.

    The kernel counts kills and does not say whom. So a worker that died by a SIGKILL that we did not send is
    taken for such a victim if the count has grown just now, and by no more deaths than it has grown.
    """

    def __init__(self, cgroup: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._cgroup = cgroup
        self._clock = clock
        self._seen = self._count()
        self._unclaimed = 0
        self._grew = clock()

    @classmethod
    def of_this_process(cls) -> OomKills:
        return cls(own_cgroup())

    def look(self) -> None:
        """To be called now and then, so that a grandchild's kill of long ago is not taken for a worker's."""
        count, now = self._count(), self._clock()
        if now - self._grew > _FRESH_S:
            self._unclaimed = 0
        if count > self._seen:
            self._unclaimed += count - self._seen
            self._seen, self._grew = count, now

    def claim(self) -> bool:
        """Whether a worker just killed may have been so for want of memory; each kill can be claimed once."""
        self.look()
        if not self._unclaimed:
            return False
        self._unclaimed -= 1
        return True

    def _count(self) -> int:
        return (oom_kills(self._cgroup) or 0) if self._cgroup is not None else 0
