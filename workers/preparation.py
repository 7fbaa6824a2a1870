"""What can be done for partitions before they are a role's, while their owner is still at work.

Where it is known which partitions a process gets next, as in a rolling reload, it connects their producers
and reads their changelogs, however long these are, before the owner is told to finish. Nothing of it disturbs
the owner: no transactional id is asked for, and what is read is only read.

It is done by a thread, which hands over each partition in one assignment when it has all of it. What goes
wrong is of no interest: that partition, and those behind it, are opened as they would be without.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

from confluent_kafka import KafkaException

from workers.errors import WorkerError
from workers.state import Changelog
from workers.transaction import Transaction

__all__ = ["Preparation", "PreparedPartition"]

_log = logging.getLogger("kafka")


class PreparedPartition(NamedTuple):
    """Of one partition. To be used, or closed."""

    transaction: Transaction
    """Connected, and not open."""
    changelog: Changelog
    """Read to its end as it was then."""

    def close(self) -> None:
        self.changelog.close()


class Preparation:
    """Of some partitions, in their order; it begins at once and never holds anybody up."""

    def __init__(
        self,
        partitions: tuple[int, ...],
        transaction: Callable[[int], Transaction],
        changelog: Callable[[int], Changelog],
    ) -> None:
        """``transaction`` and ``changelog`` make those of a partition, neither connected nor read."""
        self.partitions = partitions
        self._make_transaction = transaction
        self._make_changelog = changelog
        self._prepared: dict[int, PreparedPartition] = {}
        self._taken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="preparation", daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread can be had; then nothing is prepared
            self._thread.start()

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return not self._thread.is_alive()

    def take(self) -> dict[int, PreparedPartition]:
        """What is prepared by now, by partition; never waits. Nothing more is prepared after that."""
        self._taken.set()
        prepared, self._prepared = self._prepared, {}
        return prepared

    def drop(self) -> None:
        """Nobody needs it."""
        for prepared in self.take().values():
            prepared.close()

    def _run(self) -> None:
        try:
            for partition in self.partitions:
                self._prepare(partition)
        except (KafkaException, WorkerError) as error:
            _log.debug("not everything is prepared: %s", error)
        except _Taken:
            pass

    def _prepare(self, partition: int) -> None:
        transaction = self._make_transaction(partition)
        transaction.connect()
        changelog = self._make_changelog(partition)
        try:
            changelog.read_on(self._require_use)
        except BaseException:
            changelog.close()
            raise
        self._prepared[partition] = PreparedPartition(transaction, changelog)
        # It may have been taken meanwhile. If that was before the line above, nobody takes this one any more.
        if self._taken.is_set() and (left := self._prepared.pop(partition, None)) is not None:
            left.close()
            raise _Taken

    def _require_use(self) -> None:
        if self._taken.is_set():
            raise _Taken


class _Taken(Exception):
    """Whatever comes now is too late."""
