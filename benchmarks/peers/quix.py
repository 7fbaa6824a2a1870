"""Quix Streams, exactly once."""

from __future__ import annotations

from benchmarks.peers.contract import PythonPeer
from benchmarks.peers.librdkafka import CONSUMER, PRODUCER

__all__ = ["Quix"]


class Quix(PythonPeer):
    name = "Quix Streams"
    guarantee = "exactly once"
    share = 0.5
    requirements = "quix.txt"
    application = "quix_app.py"
    options = {  # noqa: RUF012
        "consumer": CONSUMER,
        # A batch that is due while another is under way costs an idempotent producer of librdkafka a CPU.
        "producer": {**PRODUCER, "linger.ms": 2_000},
        "application": {"processing_guarantee": "exactly-once", "commit_interval": 5.0},
    }

    @property
    def settings(self) -> str:
        return f"{super().settings}; bytes in and out, msgspec between"
