"""Bytewax."""

from __future__ import annotations

from benchmarks.peers.contract import PythonPeer
from benchmarks.peers.librdkafka import CONSUMER, PRODUCER

__all__ = ["Bytewax"]


class Bytewax(PythonPeer):
    name = "Bytewax"
    guarantee = "at least once, up to the last snapshot; errors of delivery go unnoticed"
    share = 0.5
    requirements = "bytewax.txt"
    application = "bytewax_app.py"
    options = {  # noqa: RUF012
        "consumer": CONSUMER,
        "producer": PRODUCER,
        "source": {"batch_size": 10_000},
        "epoch_s": 10,
    }

    @property
    def settings(self) -> str:
        return f"{super().settings}; flat_map_batch with msgspec, recovery store"
