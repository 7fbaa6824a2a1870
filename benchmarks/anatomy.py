"""Where an event's CPU time goes in an OLAP worker: fetched, transformed, produced; Python or client.

    python benchmarks/anatomy.py --write
    python benchmarks/anatomy.py --events 100000 --rounds 3

The worker's own parts, in one process on one partition: a pass over the topic that only fetches, one that
also decodes, enriches and encodes, and one that also produces and commits, round by round; each step is the
difference to the pass before it in the same round. A last pass produces by ``confluent_kafka.Producer``
instead. Time is that of the thread that runs Python, and of all the others, which are librdkafka's. Then the
transformation is taken apart, over records that are in memory.
"""

from __future__ import annotations

import gc
import json
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
from confluent_kafka import Consumer, Message, Producer, TopicPartition

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.anatomy_page import PASSES, text
from benchmarks.backlog import Backlog, create_topic
from benchmarks.machine import Machine
from benchmarks.report import command, keep
from supervisor.cluster import Cluster
from supervisor.cluster.jars import KAFKA_VERSION
from supervisor.contract.settings import App, Kafka, Settings
from workers import logins, pipeline
from workers.decode import Processor, aligned
from workers.kafka import client
from workers.olap.careful import PIECE
from workers.olap.transaction import Transaction

_BROKERS = 3
_HEAP_MB = 1024
_SOURCE, _TARGET = "anatomy-in", "anatomy-out"
_COMMIT_S = 0.1
_BATCH = Settings().olap.batch_events
_IN_MEMORY = 20_000
_PATIENCE_S = 30.0

Records = list[Message]


