"""When a partition's transaction is to be committed. Pure: times are passed in.

A partition that keeps up commits each interval, which bounds how old its output is when readers see it. One
with a backlog commits less often: a commit costs the same whatever is in it, to the brokers more than to us,
and output that is old already may be a second older.
"""

from __future__ import annotations

from supervisor.contract.settings import Olap

__all__ = ["Cadence"]


class Cadence:
    """Of one partition. Times are monotonic seconds."""

    def __init__(self, olap: Olap) -> None:
        self.interval_s = olap.commit_interval_ms / 1000
        self._beyond_s = max(0.0, olap.backlog_interval_ms / 1000 - self.interval_s)
        self._most = olap.commit_events
        self._commit_s = 0.0
        self._due = 0.0
        self._due_behind = 0.0
        self.behind = False
        """Whether there is a backlog: whether more waits than is taken at once."""

    def committed(self, took_s: float) -> None:
        """A commit took so long; nothing was consumed meanwhile."""
        self._commit_s = took_s

    def window_s(self, cycle_s: float) -> float:
        """For how long to collect what goes into a transaction, so that one ends every ``cycle_s``.

        The last commit took a part of that, in which events waited as well. But never more than half of it:
        brokers that are slow already are not asked more often for that. Of several partitions that a worker
        serves in turn each has its own share of the cycle, and counts its own commits.
        """
        return max(cycle_s - self._commit_s, min(cycle_s, self._commit_s))

    def begin(self, now: float, patience_s: float) -> None:
        """A transaction begins with what arrives from now on, and ends ``patience_s`` later if the partition
        keeps up; with none at once, whether it does or not."""
        self._due = now + patience_s
        self._due_behind = self._due + (self._beyond_s if patience_s > 0 else 0.0)

    def left_s(self, now: float) -> float:
        """How long until the transaction is due."""
        return max(0.0, (self._due_behind if self.behind else self._due) - now)

    def is_due(self, now: float, events: int) -> bool:
        """Whether the transaction, with ``events`` in it, is to be committed."""
        return self.left_s(now) <= 0 or events >= self._most
