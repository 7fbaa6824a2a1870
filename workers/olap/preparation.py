"""What can be done for partitions before they are a role's, while their owner is still at work.

Where it is known which partitions a process gets next, as in a rolling reload, it connects their producers
and reads their changelogs before the owner is told to finish. Nothing of it disturbs the owner: no
transactional id is asked for, what is read is only read, and it keeps to the CPUs that the role will have.

It is done by a thread. What goes wrong is of no interest: that partition, and those behind it, are opened as
they would be without.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Collection
from typing import NamedTuple

from confluent_kafka import KafkaException

from supervisor.contract.messages import Prepare
from workers.errors import WorkerError
from workers.olap.state import Changelog
from workers.olap.transaction import Transaction
from workers.olap.warmth import close_beside

__all__ = ["Preparation", "PreparedPartition"]

_log = logging.getLogger("kafka")
# Reading stops between two fetches, a matter of milliseconds.
_STOP_S = 0.5


class PreparedPartition(NamedTuple):
    """To be used, or closed."""

    transaction: Transaction
    """Connected, and not open."""
    changelog: Changelog
    """Read to its end as it was then, or as far as there was time for."""

    def close(self) -> None:
        self.changelog.close()


class Preparation:
    """Of some partitions, in their order; it begins at once."""

    def __init__(
        self,
        asked: Prepare,
        transaction: Callable[[int], Transaction],
        changelog: Callable[[int], Changelog],
    ) -> None:
        """``transaction`` and ``changelog`` make those of a partition, neither connected nor read."""
        self.asked = asked
        self._make_transaction = transaction
        self._make_changelog = changelog
        self._prepared: dict[int, PreparedPartition] = {}
        self._stop = threading.Event()
        self._reading: int | None = None
        """The partition whose changelog is being read."""
        self._closed = False
        self._handing_over = threading.Lock()
        """Held for an assignment: what comes too late is closed by the thread, and all else by the taker."""
        self._thread = threading.Thread(target=self._run, name="preparation", daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread can be had; then nothing is prepared
            self._thread.start()

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return not self._thread.is_alive()

    def take(self, wanted: Collection[int]) -> dict[int, PreparedPartition]:
        """What is prepared by now, by partition; nothing more is after that.

        A changelog that is being read is taken as far as it was read: the rest is read by the role, and what
        took a minute need not be done again. Only for that is waited, for a moment, and only if its partition
        is ``wanted``.
        """
        self._stop.set()
        if self._reading in wanted:
            self._thread.join(_STOP_S)
        with self._handing_over:
            self._closed = True
            prepared, self._prepared = self._prepared, {}
        return prepared

    def drop(self) -> None:
        """Nobody needs it; what is prepared is closed beside."""
        close_beside(*self.take(wanted=()).values())

    def _run(self) -> None:
        try:
            if self.asked.cpus:
                # Of this thread, and of those that clients start from it.
                os.sched_setaffinity(0, self.asked.cpus)
            for partition in self.asked.partitions:
                self._prepare(partition)
        except (KafkaException, WorkerError, OSError) as error:
            _log.debug("not everything is prepared: %s", error)
        except _Stopped:
            pass

    def _prepare(self, partition: int) -> None:
        self._require_time()
        transaction = self._make_transaction(partition)
        transaction.connect()
        self._require_time()
        prepared = PreparedPartition(transaction, self._make_changelog(partition))
        # Until it is handed over: who takes it looks at this to know whether to wait.
        self._reading = partition
        try:
            # It goes on fetching, so that what the owner adds is there when it is needed: a client that was
            # paused begins to fetch again only after a second (librdkafka 2.16).
            prepared.changelog.read_on(self._require_time)
        except _Stopped:
            self._hand_over(partition, prepared)
            raise
        except BaseException:
            prepared.close()
            raise
        else:
            self._hand_over(partition, prepared)
        finally:
            self._reading = None

    def _hand_over(self, partition: int, prepared: PreparedPartition) -> None:
        with self._handing_over:
            if not self._closed:
                self._prepared[partition] = prepared
                return
        prepared.close()

    def _require_time(self) -> None:
        if self._stop.is_set():
            raise _Stopped


class _Stopped(Exception):
    """Somebody takes what there is."""
