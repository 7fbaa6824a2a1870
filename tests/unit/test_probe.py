"""What the probe refuses before anybody works on it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException
from msgspec import structs
from patience import until

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
            name: ObservedTopic(
                tuple(Partition(number, 1, (1,), (1,)) for number in range(count)), {}, "an-id"
            )
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
    assert opened(tmp_path, monkeypatch, counts) == [Found(3, "a-cluster", 1, "an-id")]


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


class Growing:
    """A cluster whose input is given more partitions; the Kafka client's view of it and the topic tools'."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, bootstrap: bool) -> None:
        self.counts = dict.fromkeys(NAMES.values(), 2)
        self.leaderless: set[int] = set()
        self.asked: list[int] = []
        monkeypatch.setattr(converge, "observe", lambda *_: cluster(self.counts))
        monkeypatch.setattr(converge, "bootstrap", self._bootstrap)
        self.board = Board.create(tmp_path / "board", workers=1, partitions=8)
        self.told: list[Report] = []
        self.settings = structs.replace(SETTINGS, runtime=Runtime(bootstrap=bootstrap))
        self.probe = self.new_probe()

    def new_probe(self) -> Probe:
        probe = Probe(self.settings, self.board, self.board.worker(0), self.told.append)
        probe._admin = cast(Any, self)
        return probe

    def _bootstrap(self, *_: object, partitions: int) -> Observed:
        self.asked.append(partitions)
        self.counts = {name: max(count, partitions) for name, count in self.counts.items()}
        return cluster(self.counts)

    def poll(self, timeout: float) -> int:
        return 0

    def list_topics(self, timeout: float) -> Any:
        leaders = {
            name: {number: self._partition(number) for number in range(count)}
            for name, count in self.counts.items()
        }
        topics = {name: SimpleNamespace(partitions=partitions) for name, partitions in leaders.items()}
        return SimpleNamespace(brokers={1: None}, topics=topics)

    def _partition(self, number: int) -> Any:
        return SimpleNamespace(leader=-1 if number in self.leaderless else 1)

    def list_offsets(self, places: Any, **_: object) -> dict[Any, Any]:
        if any(place.partition in self.leaderless for place in places):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        answer = SimpleNamespace(result=lambda: SimpleNamespace(offset=7))
        return dict.fromkeys(places, answer)

    def step(self) -> None:
        self.probe._due = self.probe._grow_due = 0.0
        self.probe.step()


@pytest.mark.parametrize("bootstrap", [True, False])
def test_partitions_added_to_the_input_are_told_and_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, bootstrap: bool
) -> None:
    growing = Growing(tmp_path, monkeypatch, bootstrap=bootstrap)
    growing.probe.open()
    growing.step()
    assert growing.told == [Found(2, "a-cluster", 1, "an-id")]
    growing.counts[NAMES["input"]] = 4
    if not bootstrap:
        growing.counts = dict.fromkeys(NAMES.values(), 4)
    growing.step()
    assert growing.told[1:] == [Found(4, "a-cluster", 1, "an-id")]
    assert growing.asked == ([0, 4] if bootstrap else [])
    assert [growing.board.topic(partition).end for partition in range(5)] == [7, 7, 7, 7, 0]
    growing.step()
    assert len(growing.told) == 2


def test_where_the_other_topics_have_fewer_the_partitions_served_so_far_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    growing = Growing(tmp_path, monkeypatch, bootstrap=False)
    growing.probe.open()
    growing.counts[NAMES["input"]] = 3
    for _ in range(3):
        growing.board.topic(0).seen_ns = 0
        growing.step()
        assert growing.board.topic(0).seen_ns > 0
    assert len(growing.told) == 1
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert "the input has 3 partitions now, 2 are served: topic processed-data has 2" in warnings[0]
    growing.counts = dict.fromkeys(NAMES.values(), 3)
    growing.step()
    assert growing.told[1:] == [Found(3, "a-cluster", 1, "an-id")]


def test_a_new_partition_is_served_once_it_has_a_leader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing = Growing(tmp_path, monkeypatch, bootstrap=True)
    growing.probe.open()
    growing.counts[NAMES["input"]] = 3
    growing.leaderless = {2}
    growing.step()
    assert len(growing.told) == 1
    growing.leaderless = set()
    growing.step()
    assert len(growing.told) == 2


def test_more_partitions_than_the_board_has_room_for_stop_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing = Growing(tmp_path, monkeypatch, bootstrap=True)
    growing.probe.open()
    growing.counts[NAMES["input"]] = 9
    growing.step()
    assert len(growing.told) == 1
    assert growing.asked == [0]
    assert growing.board.topic(1).end == 7


def test_a_probe_that_is_replaced_does_not_refuse_partitions_that_were_added_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing = Growing(tmp_path, monkeypatch, bootstrap=True)
    growing.board.header.topic_partitions = 4
    growing.counts = dict.fromkeys(NAMES.values(), 4)
    growing.probe.open()
    assert growing.asked == [4]
    assert growing.told == [Found(4, "a-cluster", 1, "an-id")]


def test_between_two_looks_it_is_alive_however_long_the_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing = Growing(tmp_path, monkeypatch, bootstrap=False)
    growing.settings = structs.replace(
        growing.settings, runtime=Runtime(bootstrap=False, probe_interval_s=3_600)
    )
    probe = growing.new_probe()
    probe.open()
    probe.step()
    slot = growing.board.worker(0)
    looked = growing.board.header.brokers_asked_ns
    slot.heartbeat_ns = 0
    probe.step()
    assert slot.heartbeat_ns > 0
    assert growing.board.header.brokers_asked_ns == looked > 0
    assert probe.rest_s <= 1


def test_why_brokers_cannot_be_reached_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client hands its log lines over only when it is polled."""
    monkeypatch.setattr("workers.probe._ANSWER_S", 0.3)
    board = Board.create(tmp_path / "board", workers=1, partitions=8)
    probe = Probe(SETTINGS, board, board.worker(0), lambda report: None)

    def logged() -> bool:
        probe._due = 0.0
        probe.step()
        return any(
            "127.0.0.1:1" in record.getMessage() for record in caplog.records if record.name == "kafka"
        )

    until(logged)


def test_a_partition_without_a_leader_hides_neither_the_others_nor_that_brokers_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing = Growing(tmp_path, monkeypatch, bootstrap=False)
    growing.probe.open()
    growing.leaderless = {0}
    growing.step()
    assert growing.board.header.brokers_answered_ns > 0
    assert [growing.board.topic(partition).end for partition in range(2)] == [0, 7]
    growing.leaderless = set()
    growing.step()
    assert [growing.board.topic(partition).end for partition in range(2)] == [7, 7]
