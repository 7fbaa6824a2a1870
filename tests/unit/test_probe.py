"""What the probe refuses before anybody works on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.contract.board import Board
from supervisor.contract.faults import ConfigurationFault
from supervisor.contract.messages import Found, Report
from supervisor.contract.settings import Kafka, Runtime, Settings, TopicName
from supervisor.topics import converge
from supervisor.topics.model import Broker, Observed, ObservedTopic, Partition
from workers.probe import Probe

SETTINGS = Settings(kafka=Kafka(bootstrap_servers="127.0.0.1:1"), runtime=Runtime(bootstrap=False))
NAMES = {key: topic.name for key, topic in SETTINGS.topics.declared().items()}


def cluster(counts: dict[str, int]) -> Observed:
    return Observed(
        "a-cluster",
        (Broker(1, "127.0.0.1", 9092),),
        {
            name: ObservedTopic(tuple(Partition(number, 1, (1,), (1,)) for number in range(count)), {})
            for name, count in counts.items()
        },
    )


def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: dict[str, int]) -> list[Report]:
    """What a probe tells of a cluster with these topics."""
    monkeypatch.setattr(converge, "observe", lambda *_: cluster(counts))
    board = Board.create(tmp_path / "board", workers=1, partitions=8)
    told: list[Report] = []
    Probe(SETTINGS, board, board.worker(0), told.append).open()
    return told


@pytest.mark.parametrize("others", [3, 5], ids=["as many", "more"])
def test_a_cluster_with_enough_partitions_everywhere_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    counts = {**dict.fromkeys(NAMES.values(), others), NAMES["input"]: 3}
    assert opened(tmp_path, monkeypatch, counts) == [Found(3, "a-cluster", 1)]


@pytest.mark.parametrize("count", [None, 1, 2])
@pytest.mark.parametrize("topic", ["output", "aggregates", "dlq", "changelog"])
def test_a_topic_with_fewer_partitions_than_the_input_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, topic: TopicName, count: int | None
) -> None:
    counts = {name: 3 if name != NAMES[topic] else count for name in NAMES.values()}
    there = {name: number for name, number in counts.items() if number is not None}
    with pytest.raises(ConfigurationFault) as caught:
        opened(tmp_path, monkeypatch, there)
    assert caught.value.cause == f"topic {NAMES[topic]} has {count or 0} partitions, the input has 3"
    assert "supervisor topics apply" in caught.value.remedy
    assert "topics.partitions = 3" in caught.value.remedy


def test_an_input_that_does_not_exist_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {name: 3 for key, name in NAMES.items() if key != "input"}
    with pytest.raises(ConfigurationFault, match="the input topic user-login does not exist"):
        opened(tmp_path, monkeypatch, counts)
