"""What an OLAP worker makes of what its clients report, with simulated brokers. Its guarantees are for real
ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any, cast

import pytest
from bytecodes import bytecodes
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from patience import PATIENCE_S, until
from simulated_brokers import END_TXN, SimulatedBrokers

from supervisor.contract.board import Board, OlapPartition, Stage, WorkerSlot
from supervisor.contract.exits import WorkerExit
from supervisor.contract.messages import Prepare, Suspect
from supervisor.contract.settings import Dlq, Kafka, Olap, Settings
from supervisor.generate.events import events
from workers import pipeline, roles
from workers.decode import Processor
from workers.errors import Contested, DlqLimitReached, Fenced, WorkerError
from workers.kafka import client
from workers.olap import contest, state
from workers.olap import partition as partition_module
from workers.olap.ledger import Ledger
from workers.olap.partition import PartitionWork
from workers.olap.preparation import Preparation, PreparedPartition
from workers.olap.takeover import Takeover
from workers.olap.windows import LONGEST, WindowedCounts
from workers.olap.worker import OlapWorker

LOGINS = pipeline.load("workers.logins")
INPUT, CHANGELOG, DLQ = "user-login", "login-changelog", "user-login-dlq"
PARTITIONS = 2
BYTECODES = {False: 155, True: 160}
"""For each event, by whether it is counted; with CPython 3.11 they are 126 and 131."""
# Nothing is committed unless a test does.
NEVER_DUE = Olap(commit_interval_ms=60_000)
ACCEPTS_LOST_STATE = Olap(commit_interval_ms=60_000, on_lost_state="restart")


def report(code: int, offset: int = 0) -> Message:
    return Message(topic=INPUT, partition=0, offset=offset, error=KafkaError(code))


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board.create(tmp_path / "board", workers=1, partitions=PARTITIONS)


@pytest.fixture
def work(board: Board) -> Iterator[PartitionWork]:
    """Work on a partition that has begun nothing; nobody listens at its brokers' address."""
    settings = Settings(kafka=Kafka(bootstrap_servers="127.0.0.1:1"))
    work = PartitionWork(settings, LOGINS, 0, board.worker(0), board.olap(0))
    yield work
    work.close()


@pytest.mark.parametrize(
    "code",
    [
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    ],
    ids=str,
)
def test_what_passes_by_itself_is_no_error(work: PartitionWork, board: Board, code: int) -> None:
    work._judge([report(code, offset=12)])
    assert board.olap(0).position == 0


def test_a_worker_that_retention_overtook_is_replaced_and_its_successor_decides(work: PartitionWork) -> None:
    """It may be that the loss is accepted (olap.on_lost_offsets): then nothing has to stop for it."""
    with pytest.raises(WorkerError, match="gone from the input") as caught:
        work._judge([report(KafkaError._AUTO_OFFSET_RESET)])
    assert caught.value.exit_code is WorkerExit.CRASH


def test_an_error_that_does_not_pass_ends_the_worker_and_is_named(work: PartitionWork) -> None:
    with pytest.raises(WorkerError, match="TOPIC_AUTHORIZATION_FAILED") as refused:
        work._judge([report(KafkaError._TRANSPORT), report(KafkaError.TOPIC_AUTHORIZATION_FAILED)])
    assert refused.value.exit_code is WorkerExit.CONFIGURATION
    with pytest.raises(WorkerError, match="OFFSET_OUT_OF_RANGE") as other:
        work._judge([report(KafkaError.OFFSET_OUT_OF_RANGE)])
    assert other.value.exit_code is WorkerExit.CRASH


def test_transaction_markers_at_the_end_are_no_lag(work: PartitionWork, board: Board) -> None:
    work._judge([report(KafkaError._PARTITION_EOF, offset=12)])
    assert (board.olap(0).position, board.olap(0).committed) == (12, 12)
    work._judge([report(KafkaError._PARTITION_EOF, offset=11)])
    assert (board.olap(0).position, board.olap(0).committed) == (12, 12)


