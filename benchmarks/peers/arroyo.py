"""sentry-arroyo."""

from __future__ import annotations

from benchmarks.peers.contract import PythonPeer
from benchmarks.peers.librdkafka import CONSUMER, PRODUCER

__all__ = ["Arroyo"]


class Arroyo(PythonPeer):
    name = "arroyo"
    guarantee = "at least once"
    share = 0.1
    requirements = "arroyo.txt"
    application = "arroyo_app.py"
    options = {  # noqa: RUF012
        "consumer": CONSUMER,
        "producer": PRODUCER,
        "kafka_producer": {"use_simple_futures": True},
        "produce": {"max_buffer_size": 100_000},
    }

    @property
    def settings(self) -> str:
        return f"{super().settings}; RunTask with msgspec, Produce, CommitOffsets once a second"
