"""What librdkafka's own documentation says for throughput; for every peer that is built upon it."""

from __future__ import annotations

from typing import Any

__all__ = ["CONSUMER", "PRODUCER"]

CONSUMER: dict[str, Any] = {
    # With the default of a second, a consumer whose queue was full stands still for that long.
    "fetch.queue.backoff.ms": 20,
    "queued.max.messages.kbytes": 16_384,
}
PRODUCER: dict[str, Any] = {
    "linger.ms": 50,
    "compression.type": "lz4",
    "batch.size": 1_000_000,
    "batch.num.messages": 20_000,
    "queue.buffering.max.messages": 1_000_000,
}
