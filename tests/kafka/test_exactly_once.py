"""Exactly once, proven by reading the topics back: the multiset of outputs is that of the inputs."""

import os
import signal
import threading
import time
from collections import Counter

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from exactly_once import assert_exactly_once, logins
from installation import PATIENCE_S, Installation

from supervisor.contract.board import Role

KILLS = 4


@pytest.fixture
def install(cluster):
    made = []

    def install(**options):
        made.append(Installation(cluster.bootstrap_servers, **options))
        return made[-1]

    yield install
    for installation in made:
        installation.close()


class Reader(threading.Thread):
    """A read_committed reader that runs beside it all and remembers what it was shown."""

    def __init__(self, installation):
        super().__init__(daemon=True)
        self.seen = Counter()
        self._done = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": installation.settings.kafka.bootstrap_servers,
                "group.id": "reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        self._ends = {}
        topic = installation.settings.topics.output.name
        self._consumer.assign([TopicPartition(topic, p, 0) for p in range(installation.partitions)])

    def run(self):
        while not self._done.is_set():
            self.take(0.1)

    def take(self, timeout):
        messages = self._consumer.consume(5_000, timeout)
        for message in messages:
            if message.error() is None:
                self.seen[message.partition(), message.key(), message.value()] += 1
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                self._ends[message.partition()] = message.offset()

    def finish(self, ends):
        """Read on until these ends have been seen."""
        self._done.set()
        self.join()
        deadline = time.monotonic() + PATIENCE_S
        while any(self._ends.get(partition, -1) < end for partition, end in ends.items()):
            assert time.monotonic() < deadline, f"it was read to {self._ends} of {ends}"
            self.take(0.1)
        self._consumer.close()


@pytest.mark.parametrize(
    "step",
    ["after_consume", "mid_produce", "after_flush", "in_send_offsets", "in_commit", "after_commit"],
)
def test_workers_killed_at_a_step_of_their_loop_lose_and_repeat_nothing(install, step, tmp_path):
    # Were the same records in hand at three of the kills, they would be taken for the culprits.
    settings = ('app.pipeline = "killing_logins"', "olap.batch_events = 200", "dlq.poison_deaths = 100")
    installation = install(toml="\n".join(settings))
    for number in range(KILLS):
        (tmp_path / str(number)).touch()
    installation.environment |= {"KILL_STEP": step, "KILL_TOKENS": str(tmp_path)}
    installation.create_topics()
    reader = Reader(installation)
    reader.start()
    sent = installation.produce(logins(4_000))
    installation.start()
    board = installation.board()
    installation.wait_committed(board)
    installation.wait(lambda: not any(tmp_path.iterdir()), "every kill has happened")
    installation.wait_committed(board)
    restarts = sum(board.seat(place).restarts for place in range(board.header.seats))
    assert installation.stop() == 0
    reader.finish(installation.ends(installation.settings.topics.output.name))

    assert restarts == KILLS
    assert_exactly_once(installation, sent)
    outputs = installation.read(installation.settings.topics.output.name)
    assert reader.seen == Counter((m.partition(), m.key(), m.value()) for m in outputs)


def test_a_supervisor_killed_under_load_goes_on_at_once_with_nothing_lost_or_repeated(install):
    installation = install()
    installation.create_topics()
    installation.start()
    board = installation.board()
    installation.wait_serving(board)
    sent = installation.produce(logins(20_000, seed=2))
    installation.wait(
        lambda: any(board.olap(partition).transactions for partition in range(4)),
        "a commit happened",
    )
    family = installation.processes()
    installation.stop(signal.SIGKILL)
    for process in family[1:]:
        process.wait(PATIENCE_S)
    installation.start()
    board = installation.board()
    sent += installation.produce(logins(2_000, seed=3))
    installation.wait_committed(board)
    assert installation.stop() == 0
    assert_exactly_once(installation, sent)


def test_three_clean_stops_under_load_lose_and_repeat_nothing(install):
    installation = install()
    installation.create_topics()
    sent = 0
    for round_ in range(3):
        sent += installation.produce(logins(8_000, seed=round_))
        installation.start()
        board = installation.board()
        installation.wait(
            lambda board=board: sum(board.olap(p).transactions for p in range(4)) > 0, "work is under way"
        )
        assert installation.stop() == 0
    installation.start()
    board = installation.board()
    installation.wait_committed(board)
    assert installation.stop() == 0
    assert_exactly_once(installation, sent)


def test_fewer_workers_than_partitions_each_own_several_and_all_is_processed(install):
    installation = install()
    installation.create_topics()
    sent = installation.produce(logins(4_000, seed=5))
    installation.start("--olap-workers", "3")
    board = installation.board()
    installation.wait_serving(board)
    os.kill(installation.pid_of(board, Role.OLAP, 0), signal.SIGKILL)
    installation.wait_committed(board)
    assert installation.stop() == 0
    assert_exactly_once(installation, sent)


def test_more_workers_than_partitions_are_refused_with_both_numbers(install):
    installation = install(partitions=4)
    refused = installation.run("start", "--olap-workers", "9")
    assert refused.returncode == 78
    assert "9" in refused.stderr
    assert "4" in refused.stderr


def test_of_two_supervisors_with_one_name_the_first_is_fenced_stops_and_says_so(install):
    installation = install()
    installation.create_topics()
    installation.start()
    board = installation.board()
    installation.wait_serving(board)
    sent = installation.produce(logins(400, seed=6))
    installation.wait_committed(board)
    first = installation.process

    # As if on another host: another run directory, and so another lock.
    installation.start(run_dir="elsewhere")
    second = installation.process
    try:
        installation.wait_serving(installation.board())
        sent += installation.produce(logins(4_000, seed=7))
        installation.process = first
        assert first.wait(PATIENCE_S) == 70
        assert "another supervisor" in installation.tail()
        installation.process = second
        ends = installation.ends(installation.settings.topics.input.name)
        installation.wait(lambda: committed(installation) == ends, "the second has processed everything")
    finally:
        second.terminate()
        second.wait(PATIENCE_S)
    assert_exactly_once(installation, sent)


def committed(installation):
    """The group's committed offsets."""
    consumer = Consumer(
        {
            "bootstrap.servers": installation.settings.kafka.bootstrap_servers,
            "group.id": f"{installation.name}.olap",
        }
    )
    where = [
        TopicPartition(installation.settings.topics.input.name, p) for p in range(installation.partitions)
    ]
    found = {place.partition: place.offset for place in consumer.committed(where, timeout=30)}
    consumer.close()
    return found


def test_a_large_record_that_grows_beyond_the_limit_is_a_dead_letter_with_what_there_was_of_it(install):
    installation = install(toml='topics.output.config = { "max.message.bytes" = 2097152 }')
    installation.create_topics()
    value = b'{"user_id":"' + b"x" * 1_000_000 + b'"}'
    producer = Producer(
        {"bootstrap.servers": installation.settings.kafka.bootstrap_servers, "message.max.bytes": 1_048_000}
    )
    producer.produce(installation.settings.topics.input.name, value, b"key", partition=0)
    assert producer.flush(30) == 0
    installation.start()
    board = installation.board()
    installation.wait_committed(board)
    assert installation.stop() == 0
    assert_exactly_once(installation, 1)
