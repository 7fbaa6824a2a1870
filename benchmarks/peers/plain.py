"""The loop that one writes first: confluent-kafka and json."""

from __future__ import annotations

from benchmarks.peers.contract import PythonPeer
from benchmarks.peers.librdkafka import CONSUMER, PRODUCER

__all__ = ["Plain"]


class Plain(PythonPeer):
    name = "plain loop"
    guarantee = "at least once"
    requirements = "plain.txt"
    application = "plain_loop.py"
    options = {"consumer": CONSUMER, "producer": PRODUCER}  # noqa: RUF012

    @property
    def settings(self) -> str:
        return f"{super().settings}; consume(1000), json, one produce() each; commits each second, flushed"
