"""The floor to measure against: one file around the login pipeline, exactly once, and nothing else.

No dead letters, no aggregates, no board, no supervisor, no faults: what a careful person writes in an hour
with consume() batches, msgspec and produce_batch. The events are enriched by the product's own function, so
that both do the same to them: what the product costs is what it takes beyond this, in the same run on the
same machine.
"""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.queues import Queue
from typing import Any

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from workers.logins import Event, enrich

__all__ = ["run"]

_spawn = multiprocessing.get_context("spawn")


def _work(servers: str, topic: str, out: str, partition: int, end: int, done: Queue[float]) -> None:
    decoder, encoder = msgspec.json.Decoder(Event), msgspec.json.Encoder()
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"prototype-{out}",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": 20,
            "queued.max.messages.kbytes": 16_384,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "transactional.id": f"prototype-{out}-{partition}",
            "linger.ms": 2_000,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    producer.init_transactions(30)
    consumer.assign([TopicPartition(topic, partition, 0)])
    started = time.process_time()
    position = 0
    while position < end:
        producer.begin_transaction()
        due = time.monotonic() + 1.0
        while time.monotonic() < due and position < end:
            messages = [m for m in consumer.consume(1_000, 0.05) if m.error() is None]
            if not messages:
                continue
            events = decoder.decode_lines(b"\n".join([m.value() or b"{}" for m in messages]))
            for event in events:
                enrich(event)
            payloads = encoder.encode_lines(events).split(b"\n")
            records: list[dict[str, Any]] = [
                {"value": payload, "key": message.key()}
                for payload, message in zip(payloads, messages, strict=False)
            ]
            producer.produce_batch(out, records, partition=partition)
            position = (messages[-1].offset() or 0) + 1
        producer.send_offsets_to_transaction(
            [TopicPartition(topic, partition, position)], consumer.consumer_group_metadata()
        )
        producer.commit_transaction(30)
    done.put(time.process_time() - started)


def run(servers: str, topic: str, out: str, ends: dict[int, int]) -> float:
    """Process the whole topic, a process per partition; returns seconds of CPU, without those of starting."""
    done: Queue[float] = _spawn.Queue()
    workers = [
        _spawn.Process(target=_work, args=(servers, topic, out, partition, end, done))
        for partition, end in ends.items()
    ]
    for worker in workers:
        worker.start()
    cpu = sum(done.get() for _ in workers)
    for worker in workers:
        worker.join()
    return cpu
