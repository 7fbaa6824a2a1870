"""Faust, as faust-streaming keeps it."""

from __future__ import annotations

from benchmarks.peers.contract import PythonPeer

__all__ = ["Faust"]


class Faust(PythonPeer):
    name = "Faust"
    guarantee = "at least once"
    share = 0.02
    requirements = "faust.txt"
    application = "faust_app.py"
    options = {  # noqa: RUF012
        "app": {
            "producer_linger": 0.05,
            "producer_compression_type": "lz4",
            "producer_max_batch_size": 1_000_000,
            "stream_buffer_maxsize": 16_384,
            "broker_check_crcs": False,
        },
    }

    @property
    def settings(self) -> str:
        return f"{super().settings}; uvloop, Cython extensions, raw codec, msgspec"
