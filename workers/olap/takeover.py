"""How a partition is taken over: what has to happen in order, and what can happen beside it.

In order, which is what makes it exact: fence the former owner and end what it left open; then ask for the
committed offset and read the changelog to its end, side by side. After the fence no transaction of a former
owner can end any more, so that the two stand still and belong to each other.

Beside the fence, which takes the brokers longest: the offsets of the input are looked up, the changelog is
read as far as it goes, and the input is fetched from where the former owner was last known to be. All of it
is only a start that may prove wrong, and is looked at again behind the fence.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

from supervisor.contract.settings import Settings
from workers.kafka import client
from workers.olap import state
from workers.olap.windows import WindowedCounts

__all__ = ["Takeover", "together"]

_LOOKUP_TIMEOUT_S = 15.0


class Takeover:
    """Of one partition, by :meth:`prepare`, which may run beside the fence, and then :meth:`finish`."""

    def __init__(
        self,
        settings: Settings,
        partition: int,
        consumer: Consumer,
        changelog: state.Changelog,
        beat: Callable[[], None],
    ) -> None:
        """``changelog`` may have been read some way already; ``beat`` is called while it is read on."""
        self._settings = settings
        self._input = settings.topics.input.name
        self._partition = partition
        self._consumer = consumer
        self._changelog = changelog
        self._beat = beat
        self._assigned: int | None = None
        self._low = self._high = 0

    def prepare(self, expected: int | None) -> None:
        """Look up and read what there is, and begin to fetch at the ``expected`` offset, if there is one.

        Raises :class:`BrokersAway` and other errors of a worker, as :meth:`finish` does.
        """
        try:
            # Fills the metadata that assign() needs; without it the first fetch waits a second for a refresh.
            self._consumer.list_topics(self._input, timeout=_LOOKUP_TIMEOUT_S)
            self._look_up_ends()
            if expected is not None and self._low <= expected <= self._high:
                self._assign(expected)
            self._read_on()
        except KafkaException as error:
            raise client.lookup_failed(error, f"partition {self._partition}") from error

    def finish(
        self, dimensions: Sequence[str], counts: WindowedCounts, topic_id: str = ""
    ) -> tuple[int, int]:
        """Behind the fence: restore the counts and fetch from where the work begins.

        Returns that offset, and how many records retention has removed before it.
        """
        found: list[int | None] = []
        try:
            together(lambda: found.append(self._committed()), self._read_on)
            (committed,) = found
            if committed is not None and committed > self._high:
                self._look_up_ends()
        except KafkaException as error:
            raise client.lookup_failed(error, f"partition {self._partition}") from error
        begin, lost = state.start_offset(
            partition=self._partition,
            committed=committed,
            state=self._changelog.restore(dimensions, counts, topic_id),
            low=self._low,
            high=self._high,
            counting=bool(dimensions),
            olap=self._settings.olap,
        )
        if begin != self._assigned:
            self._assign(begin)
        return begin, lost

    def _read_on(self) -> None:
        self._changelog.read_on(self._beat)

    def _committed(self) -> int | None:
        where = TopicPartition(self._input, self._partition)
        return client.committed_offsets(self._consumer, [where], _LOOKUP_TIMEOUT_S)[self._partition]

    def _look_up_ends(self) -> None:
        where = TopicPartition(self._input, self._partition)
        self._low, self._high = self._consumer.get_watermark_offsets(where, _LOOKUP_TIMEOUT_S, cached=False)

    def _assign(self, offset: int) -> None:
        self._consumer.assign([TopicPartition(self._input, self._partition, offset)])
        self._assigned = offset


def together(first: Callable[[], None], *others: Callable[[], None]) -> None:
    """Do all of it at once, ``first`` in this thread; raises the first failure in their order.

    Returns once all have ended: none of them is left to surprise whoever comes next. Where no thread can be
    had they are done one after the other.
    """
    failures: dict[int, BaseException] = {}

    def attempt(place: int, act: Callable[[], None]) -> None:
        try:
            act()
        except BaseException as error:
            failures[place] = error

    threads, left = [], []
    for place, act in enumerate(others, 1):
        thread = threading.Thread(target=attempt, args=(place, act), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread can be had
            left.append((place, act))
        else:
            threads.append(thread)
    for place, act in [(0, first), *left]:
        attempt(place, act)
    for thread in threads:
        thread.join()
    if failures:
        raise failures[min(failures)]
