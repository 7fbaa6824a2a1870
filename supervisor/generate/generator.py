"""Sends events to a topic and accounts for each of them."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from threading import Event
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from msgspec import Struct

from supervisor.contract.settings import Kafka, Scalar
from supervisor.generate.connect import connect, partitions_of
from supervisor.generate.events import KeyedValue, KeyField, Timestamps, events
from supervisor.generate.pace import Pace
from supervisor.generate.report import Report

__all__ = ["Generator", "Load", "client_config"]

_CONNECT_TIMEOUT_S = 10.0
_PROGRESS_S = 0.5
_REFRESH_S = 10.0
# Events are sent in slices, so that each partition gets a batch, and then nothing until that is acknowledged.
# Sent one by one, the next would wait for it in the client's queue; and for as long as a batch is in flight
# and another one is due, librdkafka's broker thread spins: rd_kafka_toppar_producer_serve() may not send (the
# limit of five in flight of an idempotent producer is one of messages), and asks to be woken at once.
# Measured at 400 events a second, with brokers that take more than 10 ms: 75 % of a CPU.
_SHORTEST_PAUSE_S = 0.025
_LONGEST_PAUSE_S = 0.1
_SLICE = 500
# Keyless events go round the partitions in runs: even to the last event of 40 on four partitions, and with
# fewer requests at low rates than one event each.
_RUN = 10


class Load(Struct, frozen=True, kw_only=True):
    """What to send."""

    rate: float = 500.0
    """Events a second; infinity is as many as the brokers take."""
    count: int | None = None
    """End after this many events."""
    duration_s: float | None = None
    """End after this time."""
    seed: int = 0
    key: KeyField = "none"
    bad: float = 0.0
    """Share of bad events, 0 to 1."""
    timestamps: Timestamps = "now"


def client_config(kafka: Kafka) -> dict[str, Scalar]:
    """The client's configuration from ``[kafka]``."""
    return {"bootstrap.servers": kafka.bootstrap_servers, **kafka.client}


class Generator:
    """Sends ``load`` to ``topic``, each event once: the producer is idempotent and waits for all replicas.

    ``on_progress`` is called about twice a second with the counts so far and the brokers' trouble, if any.
    """

    def __init__(
        self,
        client: Mapping[str, Scalar],
        topic: str,
        load: Load,
        on_progress: Callable[[Report, str], None] | None = None,
        connect_timeout_s: float = _CONNECT_TIMEOUT_S,
    ) -> None:
        self._client = client
        self._topic = topic
        self._load = load
        self._on_progress = on_progress
        self._connect_timeout_s = connect_timeout_s
        self._producer: Any = None
        self._produced = 0
        self._acknowledged = 0
        self._causes: Counter[str] = Counter()
        self._bad: Counter[str] = Counter()
        self._trouble = ""
        self._fatal = False
        self._began = self._progress_at = 0.0

    def run(self, stop: Event | None = None, hasten: Event | None = None) -> Report:
        """Send until ``count``, ``duration_s`` or ``stop``; then each event is acknowledged or failed.

        ``hasten`` ends the wait for that: what is not acknowledged by then counts as failed. Raises
        :class:`Fault` if brokers or topic cannot be reached at the start; later troubles are waited out,
        two minutes per event.
        """
        stop, hasten = stop or Event(), hasten or Event()
        self._producer, partitions = connect(
            self._client, self._topic, self._connect_timeout_s, stop, self._on_error, self._on_failed
        )
        self._began = time.monotonic()
        if partitions:
            self._send(stop, hasten, partitions)
        self._settle(hasten)
        return self._report()

    def _send(self, stop: Event, hasten: Event, partitions: int) -> None:
        load = self._load
        source = events(load.seed, key=load.key, bad=load.bad, timestamps=load.timestamps, tally=self._bad)
        pace = Pace(load.rate, self._began) if math.isfinite(load.rate) else None
        left = math.inf if load.count is None else load.count
        ends = math.inf if load.duration_s is None else self._began + load.duration_s
        refresh_at = self._began + _REFRESH_S
        while left > 0 and not stop.is_set() and not self._fatal and (now := time.monotonic()) < ends:
            due = int(min(_SLICE if pace is None else pace.take(now), left))
            left -= due
            for _ in range(due):
                partition = -1 if load.key != "none" else self._produced // _RUN % partitions
                if not self._produce(next(source), partition, hasten):
                    return
            self._producer.poll(0 if pace is None else _pause_s(pace, ends))
            self._tell()
            if now >= refresh_at:
                partitions = partitions_of(self._producer, self._topic, partitions)
                refresh_at = time.monotonic() + _REFRESH_S

    def _produce(self, event: KeyedValue, partition: int, hasten: Event) -> bool:
        """False if there is no sense in going on."""
        key, value = event
        self._produced += 1
        while True:
            try:
                self._producer.produce(self._topic, value, key, partition)
                return True
            except BufferError:
                # The client's queue is full, so the brokers are slower than we are, or away.
                if hasten.is_set():
                    self._causes["given up"] += 1
                    return False
                self._producer.poll(0.05)
                self._tell()
            except KafkaException as error:
                self._on_failed(error.args[0], None)
                return not self._fatal

    def _settle(self, hasten: Event) -> None:
        while self._producer.flush(0.1):
            self._tell()
            if hasten.is_set() or self._fatal:
                self._producer.purge()
                self._producer.flush(5)
                return

    def _on_error(self, error: KafkaError) -> None:
        self._trouble = error.str()
        self._fatal = self._fatal or error.fatal()

    def _on_failed(self, error: KafkaError, _message: Any) -> None:
        purged = error.code() in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
        self._causes["given up" if purged else error.name()] += 1
        self._fatal = self._fatal or error.fatal() or error.code() == KafkaError._FATAL

    def _tell(self) -> None:
        now = time.monotonic()
        if self._on_progress is None or now < self._progress_at:
            return
        self._progress_at = now + _PROGRESS_S
        before = self._acknowledged
        report = self._report()
        if report.acknowledged > before:
            self._trouble = ""
        self._on_progress(report, self._trouble)

    def _report(self) -> Report:
        failed = self._causes.total()
        # The client's queue also holds its own errors for a moment, so the count is never taken back.
        self._acknowledged = max(self._acknowledged, self._produced - failed - len(self._producer))
        return Report(
            produced=self._produced,
            acknowledged=self._acknowledged,
            failed=failed,
            bad_sent=self._bad.total(),
            seconds=time.monotonic() - self._began,
            causes=dict(self._causes),
            bad_kinds=dict(self._bad),
        )


def _pause_s(pace: Pace, ends: float) -> float:
    now = time.monotonic()
    return min(max(pace.wait_s(now), _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S, max(ends - now, 0.0))