class Running:
    """What it takes to run OLAP workers against simulated brokers."""

    def __init__(self, brokers: SimulatedBrokers, board: Board) -> None:
        self.board = board
        self._brokers = brokers
        self._kafka = Kafka(bootstrap_servers=brokers.bootstrap, client={"log_level": 0})
        for topic in Settings().topics.declared().values():
            brokers.create_topic(topic.name, PARTITIONS)

    def produce(self, *values: bytes, partitions: int = 1, stamp: int = 0) -> None:
        # It lingers until the flush: what is produced together is one batch, and is fetched as one.
        producer = Producer(
            {"bootstrap.servers": self._brokers.bootstrap, "log_level": 0, "linger.ms": 60_000}
        )
        for partition in range(partitions):
            for value in values:
                producer.produce(INPUT, value, partition=partition, timestamp=stamp)
        producer.flush()

    def worker(
        self,
        olap: Olap = NEVER_DUE,
        enrich: Callable[[Any], Any] = LOGINS.enrich,
        *,
        partitions: int = 1,
        contested: bool = False,
        suspects: Iterable[Suspect] = (),
        dlq: Dlq | None = None,
        prepared: Mapping[int, PreparedPartition] | None = None,
    ) -> OlapWorker:
        settings = Settings(kafka=self._kafka, olap=olap, dlq=dlq or Dlq())
        served = replace(LOGINS, enrich=enrich)
        return OlapWorker(
            settings,
            served,
            self.board,
            self.board.worker(0),
            range(partitions),
            contested=contested,
            suspects=suspects,
            prepared=prepared,
        )

    def prepare(self, *partitions: int) -> Preparation:
        return roles.prepare(Settings(kafka=self._kafka), LOGINS, Prepare(partitions))

    def group(self) -> Consumer:
        return Consumer(client.olap_consumer(Settings(kafka=self._kafka)))

    def dead_letters(self) -> list[tuple[int, str]]:
        """Offset and class of those on partition 0; simulated brokers do not hide aborted ones."""
        consumer = Consumer(client.realtime_consumer(Settings(kafka=self._kafka)))
        consumer.assign([TopicPartition(DLQ, 0, 0)])
        found: list[tuple[int, str]] = []
        while True:
            for message in consumer.consume(100, 1.0):
                if message.error() is not None:
                    consumer.close()
                    return found
                headers: Any = dict(message.headers() or [])
                found.append((int(headers["dlq.offset"]), headers["dlq.error.class"].decode()))

    def written_offset(self, partition: int) -> int | None:
        """The offset in the changelog: the group's of a transaction are not kept by simulated brokers."""
        changelog = state.Changelog(self.group(), CHANGELOG, partition)
        changelog.read_on()
        found = changelog.restore(LOGINS.dimensions, WindowedCounts(3_600))
        changelog.close()
        return found


@pytest.fixture
def running(brokers: SimulatedBrokers, board: Board) -> Running:
    return Running(brokers, board)


def past_first_moments(worker: OlapWorker) -> None:
    """As if the worker had owned its partitions for a while."""
    for work in worker._work:
        work._eager_until = 0.0


