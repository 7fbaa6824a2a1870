"""The example of docs/pipelines.md, run by a supervisor on real brokers."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from installation import Installation

from supervisor.contract.board import Role
from workers.aggregates import Aggregates

EXAMPLES = Path(__file__).parents[2] / "examples"
MINUTE_MS = 60_000

LAPTOP, PHONE, BOT = "Mozilla/5.0 (X11; Linux)", "Mozilla/5.0 (iPhone) Mobile/15E148", "Examplebot/2.1"


def view(path, minute, country, agent):
    return (
        f'{{"url":"https://shop.example{path}?from=mail","at_ms":{minute * MINUTE_MS},'
        f'"visitor":"ada","country":{country},"agent":"{agent}","referrer":"ignored"}}'
    ).encode()


# Records go round the four partitions in turn; 29841120 minutes after 1970 are 2026-09-27 00:00 UTC.
RECORDS = [
    (b"k0", view("/a", 29841120, '"de"', LAPTOP)),
    (b"k1", view("/a", 29841120, '"de"', PHONE)),
    (b"k2", view("/b", 29841120, '"us"', LAPTOP)),
    (b"k3", view("/b", 29841121, "null", LAPTOP)),
    (b"k4", view("/c", 29841121, '"de"', LAPTOP)),
    (b"k5", view("/c", 29841121, '"de"', BOT)),
    (b"k6", b"not a page view"),
    (b"k7", view("/d", -1, '"de"', LAPTOP)),
]
OUTPUTS = [
    (0, b"k0", "/a", "2026-09-27 00:00:00", "DE", "desktop"),
    (0, b"k4", "/c", "2026-09-27 00:01:00", "DE", "desktop"),
    (1, b"k1", "/a", "2026-09-27 00:00:00", "DE", "phone"),
    (2, b"k2", "/b", "2026-09-27 00:00:00", "US", "desktop"),
    (3, b"k3", "/b", "2026-09-27 00:01:00", "UNKNOWN", "desktop"),
]


@pytest.fixture
def installation(cluster):
    made = Installation(cluster.bootstrap_servers, toml='app.pipeline = "pageviews"')
    made.environment["PYTHONPATH"] = os.pathsep.join([str(EXAMPLES), made.environment["PYTHONPATH"]])
    made.create_topics()
    yield made
    made.close()


def test_the_example_pipeline_writes_drops_rejects_and_counts_page_views(installation):
    installation.produce(RECORDS)
    run_to_the_end(installation)

    assert [
        (message.partition(), message.key(), message.value())
        for message in installation.read(installation.settings.topics.output.name)
    ] == [
        (
            partition,
            key,
            f'{{"path":"{path}","time":"{time}","visitor":"ada","country":"{country}","device":"{device}"}}'.encode(),
        )
        for partition, key, path, time, country, device in OUTPUTS
    ]
    letters = installation.read(installation.settings.topics.dlq.name)
    assert [(letter.key(), letter.value()) for letter in letters] == [RECORDS[6], RECORDS[7]]
    assert [dict(letter.headers())["dlq.error.class"] for letter in letters] == [
        b"DecodeError",
        b"ValueError",
    ]
    assert counts(installation, "total") == {
        ("DE", "desktop"): 2,
        ("DE", "phone"): 1,
        ("US", "desktop"): 1,
        ("UNKNOWN", "desktop"): 1,
    }
    assert counts(installation, "2026-09-27 00:00") == {
        ("DE", "desktop"): 1,
        ("DE", "phone"): 1,
        ("US", "desktop"): 1,
    }


def test_the_example_pipeline_keeps_its_guarantees_when_a_worker_is_killed(installation):
    installation.start()
    board = installation.board()
    installation.wait_serving(board)
    installation.produce(RECORDS * 250)
    os.kill(installation.pid_of(board, Role.OLAP, 1), signal.SIGKILL)
    installation.produce(RECORDS * 250)
    installation.wait_committed(board)
    assert installation.stop() == 0

    written = Counter(
        (message.partition(), message.key())
        for message in installation.read(installation.settings.topics.output.name)
    )
    assert written == {(partition, key): 500 for partition, key, *_ in OUTPUTS}
    assert len(installation.read(installation.settings.topics.dlq.name)) == 1_000
    assert counts(installation, "total") == {
        ("DE", "desktop"): 1_000,
        ("DE", "phone"): 500,
        ("US", "desktop"): 500,
        ("UNKNOWN", "desktop"): 500,
    }


def run_to_the_end(installation):
    installation.start()
    board = installation.board()
    installation.wait_committed(board)
    assert installation.stop() == 0


def counts(installation, window):
    aggregates = Aggregates(installation.settings, installation.partitions)
    try:
        aggregates.read_to_end()
        found = aggregates.counts(window)
    finally:
        aggregates.close()
    return {
        (dict(dimensions)["country"], dict(dimensions)["device"]): count
        for dimensions, count in found.items()
    }
