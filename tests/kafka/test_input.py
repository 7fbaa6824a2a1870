"""What may be with the input itself: markers between its records, another topic of its name, no leader."""

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from exactly_once import assert_exactly_once, logins
from installation import Installation
from patience import until

from supervisor.cluster import Cluster
from supervisor.contract.exits import Exit
from workers.kafka import client


@pytest.fixture
def installation(cluster):
    made = Installation(cluster.bootstrap_servers)
    made.create_topics()
    yield made
    made.close()


def produce_in_transactions(installation, records, *, aborted=0):
    """One transaction for each few records, and ``aborted`` more of which nothing is to be seen."""
    name = installation.settings.topics.input.name
    producer = Producer(
        {"bootstrap.servers": installation.settings.kafka.bootstrap_servers, "transactional.id": name}
    )
    producer.init_transactions(60)
    records = list(records)
    for begin in range(0, len(records), 100):
        producer.begin_transaction()
        for place, (key, value) in enumerate(records[begin : begin + 100]):
            producer.produce(name, value, key, partition=place % installation.partitions)
        producer.commit_transaction(60)
    for _ in range(aborted):
        producer.begin_transaction()
        for number in range(installation.partitions):
            producer.produce(name, b"{}", partition=number)
        producer.flush(60)
        producer.abort_transaction(60)
    return len(records)


def committed(installation):
    """What the OLAP group has committed of each partition."""
    settings = installation.settings
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": client.olap_group(settings)}
    )
    where = [TopicPartition(settings.topics.input.name, number) for number in range(installation.partitions)]
    found = client.committed_offsets(consumer, where, 60)
    consumer.close()
    return found


@pytest.mark.parametrize("aborted", [0, 3])
def test_what_transactional_producers_leave_behind_the_last_record_is_committed_by_a_stop(
    installation, aborted
):
    """Else, once retention had removed all of it, it would look like records that nobody has processed."""
    sent = produce_in_transactions(installation, logins(1_000, seed=31), aborted=aborted)
    installation.start()
    board = installation.board()
    installation.wait_committed(board)
    assert installation.stop() == Exit.OK
    assert committed(installation) == installation.ends(installation.settings.topics.input.name)
    assert_exactly_once(installation, sent)


def test_what_transactional_producers_leave_behind_is_committed_by_a_worker_that_is_idle_too(installation):
    installation.start()
    board = installation.board()
    installation.wait_serving(board)
    sent = produce_in_transactions(installation, logins(1_000, seed=32), aborted=1)
    name = installation.settings.topics.input.name
    # The last markers may be written after the producer was told that it has aborted.
    installation.wait(lambda: committed(installation) == installation.ends(name), "the markers are committed")
    assert installation.stop() == Exit.OK
    assert_exactly_once(installation, sent)


def test_an_input_that_was_made_anew_is_refused_however_long_it_is_by_now(installation):
    """By their offsets alone its first records would be taken for processed."""
    installation.produce(logins(400, seed=33))
    installation.start()
    installation.wait_committed(installation.board())
    assert installation.stop() == Exit.OK
    name = installation.settings.topics.input.name
    admin = AdminClient({"bootstrap.servers": installation.settings.kafka.bootstrap_servers})
    admin.delete_topics([name])[name].result(60)
    until(lambda: name not in admin.list_topics(timeout=30).topics)
    installation.create_topics()
    installation.produce(logins(800, seed=34))
    installation.start()
    assert installation.process.wait(120) == Exit.GAVE_UP
    assert "the input was deleted and made anew" in installation.log.read_text()


def test_a_partition_without_a_leader_hides_neither_the_others_nor_that_brokers_answer():
    once = "topics.input.replication_factor = 1\ntopics.input.min_insync_replicas = 1"
    with Cluster.start(brokers=3) as fragile:
        installation = Installation(fragile.bootstrap_servers, toml=once)
        try:
            installation.create_topics()
            installation.start()
            board = installation.board()
            installation.wait_serving(board)
            name = installation.settings.topics.input.name
            admin = AdminClient({"bootstrap.servers": fragile.bootstrap_servers})
            found = admin.list_topics(name, timeout=30).topics[name].partitions
            leaders = {number: one.leader for number, one in found.items()}
            gone = leaders[0]
            others = [number for number, leader in leaders.items() if leader != gone]
            fragile.kill(gone)
            installation.wait(
                lambda: board.header.brokers_alive == 2, "the probe knows that a broker is gone"
            )
            seen = {number: board.topic(number).seen_ns for number in leaders}
            answered = board.header.brokers_answered_ns
            installation.wait(
                lambda: (
                    all(board.topic(number).seen_ns > seen[number] for number in others)
                    and board.header.brokers_answered_ns > answered
                ),
                "the others are looked at",
            )
            assert board.topic(0).seen_ns == seen[0]
            assert installation.stop() == Exit.OK
        finally:
            installation.close()
