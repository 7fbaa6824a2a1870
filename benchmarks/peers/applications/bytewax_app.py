"""Bytewax: Kafka in, one step over whole batches, Kafka out; its recovery store keeps the offsets."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from task import Task, told, transformation


def _flow(task: Task) -> Dataflow:
    transform = transformation()

    def enrich(batch: list) -> list:
        return [KafkaSinkMessage(message.key, transform(message.value)) for message in batch]

    flow = Dataflow("logins")
    source = KafkaSource(
        [task.servers], [task.source], add_config=task.options["consumer"], **task.options["source"]
    )
    sink = KafkaSink([task.servers], task.target, add_config=task.options["producer"])
    op.output("out", op.flat_map_batch("enrich", op.input("in", flow, source), enrich), sink)
    return flow


def _store(task: Task) -> Path:
    """Made by the first process; the others wait until it is whole."""
    store = Path(task.directory) / "recovery"
    if task.index == 0:
        part = store.with_suffix(".part")
        part.mkdir()
        init_db_dir(part, task.count)
        part.rename(store)
    while not store.exists():
        time.sleep(0.05)
    return store


def main() -> None:
    task = told()
    addresses = [f"127.0.0.1:{port}" for port in task.ports]
    cli_main(
        _flow(task),
        process_id=task.index,
        addresses=addresses,
        epoch_interval=timedelta(seconds=task.options["epoch_s"]),
        recovery_config=RecoveryConfig(str(_store(task))),
    )


if __name__ == "__main__":
    main()