@click.command()
@click.option("--events", "count", default=250_000, show_default=True, help="Of each pass.")
@click.option("--rounds", default=7, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--write", is_flag=True, help="Keep the result, and write the report anew.")
def main(count: int, rounds: int, as_json: bool, write: bool) -> None:
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    machine = Machine()
    # As a worker does once it has everything that stays.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    with Cluster.start(brokers=_BROKERS, heap_mb=_HEAP_MB, notify=_say) as cluster:
        servers = cluster.bootstrap_servers
        Backlog(count).load(servers, _SOURCE, 1)
        create_topic(servers, _TARGET, 1)
        passes = _passes(servers, count, rounds)
        steps = _steps(_in_memory(servers, min(count, _IN_MEMORY)), rounds)
    result = {
        "command": command(),
        "machine": machine.told(),
        "events": count,
        "rounds": rounds,
        "brokers": f"{_BROKERS} brokers of Kafka {KAFKA_VERSION}",
        "passes": passes,
        "steps": steps,
    }
    if write:
        keep("anatomy", result)
    click.echo(json.dumps(result, indent=2) if as_json else text(result))


# -- passes over the topic --------------------------------------------------------------------------------


def _passes(servers: str, count: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in PASSES}
    made = (_fetch, _transform, _produce, _produce_by_the_client)
    for number in range(1, rounds + 1):
        for name, make in zip(PASSES, made, strict=True):
            settings = Settings(
                app=App(name=f"anatomy-{make.__name__}-{number}"), kafka=Kafka(bootstrap_servers=servers)
            )
            found[name].append(_pass(settings, count, *make(settings)))
            _say(f"round {number}: {name}: {found[name][-1]}")
    return found


def _pass(
    settings: Settings, count: int, take: Callable[[Records], None], commit: Callable[[int], None]
) -> dict[str, float]:
    """Read the topic from its beginning; microseconds of CPU an event, of Python's thread and the others."""
    consumer = _reader(settings)
    position = len(consumer.consume(1, _PATIENCE_S))
    everybody, ours, due = time.process_time(), time.thread_time(), time.monotonic() + _COMMIT_S
    while position < count:
        records = [record for record in consumer.consume(_BATCH, _COMMIT_S) if record.error() is None]
        for start in range(0, len(records), PIECE):
            take(records[start : start + PIECE])
        position += len(records)
        if time.monotonic() >= due or position == count:
            commit(position)
            due = time.monotonic() + _COMMIT_S
    ours, everybody = time.thread_time() - ours, time.process_time() - everybody
    consumer.close()
    return {"python": round(ours / count * 1e6, 3), "client": round((everybody - ours) / count * 1e6, 3)}


def _reader(settings: Settings) -> Consumer:
    consumer = Consumer(client.olap_consumer(settings))
    consumer.assign([TopicPartition(_SOURCE, 0, 0)])
    return consumer


def _fetch(_settings: Settings) -> tuple[Callable[[Records], None], Callable[[int], None]]:
    return lambda _records: None, lambda _position: None


def _transform(_settings: Settings) -> tuple[Callable[[Records], None], Callable[[int], None]]:
    processor = Processor(pipeline.load("workers.logins"))

    def take(records: Records) -> None:
        processor.process(list(map(Message.value, records)))

    return take, lambda _position: None


def _produce(settings: Settings) -> tuple[Callable[[Records], None], Callable[[int], None]]:
    processor = Processor(pipeline.load("workers.logins"))
    transaction = Transaction(client.olap_producer(settings, 0), 0, client.olap_group(settings))
    transaction.open()

    def take(records: Records) -> None:
        transaction.begin()
        batch = processor.process(list(map(Message.value, records)))
        transaction.produce_all(_TARGET, batch.payloads, list(map(Message.key, records)))

    def commit(position: int) -> None:
        if transaction.begun:
            transaction.send_offsets(_SOURCE, position)
            transaction.commit()

    return take, commit


def _produce_by_the_client(settings: Settings) -> tuple[Callable[[Records], None], Callable[[int], None]]:
    processor = Processor(pipeline.load("workers.logins"))
    producer = Producer(client.olap_producer(settings, 0))
    producer.init_transactions(_PATIENCE_S)
    producer.begin_transaction()
    group = Consumer(client.olap_consumer(settings)).consumer_group_metadata()

    def take(records: Records) -> None:
        batch = processor.process(list(map(Message.value, records)))
        made = [
            {"value": payload, "key": record.key()}
            for payload, record in zip(batch.payloads, records, strict=True)
        ]
        producer.produce_batch(_TARGET, made, partition=0)

    def commit(position: int) -> None:
        producer.send_offsets_to_transaction([TopicPartition(_SOURCE, 0, position)], group)
        producer.commit_transaction(_PATIENCE_S)
        producer.begin_transaction()

    return take, commit


# -- the transformation, taken apart ----------------------------------------------------------------------


def _in_memory(servers: str, count: int) -> Records:
    consumer = _reader(Settings(app=App(name="anatomy"), kafka=Kafka(bootstrap_servers=servers)))
    found: Records = []
    while len(found) < count:
        found += [record for record in consumer.consume(count, 1.0) if record.error() is None]
    consumer.close()
    return found[:count]


def _steps(records: Records, rounds: int) -> dict[str, list[float]]:
    """Microseconds an event of each step, round by round, piece by piece as a worker does it."""
    decoder, encoder = msgspec.json.Decoder(logins.Event), msgspec.json.Encoder()
    spent: dict[str, list[float]] = {}

    def timed(name: str, act: Callable[[], Any]) -> Any:
        began = time.thread_time()
        result = act()
        spent[name][-1] += time.thread_time() - began
        return result

    names = ("values taken out", "alignment", "decoded", "enriched", "encoded")
    for name in names:
        spent[name] = []
    for _ in range(rounds):
        for name in names:
            spent[name].append(0.0)
        for start in range(0, len(records), PIECE):
            piece = records[start : start + PIECE]
            values = timed("values taken out", partial(list, map(Message.value, piece)))
            timed("alignment", partial(aligned, values))
            events = timed("decoded", partial(_decoded, decoder, values))
            timed("enriched", partial(_enriched, events))
            timed("encoded", partial(_encoded, encoder, events))
    return {name: [round(of / len(records) * 1e6, 3) for of in rounds_] for name, rounds_ in spent.items()}


def _decoded(decoder: Any, values: list[bytes]) -> Any:
    return decoder.decode_lines(b"\n".join(values))


def _enriched(events: list[logins.Event]) -> None:
    for event in events:
        logins.enrich(event)


def _encoded(encoder: msgspec.json.Encoder, events: list[logins.Event]) -> list[bytes]:
    return encoder.encode_lines(events).split(b"\n")


def _say(what: str) -> None:
    click.echo(what, err=True)


if __name__ == "__main__":
    main()