def step_until(worker: OlapWorker, done: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE_S  # also where a test sets the worker's clock
    while not done():
        assert monotonic() < deadline, "it was never done"
        worker.step()


class Gathered:
    """A consumer whose next fetch is of so many messages, news of the end among them, however they came."""

    def __init__(self, consumer: Consumer, count: int) -> None:
        self._consumer = consumer
        self._fetched: list[Message] = []
        until(lambda: self._fetch(count - len(self._fetched)))

    def _fetch(self, count: int) -> bool:
        found = self._consumer.consume(count, 0.2)
        self._fetched += found
        return len(found) == count

    def consume(self, most: int, wait_s: float) -> list[Message]:
        given, self._fetched = self._fetched[:most], self._fetched[most:]
        return given or self._consumer.consume(most, wait_s)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


def test_a_partition_just_taken_over_commits_what_there_is_and_waits_for_no_more(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_module, "_EAGER_S", PATIENCE_S)
    running.produce(b"{}")
    worker = running.worker(Olap(commit_interval_ms=60_000))
    worker.open()
    step_until(worker, lambda: running.board.olap(0).committed == 1)
    worker.drain()


def test_the_end_is_reached_behind_the_records_that_come_with_it(running: Running) -> None:
    """Three records and the news of the end are one batch. None of them is committed yet."""
    running.produce(*[b"{}"] * 3)
    worker = running.worker(Olap(commit_interval_ms=60_000, batch_events=4))
    worker.open()
    past_first_moments(worker)
    worker._work[0].consumer = cast("Consumer", Gathered(worker._work[0].consumer, 4))
    worker.step()
    record = running.board.olap(0)
    assert (record.in_hand_end, record.position, record.committed, record.events) == (3, 3, 0, 0)
    worker.drain()
    assert (record.committed, running.written_offset(0), record.events) == (3, 3, 3)


def test_markers_behind_the_last_record_are_committed_with_it(running: Running) -> None:
    running.produce(b"{}")
    worker = running.worker(Olap(commit_interval_ms=60_000, batch_events=1))
    worker.open()
    past_first_moments(worker)
    record = running.board.olap(0)
    step_until(worker, lambda: record.position == 1)
    worker._work[0]._judge([report(KafkaError._PARTITION_EOF, offset=2)])
    assert (record.position, record.committed) == (2, 0)
    worker.drain()
    assert (record.committed, running.written_offset(0)) == (2, 2)


@pytest.mark.parametrize("idle", [True, False], ids=["idle", "drained"])
def test_markers_behind_what_is_committed_are_committed_too(
    running: Running, monkeypatch: pytest.MonkeyPatch, *, idle: bool
) -> None:
    """The news of the end comes a moment later than the commit. Had retention removed all before the next
    start, a marker would pass for a record that was never processed."""
    monkeypatch.setattr(partition_module, "_MARKERS_S", 0.0 if idle else 1e9)
    running.produce(b"{}")
    worker = running.worker(Olap(commit_interval_ms=1))
    worker.open()
    past_first_moments(worker)
    step_until(worker, lambda: running.written_offset(0) == 1)
    worker._work[0]._judge([report(KafkaError._PARTITION_EOF, offset=2)])
    assert running.written_offset(0) == 1
    if idle:
        step_until(worker, lambda: running.written_offset(0) == 2)
    worker.drain()
    record = running.board.olap(0)
    assert (record.committed, running.written_offset(0), record.events) == (2, 2, 1)


@pytest.mark.parametrize("letter", ["E", "\u0390"])
def test_an_event_whose_key_is_too_long_to_be_counted_is_a_dead_letter(running: Running, letter: str) -> None:
    """In the aggregates its name would be there twice: larger than a record may be, at each new start."""
    keys = iter([(None, "East", 1), (None, letter * (LONGEST + 1), 1), (None, "West", 1)])
    running.produce(*[b"{}"] * 3)
    worker = running.worker(Olap(commit_interval_ms=1), lambda event: (event, next(keys)))
    worker.open()
    step_until(worker, lambda: running.board.olap(0).committed == 3)
    record = running.board.olap(0)
    assert (record.outputs, record.dead_letters) == (2, 1)
    assert worker._work[0]._counts.counts()[None] == {("East", 1): 1, ("West", 1): 1}
    worker.drain()
    assert running.dead_letters() == [(1, "TooLarge")]


@pytest.mark.parametrize(("stamp", "counted"), [(4_000_000_000_000, False), (0, True)])
def test_a_record_of_the_future_does_not_close_the_minutes_of_today(
    running: Running, stamp: int, *, counted: bool
) -> None:
    """A producer whose clock is ahead stamps its records with it as well as its events."""
    now = int(time.time()) // 60
    keys = iter([(stamp // 60_000 or None, "East", 1), (now, "East", 1)])
    running.produce(b"{}", stamp=stamp)
    running.produce(b"{}")
    worker = running.worker(Olap(commit_interval_ms=1), lambda event: (event, next(keys)))
    worker.open()
    step_until(worker, lambda: running.board.olap(0).committed == 2)
    assert list(worker._work[0]._counts.counts()) == [None, now]
    assert running.board.olap(0).late == (0 if counted else 1)
    worker.drain()


@pytest.mark.parametrize(("partitions", "interval_ms"), [(1, 1), (2, 1), (1, 100)])
def test_a_worker_without_anything_to_do_rests_however_small_its_partitions_share_of_the_interval(
    running: Running, partitions: int, interval_ms: int
) -> None:
    worker = running.worker(Olap(commit_interval_ms=interval_ms), partitions=partitions)
    worker.open()
    past_first_moments(worker)
    worker.step()
    worker.step()
    began, turns = time.monotonic(), 20
    for _ in range(turns):
        worker.step()
    assert time.monotonic() - began >= turns * interval_ms / 1000 * 0.9
    worker.drain()


def test_a_partition_whose_commit_fails_leaves_no_other_partition_open(
    running: Running, brokers: SimulatedBrokers
) -> None:
    running.produce(b"{}", partitions=2)
    worker = running.worker(Olap(commit_interval_ms=60_000, batch_events=1), partitions=2)
    worker.open()
    past_first_moments(worker)
    records = [running.board.olap(partition) for partition in range(2)]
    step_until(worker, lambda: all(record.position == 1 for record in records))
    brokers.answer(END_TXN, KafkaError.PRODUCER_FENCED)
    with pytest.raises(Fenced, match="partition 0"):
        worker.drain()
    assert [record.committed for record in records] == [0, 1]
    assert running.written_offset(1) == 1
    for work in worker._work:
        with pytest.raises(RuntimeError, match="closed"):
            work.consumer.consume(1, 0)


def test_a_worker_without_anything_to_do_is_alive(running: Running) -> None:
    worker = running.worker(Olap(commit_interval_ms=1))
    worker.open()
    past_first_moments(worker)
    slot = running.board.worker(0)
    slot.heartbeat_ns = 0
    worker.step()
    first = slot.heartbeat_ns
    worker.step()
    assert slot.heartbeat_ns > first > 0
    worker.drain()


@pytest.mark.parametrize(
    "key",
    [(None, ["East"], 1), ("5", "East", 1), 5, (), (None, "East"), (None, "East", 1, 2), (None, "East", 1j)],
    ids=repr,
)
def test_a_key_that_cannot_be_counted_is_the_pipelines_and_no_successor_would_do_better(
    running: Running, key: Any
) -> None:
    running.produce(b"{}")
    worker = running.worker(Olap(commit_interval_ms=1), lambda event: (event, key))
    worker.open()
    past_first_moments(worker)
    with pytest.raises(WorkerError, match=r"enrich\(\) of workers\.logins returned a key") as caught:
        step_until(worker, lambda: running.board.olap(0).committed == 1)
    assert caught.value.exit_code is WorkerExit.CONFIGURATION
    assert "DIMENSIONS (region, time_flg)" in caught.value.remedy
    worker._work[0].close()


def commit(running: Running, offset: int) -> None:
    consumer = running.group()
    consumer.commit(offsets=[TopicPartition(INPUT, 0, offset)], asynchronous=False)
    consumer.close()


def test_who_follows_a_fenced_worker_leaves_the_partition_to_whom_it_finds_there(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contest, "_PATIENCE_S", 0.2)
    running.produce(*[b"{}"] * 9)
    record = running.board.olap(0)
    # What is behind what was committed, markers, is taken for done without being committed.
    record.owned_ns, record.committed, record.committing = 1, 9, 5
    commit(running, 9)
    worker = running.worker(contested=True)
    with pytest.raises(Contested, match="partition 0: another supervisor has committed offset 9, this one 5"):
        worker.open()
    past_first_moments(worker)
    assert record.owned_ns == 1


def test_a_commit_that_the_former_owner_did_not_hear_the_end_of_is_nobody_elses(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contest, "_PATIENCE_S", 0.2)
    running.produce(*[b"{}"] * 9)
    record = running.board.olap(0)
    record.owned_ns, record.committed, record.committing = 1, 5, 9
    commit(running, 9)
    worker = running.worker(ACCEPTS_LOST_STATE, contested=True)
    worker.open()
    past_first_moments(worker)
    assert record.committed == 9
    worker.drain()


def test_who_follows_a_fenced_worker_takes_over_where_nobody_else_commits(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the supervisor has owned the partition what is committed says nothing: an earlier run may have
    done it."""
    monkeypatch.setattr(contest, "_PATIENCE_S", 0.2)
    running.produce(*[b"{}"] * 9)
    commit(running, 9)
    worker = running.worker(ACCEPTS_LOST_STATE, contested=True)
    worker.open()
    past_first_moments(worker)
    record = running.board.olap(0)
    assert record.owned_ns > 0
    assert record.committed == 9
    worker.drain()


def test_who_has_prepared_takes_over_with_what_its_predecessor_has_added_since(running: Running) -> None:
    running.produce(b"{}")
    first = running.worker(partitions=2)
    first.open()
    while restored(first) != {None: 1}:
        first.step()
    first._work[0].commit()
    preparation = running.prepare(0, 1)
    until(lambda: preparation.done)
    running.produce(b"{}")
    while restored(first) != {None: 2}:
        first.step()
    first.drain()
    prepared = preparation.take((0, 1))
    assert set(prepared) == {0, 1}
    transactions = [one.transaction for one in prepared.values()]
    second = running.worker(partitions=2, prepared=prepared)
    assert [work._transaction for work in second._work] == transactions
    second.open()
    assert restored(second) == {None: 2}
    assert second._work[0]._next_offset == 2
    second.drain()


def restored(worker: OlapWorker) -> dict[int | None, int]:
    """Counts of partition 0 by window, those of minutes left out."""
    counts = worker._work[0]._counts.counts()
    return {window: sum(by.values()) for window, by in counts.items() if window is None}


def test_a_group_without_its_state_is_refused_before_anything_is_processed(running: Running) -> None:
    running.produce(*[b"{}"] * 9)
    commit(running, 5)
    worker = running.worker()
    with pytest.raises(WorkerError, match="there is no state") as caught:
        worker.open()
    past_first_moments(worker)
    assert caught.value.exit_code is WorkerExit.STATE
    assert running.board.olap(0).owned_ns == 0
    worker.drain()


def test_without_aggregates_there_is_no_state_to_be_lost(running: Running) -> None:
    running.produce(*[b"{}"] * 9)
    commit(running, 5)
    worker = running.worker(Olap(aggregates=False))
    worker.open()
    past_first_moments(worker)
    assert running.board.olap(0).position == 5
    worker.drain()


# -- records that kill ------------------------------------------------------------------------------------


def suspect(offset: int, end: int, *, quarantine: bool) -> Suspect:
    return Suspect(0, offset, end, 3, quarantine, "SIGSEGV", "  File enrich")


class Death(BaseException):
    """What would have ended the process."""


def in_hand(record: OlapPartition) -> range:
    return range(record.in_hand, record.in_hand_end)


@pytest.fixture
def seen_in_hand(board: Board, monkeypatch: pytest.MonkeyPatch) -> list[tuple[range, int]]:
    """What the board says whenever records are touched: what is in hand, and what is committed."""
    seen: list[tuple[range, int]] = []
    process = Processor.process

    def recorded(self: Processor, values: Any) -> Any:
        seen.append((in_hand(board.olap(0)), board.olap(0).committed))
        return process(self, values)

    monkeypatch.setattr(Processor, "process", recorded)
    return seen


def test_while_a_partition_is_taken_over_nothing_of_its_former_owner_is_in_hand(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a death by then would be counted as one more of a record that is not even fetched."""
    record = running.board.olap(0)
    record.in_hand, record.in_hand_end = 5, 6
    seen: list[range] = []
    prepare = Takeover.prepare

    def recorded(self: Takeover, expected: int | None) -> None:
        seen.append(in_hand(record))
        prepare(self, expected)

    monkeypatch.setattr(Takeover, "prepare", recorded)
    worker = running.worker()
    worker.open()
    assert [list(records) for records in seen] == [[]]
    assert not in_hand(record)
    worker.drain()


@pytest.mark.parametrize("first", [0, 1])
def test_while_partitions_are_taken_over_together_the_board_names_one_that_is_not_yet(
    running: Running, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """Whichever is done first."""
    slot, seen = running.board.worker(0), []

    def open_in_turn(work: PartitionWork) -> None:
        if work.partition != first:
            until(lambda: slot.partition - 1 == work.partition)
            seen.append(work.partition)

    monkeypatch.setattr(PartitionWork, "open", open_in_turn)
    worker = running.worker(partitions=2)
    worker.open()
    assert seen == [1 - first]
    assert slot.partition == 0


def test_records_are_on_the_board_before_they_are_touched_and_not_any_more_when_they_are_done(
    running: Running, seen_in_hand: list[tuple[range, int]]
) -> None:
    running.produce(*[b"{}"] * 3)
    worker = running.worker(Olap(commit_interval_ms=60_000, batch_events=4))
    worker.open()
    past_first_moments(worker)
    record = running.board.olap(0)
    assert not in_hand(record)
    step_until(worker, lambda: record.position == 3)
    assert [records for records, _ in seen_in_hand] == [range(3)]
    assert (record.in_hand, record.in_hand_end) == (3, 3)
    worker.drain()


def test_a_worker_that_dies_in_a_commit_blames_no_record(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.produce(*[b"{}"] * 3)
    worker = running.worker(Olap(commit_interval_ms=1))
    worker.open()

    def die(*_: object) -> None:
        raise Death

    monkeypatch.setattr(worker._work[0]._transaction, "commit", die)
    with pytest.raises(Death):
        step_until(worker, lambda: False)
    assert not in_hand(running.board.olap(0))
    monkeypatch.undo()
    worker._work[0].close()


def test_suspects_are_taken_one_at_a_time_and_what_lies_before_them_is_committed(
    running: Running, seen_in_hand: list[tuple[range, int]]
) -> None:
    running.produce(*[b"{}"] * 8)
    worker = running.worker(suspects=[suspect(2, 5, quarantine=False)])
    worker.open()
    past_first_moments(worker)
    record = running.board.olap(0)
    step_until(worker, lambda: record.position == 8)
    assert seen_in_hand == [
        (range(2), 0),
        (range(2, 3), 2),
        (range(3, 4), 2),
        (range(4, 5), 2),
        (range(5, 8), 2),
    ]
    worker.drain()
    assert (record.committed, record.events, record.outputs, record.quarantined) == (8, 8, 8, 0)
    assert running.dead_letters() == []


def test_a_quarantined_record_goes_to_the_dead_letters_untouched_and_work_goes_on_behind_it(
    running: Running, seen_in_hand: list[tuple[range, int]]
) -> None:
    running.produce(*[b"{}"] * 6)
    worker = running.worker(suspects=[suspect(3, 4, quarantine=True)])
    worker.open()
    past_first_moments(worker)
    record = running.board.olap(0)
    step_until(worker, lambda: record.position == 6)
    assert seen_in_hand == [(range(3), 0), (range(4, 6), 4)]
    worker.drain()
    assert (record.committed, record.events, record.outputs) == (6, 6, 5)
    assert (record.dead_letters, record.quarantined) == (1, 1)
    assert running.dead_letters() == [(3, "Poison")]


def test_a_suspect_behind_which_the_work_already_is_changes_nothing(
    running: Running, seen_in_hand: list[tuple[range, int]]
) -> None:
    running.produce(*[b"{}"] * 9)
    commit(running, 5)
    worker = running.worker(ACCEPTS_LOST_STATE, suspects=[suspect(2, 5, quarantine=True)])
    worker.open()
    past_first_moments(worker)
    record = running.board.olap(0)
    step_until(worker, lambda: record.position == 9)
    assert [records for records, _ in seen_in_hand] == [range(5, 9)]
    worker.drain()
    assert record.quarantined == 0


def test_the_board_names_the_partition_that_is_worked_on_also_after_it_was_the_end(
    running: Running,
) -> None:
    running.produce(b"{}", partitions=2)
    slot = running.board.worker(0)
    worked_on: list[int] = []

    def enrich(event: Any) -> Any:
        worked_on.append(slot.partition - 1)
        if len(worked_on) == 2:
            raise Death
        return LOGINS.enrich(event)

    worker = running.worker(NEVER_DUE, enrich, partitions=2)
    worker.open()
    assert slot.partition == 0
    with pytest.raises(Death):
        step_until(worker, lambda: False)
    assert sorted(worked_on) == [0, 1]
    assert slot.partition - 1 == worked_on[-1]
    worker.drain()


def test_whoever_sees_what_is_committed_finds_all_of_it_counted(board: Board) -> None:
    """The board is read while it is written, by other processes."""
    written: list[str] = []

    class Record:
        def __getattr__(self, _: str) -> int:
            return 0

        def __setattr__(self, name: str, _: object) -> None:
            written.append(name)

    Ledger(Dlq(), board.worker(0), cast("OlapPartition", Record())).commit(3, 0)
    assert {"events", "outputs", "committed_ns"} <= set(written)
    assert written[-1] == "committed"


def test_to_change_the_stage_is_a_heartbeat(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    running.produce(b"{}")
    entered: list[Stage] = []
    enter = WorkerSlot.enter

    def recorded(self: WorkerSlot, stage: Stage) -> None:
        entered.append(stage)
        enter(self, stage)

    monkeypatch.setattr(WorkerSlot, "enter", recorded)
    worker = running.worker(Olap(commit_interval_ms=1))
    worker.open()
    step_until(worker, lambda: running.board.olap(0).committed == 1)
    assert list(dict.fromkeys(entered)) == [
        Stage.FENCING,
        Stage.RESTORING,
        Stage.CONSUMING,
        Stage.PROCESSING,
        Stage.SENDING_OFFSETS,
        Stage.COMMITTING,
    ]
    worker.drain()


# -- too many dead letters ------------------------------------------------------------------------------


def test_a_run_of_dead_letters_ends_the_worker_and_nothing_of_its_transaction_counts(
    running: Running,
) -> None:
    running.produce(*[b"{}"] * 3, *[b"not json"] * 5)
    worker = running.worker(dlq=Dlq(max_run=5))
    worker.open()
    past_first_moments(worker)
    with pytest.raises(
        DlqLimitReached, match=r"partition 0: 5 records in a row cannot .* at offset 7: Decode"
    ) as caught:
        step_until(worker, lambda: False)
    error = caught.value
    assert (error.exit_code, error.partition, error.offset) == (WorkerExit.DLQ_LIMIT, 0, 7)
    assert "supervisor restart olap-0" in error.remedy
    record = running.board.olap(0)
    assert (record.committed, record.events, record.dead_letters) == (0, 0, 0)
    assert running.written_offset(0) is None


def test_before_a_worker_ends_of_one_partitions_limit_it_commits_the_others(running: Running) -> None:
    running.produce(b"{}", partitions=2)
    worker = running.worker(dlq=Dlq(max_run=4), partitions=2)
    worker.open()
    past_first_moments(worker)
    records = [running.board.olap(partition) for partition in range(2)]
    step_until(worker, lambda: all(record.position == 1 for record in records))
    running.produce(*[b"not json"] * 4)
    with pytest.raises(DlqLimitReached, match="partition 0"):
        step_until(worker, lambda: False)
    assert [record.committed for record in records] == [0, 1]
    assert running.written_offset(1) == 1


def test_a_crash_does_not_reset_the_limits_and_a_worker_that_ended_of_them_does(running: Running) -> None:
    running.produce(*[b"not json"] * 4)
    record = running.board.olap(0)
    first = running.worker(dlq=Dlq(max_run=6))
    first.open()
    past_first_moments(first)
    step_until(first, lambda: record.position == 4)
    first.drain()
    assert (record.bad_run, record.window_events, record.window_bad) == (4, 4, 4)

    running.produce(*[b"not json"] * 2)
    commit(running, 4)
    second = running.worker(dlq=Dlq(max_run=6))
    second.open()
    past_first_moments(second)
    with pytest.raises(DlqLimitReached, match="6 records in a row"):
        step_until(second, lambda: False)
    assert (record.bad_run, record.window_events, record.window_bad) == (0, 0, 0)
    assert (record.committed, record.dead_letters) == (4, 4)


def test_an_error_says_where_it_happened(running: Running) -> None:
    running.produce(*[b"{}"] * 2)
    worker = running.worker(enrich=lambda event: (event, 5))
    worker.open()
    past_first_moments(worker)
    with pytest.raises(WorkerError, match="cannot be counted") as caught:
        step_until(worker, lambda: False)
    assert (caught.value.partition, caught.value.offset) == (0, 0)
    worker._work[0].close()


# -- the governor's rate --------------------------------------------------------------------------------


def test_a_partition_takes_no_more_than_the_rate_on_the_board_and_commits_meanwhile(running: Running) -> None:
    running.produce(*[b"{}"] * 400, partitions=2)
    running.board.header.partition_rate = 10
    began = time.monotonic()
    worker = running.worker(Olap(commit_interval_ms=50), partitions=2)
    worker.open()
    records = [running.board.olap(partition) for partition in range(2)]
    # From here on all that there is has been fetched, and neither waits for the other's.
    step_until(worker, lambda: min(record.position for record in records) > 0)
    assert max(record.position for record in records) <= 10 * (time.monotonic() - began) + 1
    before = [(record.position, record.transactions) for record in records]

    def taken() -> list[int]:
        return [record.position - position for record, (position, _) in zip(records, before, strict=True)]

    running.board.header.partition_rate = 1_000
    began = time.monotonic()
    while min(taken()) < 100:
        worker.step()
        # The bucket is as good as empty at the beginning and holds a tenth of a second.
        assert max(taken()) <= 1_000 * (time.monotonic() - began) + 120
    step_until(
        worker,
        lambda: all(record.transactions > count for record, (_, count) in zip(records, before, strict=True)),
    )
    # Neither partition ran away from the other.
    assert abs(taken()[0] - taken()[1]) <= 120
    running.board.header.partition_rate = 0
    step_until(worker, lambda: min(record.position for record in records) == 400)
    worker.drain()
    assert [record.committed for record in records] == [400, 400]


def test_behind_a_backlog_there_are_fewer_transactions_and_at_its_end_the_interval_holds(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    running.produce(*[b"{}"] * 9)
    worker = running.worker(Olap(commit_interval_ms=1_000, backlog_interval_ms=5_000, batch_events=2))
    worker.open()
    record = running.board.olap(0)
    now += 1.5  # a partition just taken over commits at once; no longer

    def take(position: int) -> None:
        step_until(worker, lambda: record.position == position)

    take(2)
    began = now
    while record.position < 6:
        now = min(now + 1.2, began + 4.9)
        take(record.position + 2)
        assert record.committed == 0
    take(8)  # and one is left, less than is taken at once
    assert record.committed == 8
    worker.drain()


def test_who_is_held_back_still_beats_and_hears_soon_what_it_is_told(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.produce(b"{}")
    running.board.header.partition_rate = 1
    worker = running.worker()
    worker.open()
    worker._work[0]._throttle.take(1_000)  # a debt that is not paid off in the time of this test
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    running.board.worker(0).heartbeat_ns = 0
    worker.step()
    assert slept == [0.05]
    assert running.board.worker(0).heartbeat_ns > 0
    assert running.board.olap(0).position == 0
    worker.drain()


@pytest.mark.parametrize("expected", [0, 3, 5, 9, 1_000])
def test_the_work_begins_at_the_committed_offset_wherever_it_was_expected(
    running: Running, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the fence the input is already fetched from where the board says that a predecessor was."""
    monkeypatch.setattr(partition_module, "_EAGER_S", PATIENCE_S)
    running.produce(*[b"{}"] * 9)
    commit(running, 5)
    record = running.board.olap(0)
    record.owned_ns, record.committed = 1, expected
    worker = running.worker(Olap(aggregates=False, commit_interval_ms=60_000))
    worker.open()
    assert (record.position, record.committed) == (5, 5)
    step_until(worker, lambda: record.committed == 9)
    assert (record.events, record.outputs + record.dead_letters) == (4, 4)
    worker.drain()


def test_several_partitions_are_opened_at_once_and_the_one_that_fails_is_named(running: Running) -> None:
    running.produce(*[b"{}"] * 9, partitions=2)
    consumer = running.group()
    consumer.commit(offsets=[TopicPartition(INPUT, 1, 5)], asynchronous=False)
    consumer.close()
    worker = running.worker(partitions=2)
    with pytest.raises(WorkerError, match="partition 1: the consumer group is at offset 5") as caught:
        worker.open()
    assert caught.value.partition == 1
    assert running.board.worker(0).partition == 2
    for work in worker._work:
        work.close()


# -- what an event costs --------------------------------------------------------------------------------


def logins(count: int) -> list[bytes]:
    return [value or b"" for _, value in islice(events(5), count)]


def each(running: Running, worker: OlapWorker) -> float:
    """Bytecodes for each further event of a batch: a large batch's against a small one's, so that what a turn
    costs by itself does not count."""
    record = running.board.olap(0)
    found = []
    for count in (500, 2_500):
        goal = record.position + count
        running.produce(*logins(count))
        found.append(bytecodes(lambda goal=goal: step_until(worker, lambda: record.position == goal)))
    return (found[1] - found[0]) / 2_000


@pytest.mark.parametrize(("aggregates", "most"), BYTECODES.items(), ids=["without aggregates", "with them"])
def test_an_events_way_through_a_worker_takes_few_bytecodes(
    running: Running, aggregates: bool, most: int
) -> None:
    worker = running.worker(Olap(commit_interval_ms=60_000, aggregates=aggregates))
    worker.open()
    past_first_moments(worker)
    each(running, worker)  # what is imported or remembered once, is so by now
    assert each(running, worker) <= most
    worker.drain()


def test_a_worker_that_looks_at_every_message_by_itself_would_be_noticed(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = PartitionWork._process

    def looking(self: PartitionWork, messages: list[Message]) -> None:
        for message in messages:
            told = (message.topic(), message.partition(), message.offset(), message.timestamp())
            assert None not in told
            assert message.error() is None
        process(self, messages)

    monkeypatch.setattr(PartitionWork, "_process", looking)
    worker = running.worker(Olap(commit_interval_ms=60_000, aggregates=False))
    worker.open()
    past_first_moments(worker)
    each(running, worker)
    assert each(running, worker) > BYTECODES[False]
    worker.drain()
