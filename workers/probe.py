"""The probe: the only admin client. It bootstraps the topics, then watches end offsets and broker health.

The supervisor has no Kafka client of its own, so that no broker and no librdkafka thread can ever hold up its
loop; what it needs to know of the cluster stands on the board or comes over the probe's pipe.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from supervisor.contract.board import Board, Stage, WorkerSlot
from supervisor.contract.faults import ConfigurationFault
from supervisor.contract.messages import Found, Report
from supervisor.contract.settings import Settings
from supervisor.topics import converge
from workers import client

__all__ = ["Probe"]

_log = logging.getLogger("probe")
_ANSWER_S = 5.0


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
        self._admin = AdminClient(client.probe(settings))
        self._answering = True
        self.rest_s = settings.runtime.probe_interval_s

    def open(self) -> None:
        """Bootstrap the topics, unless that is switched off, and tell the supervisor what is there."""
        if self._settings.runtime.bootstrap:
            observed = converge.bootstrap(self._settings, self._settings.runtime.start_timeout_s, _log.info)
        else:
            observed = converge.observe(self._settings, self._settings.runtime.start_timeout_s)
        name = self._settings.topics.input.name
        if name not in observed.topics:
            raise ConfigurationFault(
                f"the input topic {name} does not exist", "create it with `supervisor topics apply`"
            )
        self._partitions = len(observed.topics[name].partitions)
        self._require_partitions(observed.partition_counts)
        self._tell(Found(self._partitions, observed.cluster_id, len(observed.brokers)))

    def _require_partitions(self, counts: Mapping[str, int]) -> None:
        """Partition p of the input is written to partition p of the other topics; it has to be there."""
        for topic in self._settings.topics.declared().values():
            found = counts.get(topic.name, 0)
            if found < self._partitions:
                raise ConfigurationFault(
                    f"topic {topic.name} has {found} partitions, the input has {self._partitions}",
                    "create or extend it: `supervisor topics apply`, with topics.partitions = "
                    f"{self._partitions}",
                )

    def step(self) -> None:
        """Look up the end offsets; whether and when brokers answer is a finding too."""
        self._slot.stage = Stage.CONSUMING
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
        self._slot.heartbeat_ns = time.monotonic_ns()

    def _look_up(self) -> None:
        # First, and always: list_offsets() answers from the metadata the client has. After an outage of all
        # brokers that says that there are no leaders, and only asking for it anew makes it say otherwise.
        self._board.header.brokers_alive = len(self._admin.list_topics(timeout=_ANSWER_S).brokers)
        where = [
            TopicPartition(self._settings.topics.input.name, partition)
            for partition in range(self._partitions)
        ]
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        # read_committed: lag is what a worker could read, not what hides behind an open transaction.
        ends = self._admin.list_offsets(
            dict.fromkeys(where, latest),
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=_ANSWER_S,
        )
        for place, future in ends.items():
            end = future.result().offset
            if end >= 0:  # while leaders move, there is an answer without an offset
                record = self._board.topic(place.partition)
                record.end, record.seen_ns = end, time.monotonic_ns()

    def drain(self) -> None:
        """Nothing is in hand."""
