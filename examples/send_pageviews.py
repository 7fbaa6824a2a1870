"""Send page views to the input topic: ``python send_pageviews.py 127.0.0.1:9092 1000``."""

from __future__ import annotations

import json
import random
import sys
import time

from confluent_kafka import Producer

AGENTS = ("Mozilla/5.0 (X11; Linux)", "Mozilla/5.0 (iPhone) Mobile/15E148", "Examplebot/2.1")


def main(servers: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True})
    for number in range(count):
        visitor = f"v{random.randrange(500)}"
        view = {
            "url": f"https://shop.example/article/{random.randrange(50)}?from=mail",
            "at_ms": int(time.time() * 1000),
            "visitor": visitor,
            "country": random.choice(["de", "us", "in", None]),
            "agent": random.choice(AGENTS),
        }
        value = json.dumps(view) if number % 100 else "not a page view"
        producer.produce("page-views", value.encode(), visitor.encode())
        producer.poll(0)
    left = producer.flush(30)
    print(f"{count - left} of {count} page views sent")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
