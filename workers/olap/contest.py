"""Who else is at work: what a replacement asks before it takes over from a worker that was fenced.

Brokers fence for two reasons: another producer took the transactional id over, or a transaction took too
long. What tells them apart: our predecessor was fenced because there was something to commit. Another owner
has that in hand as well and commits it in a moment, past what we have committed. To take over without looking
would fence that one, whose replacement would fence us, and so on for ever.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from workers.errors import Contested
from workers.kafka import client

__all__ = ["look"]

_LOOKUP_TIMEOUT_S = 15.0
_PATIENCE_S = 3.0
_STEP_S = 0.1


def look(consumer: Consumer, topic: str, ours: Mapping[int, int | None]) -> None:
    """Watch the committed offsets for three seconds.

    ``ours`` is what this supervisor has committed of each partition, ``None`` where it has never owned it;
    there, any movement tells. Raises :class:`Contested` if somebody commits past that, :class:`BrokersAway`
    if nobody answers.
    """
    where = [TopicPartition(topic, partition) for partition in ours]
    known = dict(ours)
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            # Waits, as read_committed does, while offsets are in an open transaction.
            found = client.committed_offsets(consumer, where, _LOOKUP_TIMEOUT_S)
        except KafkaException as error:
            raise client.lookup_failed(error, topic) from error
        for partition, offset in found.items():
            if known[partition] is None:
                known[partition] = offset or 0
            if (offset or 0) > (known[partition] or 0):
                raise Contested(
                    f"partition {partition}: another supervisor has committed offset {offset}, "
                    f"this one {known[partition]}"
                )
        time.sleep(_STEP_S)
