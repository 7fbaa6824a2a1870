"""The brokers of docker-compose.yml, started for real: each from the properties that the image makes of its
environment. Only the network differs: an address of loopback of its own stands for each container."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
)

from supervisor.cluster.jars import cache_directory, classpath
from supervisor.cluster.jvm import command, environment, find_java

ROOT = Path(__file__).parents[2]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
BROKERS = ("kafka-1", "kafka-2", "kafka-3")
# Read by the image's start script; not properties.
NOT_PROPERTIES = {"CLUSTER_ID", "KAFKA_HEAP_OPTS"}


def _address(broker: str) -> str:
    """Its place in 127.0.0.0/8, by process, so that two runs on one machine do not meet."""
    place = os.getpid()
    return f"127.{64 + place // 250 // 256 % 64}.{place // 250 % 256}.{1 + BROKERS.index(broker)}"


def _properties(broker: str, data: Path) -> dict[str, str]:
    properties = {}
    for variable, value in SERVICES[broker]["environment"].items():
        if variable not in NOT_PROPERTIES:
            name = variable.removeprefix("KAFKA_").lower().replace("_", ".")
            text = str(value).replace("://:", f"://{_address(broker)}:")
            for other in BROKERS:
                text = text.replace(f"{other}:", f"{_address(other)}:")
            properties[name] = text
    # Inside a container the host's ports do not exist; nor does /var/lib/kafka out here.
    inside, _, outside = properties["advertised.listeners"].partition(",PLAINTEXT_HOST://")
    assert outside.startswith("localhost:")
    properties["advertised.listeners"] = f"{inside},PLAINTEXT_HOST://{_address(broker)}:9092"
    assert properties["log.dirs"] == "/var/lib/kafka/data"
    properties["log.dirs"] = str(data)
    return properties


def _start(broker: str, work: Path, stack: ExitStack) -> None:
    work.mkdir()
    file = work / "server.properties"
    file.write_text("".join(f"{key}={value}\n" for key, value in _properties(broker, work / "data").items()))
    settings = SERVICES[broker]["environment"]
    java, jars = find_java(), classpath(cache_directory(), print)
    tool = ("kafka.tools.StorageTool", "format", f"--cluster-id={settings['CLUSTER_ID']}", "-c", str(file))
    formatted = shlex.join(command(java, jars, (), *tool))
    server = shlex.join(command(java, jars, settings["KAFKA_HEAP_OPTS"].split(), "kafka.Kafka", str(file)))
    # As the image does it: format, then become the broker.
    both = ["sh", "-c", f"{formatted} && exec {server}"]
    log = stack.enter_context((work / "log").open("w"))
    process = subprocess.Popen(
        both, env=environment(), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    # A kill, not a farewell: the data is thrown away, and a quorum that shrinks is slow to say goodbye.
    stack.callback(process.wait)
    stack.callback(os.killpg, process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdminClient]:
    work = tmp_path_factory.mktemp("compose")
    with ExitStack() as stack:
        for broker in BROKERS:
            _start(broker, work / broker, stack)
        clients = [
            AdminClient({"bootstrap.servers": f"{_address(b)}:19092", "log_level": 0}) for b in BROKERS
        ]
        # A broker answers once it is a member. This is what the health checks wait for, and it is enough.
        for client in clients:
            client.list_topics(timeout=90)
        clients[0].create_topics([NewTopic("trial", num_partitions=3)])["trial"].result()
        # The controller has it; each broker learns of it a moment later, and either may be asked.
        for client in clients:
            while client.list_topics("trial", timeout=30).topics["trial"].error:
                pass
        yield clients[0]


def test_three_brokers_of_the_declared_cluster_answer(admin: AdminClient) -> None:
    found = admin.describe_cluster(request_timeout=30).result()
    assert {(node.id, node.host, node.port) for node in found.nodes} == {
        (number, _address(broker), 19092) for number, broker in enumerate(BROKERS, start=1)
    }
    assert found.cluster_id == SERVICES["kafka-1"]["environment"]["CLUSTER_ID"]


def test_a_topic_has_three_copies_without_asking_for_them(admin: AdminClient) -> None:
    partitions = admin.list_topics("trial", timeout=30).topics["trial"].partitions.values()
    assert [sorted(partition.replicas) for partition in partitions] == [[1, 2, 3]] * 3
    resource = ConfigResource(ConfigResource.Type.TOPIC, "trial")
    settings = admin.describe_configs([resource], request_timeout=30)[resource].result()
    assert settings["min.insync.replicas"].value == "2"


@pytest.mark.parametrize("broker", BROKERS)
def test_kafka_knows_every_property_and_has_the_declared_value(admin: AdminClient, broker: str) -> None:
    resource = ConfigResource(
        ConfigResource.Type.BROKER, str(SERVICES[broker]["environment"]["KAFKA_NODE_ID"])
    )
    settings = admin.describe_configs([resource], request_timeout=30)[resource].result()
    declared = _properties(broker, Path())
    del declared["log.dirs"]
    # A misspelt property is no error to Kafka: it is ignored.
    assert {name: settings[name].value if name in settings else None for name in declared} == declared
