"""What one writes first: a consumer group, json, a producer; offsets are committed behind what was sent."""

from __future__ import annotations

import json
import signal
import time
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer
from task import told

_COMMIT_S = 1.0
_STATES = {
    "East": "NY NJ PA MA CT RI VT NH ME DE MD VA WV NC SC GA FL",
    "South": "AL MS LA TX AR TN KY OK",
    "Midwest": "OH IN IL MI WI MN IA MO KS NE SD ND",
    "West": "CA OR WA NV AZ UT CO WY MT ID NM AK HI",
}
_REGION = {state: region for region, states in _STATES.items() for state in states.split()}
_ABSENT = {
    "user_id": "missing_user_id",
    "app_version": "x.x",
    "device_type": "missing_device_type",
    "ip": "missing_ip",
    "locale": "missing_locale",
    "device_id": "missing_device_id",
}


def enrich(event: dict[str, Any]) -> dict[str, Any]:
    for field, instead in _ABSENT.items():
        if event.get(field) is None:
            event[field] = instead
    event["region"] = _REGION.get(event["locale"], "Unknown")
    timestamp = event.get("timestamp")
    if timestamp is None:
        event["timestamp"], event["time_flg"] = "missing_timestamp", None
    else:
        moment = datetime.fromtimestamp(int(timestamp), UTC)
        hour = moment.hour
        event["timestamp"] = moment.strftime("%Y-%m-%d %H:%M:%S")
        event["time_flg"] = 1 if 6 <= hour < 12 else 2 if 12 <= hour < 18 else 3 if 18 <= hour < 22 else 4
    return event


def main() -> None:
    task = told()
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    consumer = Consumer(
        {
            "bootstrap.servers": task.servers,
            "group.id": task.target,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **task.options["consumer"],
        }
    )
    producer = Producer({"bootstrap.servers": task.servers, **task.options["producer"]})

    def commit(*_: object) -> None:
        """Also before partitions go to another process."""
        producer.flush()
        try:
            consumer.commit(asynchronous=False)
        except KafkaException:  # nothing to commit yet
            return

    consumer.subscribe([task.source], on_revoke=commit)
    due = time.monotonic() + _COMMIT_S
    while not stopped:
        for message in consumer.consume(1_000, 0.1):
            if message.error() is not None:
                raise KafkaException(message.error())
            value = json.dumps(enrich(json.loads(message.value() or b"")), separators=(",", ":"))
            while True:
                try:
                    producer.produce(task.target, value, message.key())
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.poll(0)
        if time.monotonic() > due:
            commit()
            due = time.monotonic() + _COMMIT_S
    commit()
    consumer.close()


if __name__ == "__main__":
    main()
