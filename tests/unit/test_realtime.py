"""What the real-time worker makes of its commits, with simulated brokers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from simulated_brokers import COMMIT_OFFSETS, FETCH_OFFSETS, SimulatedBrokers

from supervisor.contract.board import Board, RealtimePartition
from supervisor.contract.exits import WorkerExit
from supervisor.contract.settings import Kafka, Realtime, Settings
from workers import pipeline
from workers.decode import Batch, Processor
from workers.errors import WorkerError
from workers.kafka import client
from workers.realtime import RealtimeWorker
from workers.sinks import SinkUnavailable

INPUT = "user-login"


class Kept:
    """A sink that keeps what it is given."""

    name = "kept"

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.reopened = 0

    def write(self, lines: Sequence[bytes]) -> None:
        self.lines += lines

    def flush(self) -> None: ...

    def poll(self) -> None: ...

    def reopen(self) -> None:
        self.reopened += 1

    def close(self) -> None: ...


class Running:
    """A worker on one partition that holds three events, which reach it together."""

    def __init__(self, brokers: SimulatedBrokers, directory: Path, commit_interval_ms: int) -> None:
        brokers.create_topic(INPUT, 1)
        # It lingers until the flush: three events are one batch, and a batch is fetched as one.
        producer = Producer({"bootstrap.servers": brokers.bootstrap, "log_level": 0, "linger.ms": 60_000})
        for _ in range(3):
            producer.produce(INPUT, b"{}", partition=0)
        producer.flush()
        board = Board.create(directory / "board", workers=1, partitions=1)
        self.settings = Settings(
            kafka=Kafka(bootstrap_servers=brokers.bootstrap, client={"log_level": 0}),
            realtime=Realtime(commit_interval_ms=commit_interval_ms),
        )
        self.record: RealtimePartition = board.realtime(0)
        self.sink = Kept()
        self._board = board
        self.worker = self._worker()

    def _worker(self) -> RealtimeWorker:
        logins = pipeline.load("workers.logins")
        return RealtimeWorker(self.settings, logins, self._board, self._board.worker(0), [0], [self.sink])

    def replace(self) -> None:
        """The next worker, after this one has died: what is on the board stays."""
        self.worker.close()
        self.worker = self._worker()
        self.worker.open()

    def step_until(self, done: Callable[[], bool]) -> None:
        for _ in range(200):
            if done():
                return
            self.worker.step()
        raise AssertionError("it was never done")

    def group(self) -> Consumer:
        return Consumer(client.realtime_consumer(self.settings))

    def committed(self) -> int | None:
        consumer = self.group()
        found = client.committed_offsets(consumer, [TopicPartition(INPUT, 0)], 10.0)
        consumer.close()
        return found[0]


@pytest.fixture
def running(request: pytest.FixtureRequest, brokers: SimulatedBrokers, tmp_path: Path) -> Iterator[Running]:
    """It commits as soon as it may, or at the interval that a test asks for."""
    running = Running(brokers, tmp_path, getattr(request, "param", 10))
    yield running
    running.worker.close()


# What is shown stays uncommitted, however slow the machine is, until it drains.
only_at_the_drain = pytest.mark.parametrize("running", [60_000], indirect=True, ids=["each minute"])


def test_told_to_open_files_anew_it_tells_its_sinks(running: Running) -> None:
    running.worker.open()
    running.worker.reopen()
    assert running.sink.reopened == 1


def test_an_offset_counts_as_committed_once_the_brokers_have_said_so(running: Running) -> None:
    running.worker.open()
    running.step_until(lambda: running.record.position == 3)
    assert running.record.committed == 0
    running.step_until(lambda: running.record.committed == 3)
    assert running.committed() == 3
    assert len(running.sink.lines) == 3


@pytest.mark.parametrize(
    "code", [KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.UNKNOWN_TOPIC_OR_PART], ids=str
)
def test_a_commit_that_fails_for_a_while_is_made_again_without_another_event(
    running: Running, brokers: SimulatedBrokers, code: int
) -> None:
    brokers.answer(COMMIT_OFFSETS, *[code] * 3)
    running.worker.open()
    running.step_until(lambda: running.record.committed == 3)
    assert running.committed() == 3


def test_commits_that_are_refused_end_the_worker_and_say_so(
    running: Running, brokers: SimulatedBrokers
) -> None:
    """It would repeat everything at its next start, and nobody would know why."""
    brokers.answer(COMMIT_OFFSETS, *[KafkaError.GROUP_AUTHORIZATION_FAILED] * 10)
    running.worker.open()
    with pytest.raises(
        WorkerError, match=r"group logins\.realtime cannot be committed: .*GROUP_AUTHORIZATION_FAILED"
    ) as caught:
        running.step_until(lambda: False)
    assert caught.value.exit_code is WorkerExit.CONFIGURATION
    assert "ACLs" in caught.value.remedy
    assert running.record.committed == 0


def test_commits_that_fail_for_another_reason_are_tried_again_by_the_next_worker(
    running: Running, brokers: SimulatedBrokers
) -> None:
    brokers.answer(COMMIT_OFFSETS, *[KafkaError.INVALID_COMMIT_OFFSET_SIZE] * 10)
    running.worker.open()
    with pytest.raises(WorkerError, match="INVALID_COMMIT_OFFSET_SIZE") as caught:
        running.step_until(lambda: False)
    assert caught.value.exit_code is WorkerExit.CRASH


def test_an_input_that_may_not_be_read_is_a_matter_of_configuration(running: Running) -> None:
    refused = Message(topic=INPUT, partition=0, error=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    with pytest.raises(WorkerError, match=r"cannot consume: .*TOPIC_AUTHORIZATION_FAILED") as caught:
        running.worker._is_record(refused)
    assert caught.value.exit_code is WorkerExit.CONFIGURATION


@only_at_the_drain
def test_what_was_shown_is_committed_when_it_drains(running: Running) -> None:
    running.worker.open()
    running.step_until(lambda: running.record.position == 3)
    running.worker.drain()
    assert running.record.committed == 3
    assert running.committed() == 3


@only_at_the_drain
def test_a_drain_that_cannot_commit_says_so(running: Running, brokers: SimulatedBrokers) -> None:
    running.worker.open()
    running.step_until(lambda: running.record.position == 3)
    brokers.answer(COMMIT_OFFSETS, *[KafkaError.GROUP_AUTHORIZATION_FAILED] * 10)
    with pytest.raises(WorkerError, match="GROUP_AUTHORIZATION_FAILED"):
        running.worker.drain()
    assert running.record.committed == 0


def test_it_goes_on_at_the_committed_offset(running: Running) -> None:
    consumer = running.group()
    consumer.commit(offsets=[TopicPartition(INPUT, 0, 2)], asynchronous=False)
    consumer.close()
    running.worker.open()
    assert (running.record.position, running.record.committed) == (2, 2)
    running.step_until(lambda: running.record.position == 3)
    assert len(running.sink.lines) == 1


def test_a_coordinator_that_moves_does_not_make_it_begin_anew(
    running: Running, brokers: SimulatedBrokers
) -> None:
    consumer = running.group()
    consumer.commit(offsets=[TopicPartition(INPUT, 0, 2)], asynchronous=False)
    consumer.close()
    brokers.answer(FETCH_OFFSETS, *[KafkaError.UNSTABLE_OFFSET_COMMIT] * 2)
    running.worker.open()
    assert running.record.position == 2


def test_brokers_that_are_away_when_it_opens_are_not_its_fault(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("workers.realtime._LOOKUP_TIMEOUT_S", 0.2)
    board = Board.create(tmp_path / "another", workers=1, partitions=1)
    settings = Settings(kafka=Kafka(bootstrap_servers="127.0.0.1:1"))
    worker = RealtimeWorker(settings, pipeline.load("workers.logins"), board, board.worker(0), [0], [])
    with pytest.raises(WorkerError) as caught:
        worker.open()
    assert caught.value.exit_code is WorkerExit.BROKERS_UNREACHABLE
    worker.close()


def test_while_a_sink_takes_nothing_it_is_told_once_and_the_others_are_polled(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    polled = 0

    def full() -> None:
        raise SinkUnavailable("the disk is full", "make room")

    def poll() -> None:
        nonlocal polled
        polled += 1

    monkeypatch.setattr(running.sink, "flush", full)
    monkeypatch.setattr(running.sink, "poll", poll)
    running.worker.open()
    running.step_until(lambda: any("held up" in record.message for record in caplog.records))
    before = polled
    with caplog.at_level("INFO"):
        for _ in range(5):
            running.worker.step()
        assert polled == before + 5
        assert sum("held up" in record.message for record in caplog.records) == 1
        monkeypatch.setattr(running.sink, "flush", lambda: None)
        running.step_until(lambda: running.record.committed == 3)
        assert "sinks take events again" in caplog.messages


class Death(BaseException):
    """What would have ended the process."""


@pytest.fixture
def touched(running: Running, monkeypatch: pytest.MonkeyPatch) -> list[range]:
    """What the board says is in hand whenever records are touched. The record at offset 1 kills."""
    seen: list[range] = []
    process = Processor.process

    def recorded(self: Processor, values: Any) -> Batch:
        seen.append(range(running.record.in_hand, running.record.in_hand_end))
        if 1 in seen[-1]:
            raise Death
        return process(self, values)

    monkeypatch.setattr(Processor, "process", recorded)
    return seen


def test_what_is_in_hand_is_on_the_board_while_it_is_processed_and_not_after(running: Running) -> None:
    running.worker.open()
    running.step_until(lambda: running.record.position == 3)
    assert running.record.in_hand == running.record.in_hand_end == 3
    assert running.record.suspect_end == 0


def test_a_record_that_kills_its_workers_is_narrowed_down_and_gone_past(
    running: Running, touched: list[range]
) -> None:
    running.worker.open()
    deaths = 0
    while running.record.position < 3:
        try:
            running.step_until(lambda: running.record.position == 3)
        except Death:
            deaths += 1
            assert deaths <= running.settings.dlq.poison_deaths
            running.replace()
    assert deaths == running.settings.dlq.poison_deaths
    assert touched[0] == range(3)
    assert touched.count(range(1, 2)) >= 2
    # The others are shown, at least once: 0 again after each death, since nothing was committed.
    assert len(running.sink.lines) >= 2
    running.step_until(lambda: running.record.committed == 3)
    touched.clear()
    running.replace()
    running.worker.step()
    assert touched == []


def test_what_kills_behind_a_record_that_was_gone_past_does_not_bring_that_one_back(
    running: Running, touched: list[range], monkeypatch: pytest.MonkeyPatch
) -> None:
    running.record.suspect, running.record.suspect_end, running.record.deaths = 1, 2, 3
    running.worker.open()
    monkeypatch.setattr(RealtimeWorker, "_commit", lambda _: None)
    running.step_until(lambda: running.record.position == 3)
    assert running.record.committed == 2
    running.record.in_hand, running.record.in_hand_end = 2, 3
    running.replace()
    assert (running.record.suspect, running.record.suspect_end, running.record.deaths) == (2, 3, 1)


def test_records_that_were_in_hand_at_different_deaths_do_not_add_up(running: Running) -> None:
    record = running.record
    for begin in range(3):
        record.in_hand, record.in_hand_end = begin, begin + 1
        running.replace()
        assert (record.suspect, record.deaths) == (begin, 1)
