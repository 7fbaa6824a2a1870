"""The probe: the only admin client. It bootstraps the topics, then watches end offsets and broker health.

The supervisor has no Kafka client of its own, so that no broker and no librdkafka thread can ever hold up its
loop; what it needs to know of the cluster stands on the board or comes over the probe's pipe.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec, TopicMetadata  # type: ignore[attr-defined]

from supervisor.contract.board import Board, Stage, WorkerSlot
from supervisor.contract.faults import ConfigurationFault, Fault
from supervisor.contract.messages import Found, Report
from supervisor.contract.settings import Settings
from supervisor.topics import converge
from supervisor.topics.model import Observed
from workers.kafka import client

__all__ = ["Probe"]

_log = logging.getLogger("probe")
_ANSWER_S = 5.0
_REST_S = 1.0
_GROW_S = 10.0
_GROW_PAUSE_S = 10.0


class Probe:
    """See the module."""

    def __init__(
        self, settings: Settings, board: Board, slot: WorkerSlot, tell: Callable[[Report], None]
    ) -> None:
        self._settings = settings
        self._board = board
        self._slot = slot
        self._tell = tell
        self._partitions = 0
        self._admin = client.make(AdminClient, client.probe(settings))
        self._answering = True
        self._due = 0.0
        self._grow_due = 0.0
        self._obstacle = ""
        # Never for long, whatever the interval: it would seem to hang.
        self.rest_s = min(_REST_S, settings.runtime.probe_interval_s)

    def open(self) -> None:
        """Bootstrap the topics, unless that is switched off, and tell the supervisor what is there."""
        self._slot.enter(Stage.RESTORING)
        # Partitions may have been added while a former probe was at work. Were fewer of them declared, that
        # would be refused at a start; now it must not stop everybody.
        known = self._board.header.topic_partitions
        observed = self._look(self._settings.runtime.start_timeout_s, known)
        self._serve(observed)

    def _look(self, timeout_s: float, partitions: int) -> Observed:
        """What the topics are, after creating and extending them if that is ours to do."""
        if self._settings.runtime.bootstrap:
            return converge.bootstrap(self._settings, timeout_s, _log.info, partitions=partitions)
        return converge.observe(self._settings, timeout_s)

    def _serve(self, observed: Observed) -> None:
        """Watch as many partitions as the input has, and tell the supervisor."""
        name = self._settings.topics.input.name
        if name not in observed.topics:
            raise ConfigurationFault(
                f"the input topic {name} does not exist", "create it with `supervisor topics apply`"
            )
        partitions = len(observed.topics[name].partitions)
        self._require_partitions(observed.partition_counts, partitions)
        self._partitions = partitions
        topic_id = observed.topics[name].id
        self._tell(Found(partitions, observed.cluster_id, len(observed.brokers), topic_id))

    def _require_partitions(self, counts: Mapping[str, int], partitions: int) -> None:
        """Partition p of the input is written to partition p of the other topics; it has to be there."""
        for topic in self._settings.topics.declared().values():
            found = counts.get(topic.name, 0)
            if found < partitions:
                raise ConfigurationFault(
                    f"topic {topic.name} has {found} partitions, the input has {partitions}",
                    f"create or extend it: `supervisor topics apply`, with topics.partitions = {partitions}",
                )

    def step(self) -> None:
        """Look up the end offsets; whether and when brokers answer is a finding too."""
        self._slot.enter(Stage.CONSUMING)
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._settings.runtime.probe_interval_s
        header = self._board.header
        header.brokers_asked_ns = time.monotonic_ns()
        try:
            self._look_up()
        except KafkaException as error:
            if self._answering:
                _log.warning("brokers do not answer: %s", error.args[0].str())
            self._answering = False
        else:
            if not self._answering:
                _log.info("brokers answer again")
            self._answering = True
            header.brokers_answered_ns = time.monotonic_ns()
        # The client keeps its log lines until it is polled, and they have the reason: refused, certificate, …
        self._admin.poll(0)

    def _look_up(self) -> None:
        # First, and always: list_offsets() answers from the metadata the client has. After an outage of all
        # brokers that says that there are no leaders, and only asking for it anew makes it say otherwise.
        cluster = self._admin.list_topics(timeout=_ANSWER_S)
        self._board.header.brokers_alive = len(cluster.brokers)
        name = self._settings.topics.input.name
        topic = cluster.topics.get(name)
        if topic is not None and _ready(topic) > self._partitions:
            self._grow(_ready(topic))
        self._note_ends(name, self._led(topic))

    def _led(self, topic: TopicMetadata | None) -> list[int]:
        """The partitions that have a leader to be asked, or all where none has: then nobody answers. With one
        among them that has none the whole question would fail, for as long as its brokers are away."""
        served = range(self._partitions)
        found = topic.partitions if topic is not None else {}
        led = [partition for partition in served if partition in found and found[partition].leader >= 0]
        return led or list(served)

    def _note_ends(self, name: str, partitions: Iterable[int]) -> None:
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        # read_committed: lag is what a worker could read, not what hides behind an open transaction.
        ends = self._admin.list_offsets(
            {TopicPartition(name, partition): latest for partition in partitions},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=_ANSWER_S,
        )
        for place, future in ends.items():
            end = future.result().offset
            if end >= 0:  # while leaders move, there is an answer without an offset
                record = self._board.topic(place.partition)
                record.end, record.seen_ns = end, time.monotonic_ns()

    def _grow(self, partitions: int) -> None:
        """Somebody has added partitions to the input: have them served, once the other topics have as many.

        What is in the way of that is told once, and tried again: the partitions served so far are not to
        suffer from it.
        """
        if time.monotonic() < self._grow_due:
            return
        self._grow_due = time.monotonic() + _GROW_PAUSE_S
        self._slot.enter(Stage.RESTORING)
        try:
            if partitions > self._board.partitions:
                raise Fault(f"one supervisor runs at most {self._board.partitions} partitions")
            self._serve(self._look(_GROW_S, partitions))
        except Fault as fault:
            if fault.cause != self._obstacle:
                _log.warning(
                    "the input has %d partitions now, %d are served: %s",
                    partitions,
                    self._partitions,
                    fault.cause,
                )
            self._obstacle = fault.cause
        else:
            self._obstacle = ""
            _log.info("the input has %d partitions now", self._partitions)
            if (declared := self._declared()) < self._partitions:
                _log.warning(
                    "it is declared with %d: set topics.partitions = %d before the next start",
                    declared,
                    self._partitions,
                )
        self._slot.enter(Stage.CONSUMING)

    def _declared(self) -> int:
        return self._settings.topics.declared()["input"].partitions or 0

    def reopen(self) -> None:
        """It has no file open for others."""

    def drain(self) -> None:
        """Nothing is in hand."""


def _ready(topic: TopicMetadata) -> int:
    """How many partitions there are, from the first one on, that have a leader to be asked and written to."""
    count = 0
    while count in topic.partitions and topic.partitions[count].leader >= 0:
        count += 1
    return count
