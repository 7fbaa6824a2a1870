from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from supervisor.cluster import Cluster, ports
from supervisor.cluster.probe import ask
from supervisor.contract.faults import AlreadyRunning, BrokersUnreachable, ConfigurationFault


def admin(cluster: Cluster) -> AdminClient:
    return AdminClient({"bootstrap.servers": cluster.bootstrap_servers})


def create(cluster: Cluster, topic: str, partitions: int = 1) -> None:
    client = admin(cluster)
    client.create_topics([NewTopic(topic, partitions)])[topic].result(30)


def produce(cluster: Cluster, topic: str, values: list[str], **config: str) -> None:
    failed: list[object] = []

    def delivered(error: object, _: object) -> None:
        if error:
            failed.append(error)

    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "acks": "all", **config})
    for value in values:
        producer.produce(topic, value.encode(), on_delivery=delivered)
    assert producer.flush(60) == 0
    assert failed == []


def consume(cluster: Cluster, topic: str, count: int) -> list[str]:
    """The first ``count`` committed values of partition 0, waiting for them at most a minute."""
    consumer = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap_servers,
            "group.id": f"read-{topic}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    values: list[str] = []
    deadline = time.monotonic() + 60
    while len(values) < count and time.monotonic() < deadline:
        message = consumer.poll(1.0)
        if message is not None and not message.error():
            values.append((message.value() or b"").decode())
    consumer.close()
    return values


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three brokers for tests that stop some of them; all of them run again after each but the last."""
    with Cluster.start(brokers=3, directory=tmp_path_factory.mktemp("own") / "kafka", keep=False) as running:
        yield running


def test_a_transaction_commits_and_an_aborted_one_is_not_seen(cluster: Cluster) -> None:
    create(cluster, "transactions")
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "transactional.id": "cluster-test"})
    producer.init_transactions(60)
    for value, ends in (("aborted", producer.abort_transaction), ("committed", producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce("transactions", value.encode())
        producer.flush(30)
        ends(30)
    assert consume(cluster, "transactions", 1) == ["committed"]


def test_internal_topics_have_three_replicas_and_two_in_sync_suffice(cluster: Cluster) -> None:
    create(cluster, "internal")
    produce(cluster, "internal", ["x"])
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "transactional.id": "internal-test"})
    producer.init_transactions(60)
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap_servers, "group.id": "internal-test"})
    consumer.commit(offsets=[TopicPartition("internal", 0, 1)], asynchronous=False)
    consumer.close()
    client = admin(cluster)
    topics = client.list_topics(timeout=30).topics
    for name in ("__consumer_offsets", "__transaction_state", "internal"):
        assert {len(partition.replicas) for partition in topics[name].partitions.values()} == {3}
        resource = ConfigResource(ResourceType.TOPIC, name)
        configs = client.describe_configs([resource])[resource].result(30)
        assert configs["min.insync.replicas"].value == "2"
    assert len(topics["__consumer_offsets"].partitions) == 8
    assert len(topics["__transaction_state"].partitions) == 8


def test_a_misspelt_topic_is_an_error_and_not_a_new_topic(cluster: Cluster) -> None:
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "message.timeout.ms": 2000})
    errors: list[object] = []
    producer.produce("no-such-topic", b"x", on_delivery=lambda error, _: errors.append(error))
    producer.flush(30)
    assert errors[0] is not None
    assert "no-such-topic" not in admin(cluster).list_topics(timeout=30).topics


def test_brokers_listen_on_loopback_alone(cluster: Cluster) -> None:
    addresses = {
        connection.laddr.ip.removeprefix("::ffff:")
        for broker in cluster.brokers.values()
        for connection in psutil.Process(broker.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_a_killed_broker_returns_with_its_data(own: Cluster) -> None:
    create(own, "kept")
    produce(own, "kept", ["before"])
    former = own.brokers[2].pid
    own.kill(2)
    assert own.brokers[2].pid is None
    assert not ports.is_free(own.brokers[2].port), "another cluster would choose it"
    produce(own, "kept", ["meanwhile"])
    own.restart(2)
    assert own.brokers[2].pid not in (None, former)

    def in_sync() -> bool:
        return len(admin(own).list_topics("kept", timeout=30).topics["kept"].partitions[0].isrs) == 3

    until(in_sync, "broker 2 did not catch up")
    assert consume(own, "kept", 2) == ["before", "meanwhile"]


def test_a_paused_broker_does_not_answer_and_a_resumed_one_does(own: Cluster) -> None:
    port = own.brokers[3].port
    own.pause(3)
    assert own.brokers[3].state == "paused"
    assert ask(port, timeout=0.5) is None
    own.resume(3)
    own.wait_ready()
    assert ask(port, timeout=30) is not None


def test_a_stop_keeps_the_data_and_the_ports_for_the_next_start(tmp_path: Path) -> None:
    with Cluster.start(brokers=1, directory=tmp_path / "kafka", keep=True) as first:
        create(first, "kept")
        produce(first, "kept", ["before"])
        servers = first.bootstrap_servers
        pids = [broker.pid for broker in first.brokers.values()]
    assert not any(psutil.pid_exists(pid) for pid in pids if pid)
    with pytest.raises(ConfigurationFault, match=r"cluster of 1, not of 3"):
        Cluster.start(brokers=3, directory=tmp_path / "kafka")
    with Cluster.start(brokers=1, directory=tmp_path / "kafka", keep=False) as second:
        assert second.bootstrap_servers == servers
        assert consume(second, "kept", 1) == ["before"]
        with pytest.raises(AlreadyRunning):
            Cluster.start(brokers=1, directory=tmp_path / "kafka")
        assert consume(second, "kept", 1) == ["before"]
    assert not (tmp_path / "kafka").exists()


def test_brokers_end_with_a_killed_owner_and_the_next_start_is_unhindered(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from supervisor.cluster import Cluster\n"
        "with Cluster.start(brokers=1, directory=Path(sys.argv[1]), keep=False) as cluster:\n"
        "    print(*(broker.pid for broker in cluster.brokers.values()), flush=True); time.sleep(300)"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "kafka")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(pids) == 1
        assert psutil.Process(pids[0]).status() != psutil.STATUS_ZOMBIE
        owner.kill()
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids), "a broker outlived its owner")
    with Cluster.start(brokers=1, directory=tmp_path / "kafka", keep=False) as successor:
        assert ask(next(iter(successor.brokers.values())).port, timeout=30) is not None


def test_a_broker_that_cannot_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    cluster = Cluster.create(1, tmp_path / "kafka", keep=True)
    # Somebody takes the port after it was found free.
    with socket.create_server(("127.0.0.1", cluster.brokers[1].port)):
        cluster.launch()
        with pytest.raises(BrokersUnreachable) as raised:
            cluster.wait_ready()
    cluster.stop(hasten=True)
    assert raised.value.cause.startswith("broker 1 ended while starting (exit code 1)")
    assert "Address already in use" in raised.value.cause
    assert str(tmp_path / "kafka" / "broker-1.log") in raised.value.remedy


def test_a_broker_that_does_not_get_ready_in_time_is_given_up(tmp_path: Path) -> None:
    cluster = Cluster.create(1, tmp_path / "kafka", keep=False)
    cluster.launch()
    cluster.pause(1)
    with pytest.raises(BrokersUnreachable, match="broker 1 was not ready after 1 s"):
        cluster.wait_ready(timeout=1)
    pid = cluster.brokers[1].pid
    assert pid is not None
    cluster.stop()
    assert not psutil.pid_exists(pid)


def test_a_majority_is_needed_to_acknowledge(own: Cluster) -> None:
    # The last of those that use this cluster: it leaves one broker.
    create(own, "majority")
    produce(own, "majority", ["x"])
    leader = admin(own).list_topics("majority", timeout=30).topics["majority"].partitions[0].leader
    for number in set(own.brokers) - {leader}:
        own.kill(number)
    producer = Producer(
        {"bootstrap.servers": own.bootstrap_servers, "acks": "all", "message.timeout.ms": 4000}
    )
    errors: list[object] = []
    producer.produce("majority", b"y", on_delivery=lambda error, _: errors.append(error))
    producer.flush(30)
    assert errors[0] is not None
