"""sentry-arroyo: a task for each message, its producing strategy, offsets committed behind it."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from arroyo.backends.kafka import KafkaConsumer, KafkaPayload, KafkaProducer
from arroyo.commit import ONCE_PER_SECOND
from arroyo.processing import StreamProcessor
from arroyo.processing.strategies import (
    CommitOffsets,
    ProcessingStrategy,
    ProcessingStrategyFactory,
    Produce,
    RunTask,
)
from arroyo.types import Commit, Message, Partition, Topic
from task import told, transformation

_TASK = told()
_transform = transformation()


def _enrich(message: Message[KafkaPayload]) -> KafkaPayload:
    payload = message.payload
    return KafkaPayload(payload.key, _transform(payload.value), [])


class _Factory(ProcessingStrategyFactory[KafkaPayload]):
    def __init__(self) -> None:
        self._producer = KafkaProducer(
            {"bootstrap.servers": _TASK.servers, **_TASK.options["producer"]},
            **_TASK.options["kafka_producer"],
        )

    def create_with_partitions(
        self, commit: Commit, partitions: Mapping[Partition, int]
    ) -> ProcessingStrategy[KafkaPayload]:
        produce = Produce(
            self._producer, Topic(_TASK.target), CommitOffsets(commit), **_TASK.options["produce"]
        )
        return RunTask(_enrich, produce)


def main() -> None:
    consumer = KafkaConsumer(
        {
            "bootstrap.servers": _TASK.servers,
            "group.id": _TASK.target,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            **_TASK.options["consumer"],
        }
    )
    processor = StreamProcessor(consumer, Topic(_TASK.source), _Factory(), ONCE_PER_SECOND)
    signal.signal(signal.SIGTERM, lambda _number, _frame: processor.signal_shutdown())
    processor.run()


if __name__ == "__main__":
    main()
