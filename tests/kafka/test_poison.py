"""Records that kill workers, inputs that nobody can process, partitions that are added: on real brokers."""

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions
from exactly_once import assert_exactly_once, logins
from installation import PIPELINES, Installation

from supervisor.contract.board import Role
from supervisor.rules.policy import Cause

POISON = b'{"user_id":"poison","timestamp":"never"}'


@pytest.fixture
def install(cluster):
    made = []

    def install(**options):
        made.append(Installation(cluster.bootstrap_servers, **options))
        made[-1].create_topics()
        return made[-1]

    yield install
    for installation in made:
        installation.close()


def produce_to(installation, partition, values):
    producer = Producer({"bootstrap.servers": installation.settings.kafka.bootstrap_servers})
    for value in values:
        producer.produce(installation.settings.topics.input.name, value, b"key", partition=partition)
    assert producer.flush(60) == 0
    return len(values)


def restarts(board, role):
    seats = [board.seat(place) for place in range(board.header.seats)]
    return {seat.index: seat.restarts for seat in seats if seat.role == role}


def test_a_record_that_crashes_its_workers_becomes_a_dead_letter_and_other_partitions_never_stop(install):
    assert POISON in (PIPELINES / "poisonous_logins.py").read_bytes()
    installation = install(partitions=2, toml='app.pipeline = "poisonous_logins"')
    sent = installation.produce(logins(1_000))
    poisoned = installation.ends(installation.settings.topics.input.name)[1]
    sent += produce_to(installation, 1, [POISON])
    sent += installation.produce(logins(1_000, seed=2))
    installation.start()
    board = installation.board()
    installation.wait_committed(board)
    end = installation.ends(installation.settings.topics.input.name)[1]
    installation.wait(lambda: board.realtime(1).committed == end, "real time is past it, too")

    assert restarts(board, Role.OLAP) == {0: 0, 1: installation.settings.dlq.poison_deaths}
    assert installation.stop() == 0
    assert_exactly_once(installation, sent)
    letters = [dict(m.headers()) for m in installation.read(installation.settings.topics.dlq.name)]
    (poison,) = [letter for letter in letters if letter["dlq.error.class"] == b"Poison"]
    assert int(poison["dlq.offset"]) == poisoned
    assert b"SIGSEGV" in poison["dlq.error.text"]
    assert b"poisonous_logins.py" in poison["dlq.error.stack"]
    assert board.olap(1).quarantined == 1


def test_a_partition_of_which_nothing_can_be_processed_is_parked_and_its_input_stays(install):
    installation = install(partitions=2, toml="dlq.max_run = 100\nrealtime.enabled = false")
    produce_to(installation, 0, [b"not a login"] * 1_000)
    good = [value for _, value in logins(500, bad=0)]
    produce_to(installation, 1, good)
    installation.start()
    board = installation.board()
    installation.wait(lambda: board.assignment(0).parked_ns > 0, "it is parked")
    installation.wait(lambda: board.olap(1).committed >= len(good), "the other one is served")

    assert board.assignment(0).parked_cause == Cause.DLQ_LIMIT
    assert restarts(board, Role.OLAP)[1] == 0
    produce_to(installation, 1, good)
    installation.wait(lambda: board.olap(1).committed >= 2 * len(good), "and goes on being served")
    assert "records in a row cannot be processed" in installation.log.read_text()
    assert installation.stop() == 0
    # What was in the worker's open transaction is not among them; what stands there stays below the limit.
    assert len(installation.read(installation.settings.topics.dlq.name)) < 100


def test_partitions_added_while_it_runs_are_served_without_a_restart(install):
    installation = install(partitions=2)
    installation.start()
    board = installation.board()
    installation.wait_serving(board)
    sent = installation.produce(logins(200))
    installation.wait_committed(board)
    admin = AdminClient({"bootstrap.servers": installation.settings.kafka.bootstrap_servers})
    name = installation.settings.topics.input.name
    for future in admin.create_partitions([NewPartitions(name, 3)]).values():
        future.result(30)
    installation.wait(lambda: board.header.topic_partitions == 3, "the new one is found")
    installation.partitions = 3
    sent += installation.produce(logins(300, seed=2))
    installation.wait_committed(board)
    installation.wait(lambda: board.realtime(2).position > 0, "real time shows it, too")
    assert installation.stop() == 0
    assert_exactly_once(installation, sent)
