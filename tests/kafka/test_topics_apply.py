"""Topics on three real brokers: created, extended, configured, refused, raced for and resumed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import Any

import msgspec
import pytest
from confluent_kafka import TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from own_topics import KINDS, declare, exists, fresh_name, topic

from supervisor.cluster.cluster import Cluster
from supervisor.contract.exits import Exit
from supervisor.contract.faults import BrokersUnreachable, ConfigurationFault, Fault
from supervisor.contract.settings import Kafka, Settings
from supervisor.topics.converge import apply, bootstrap, survey
from supervisor.topics.model import Desired, ExtendTopic

TIMEOUT_S = 30.0


@pytest.fixture
def name() -> str:
    return fresh_name()


@pytest.fixture
def admin(cluster: Cluster) -> Any:
    return AdminClient({"bootstrap.servers": cluster.bootstrap_servers})


def settings(cluster: Cluster, name: str, **fields: Any) -> Settings:
    return declare(cluster.bootstrap_servers, name, **fields)


def supervisor(declared: Settings, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The real command, configured as these settings are."""
    return subprocess.run(
        command(declared, *arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
        stdin=subprocess.DEVNULL,
        **options,
    )


def command(declared: Settings, *arguments: str) -> list[str]:
    topics = declared.topics
    keys = {
        "topics.partitions": topics.partitions,
        "topics.replication_factor": topics.replication_factor,
        "topics.min_insync_replicas": topics.min_insync_replicas,
        "kafka.cluster_id": declared.kafka.cluster_id,
        **{f"topics.{kind}.name": getattr(topics, kind).name for kind in KINDS},
    }
    sets = [text for key, value in keys.items() for text in ("--set", f"{key}={value}")]
    servers = ["--bootstrap-servers", declared.kafka.bootstrap_servers]
    return [sys.executable, "-m", "supervisor", "topics", *arguments, *servers, *sets]


def describe(admin: Any, topic: str) -> tuple[list[list[int]], dict[str, str]]:
    """Replicas by partition, and the topic's own overrides, by no code of the project."""
    described = admin.describe_topics(TopicCollection([topic]))[topic].result()
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = admin.describe_configs([resource])[resource].result()
    own = {key: entry.value for key, entry in entries.items() if entry.source == 1}
    return [[node.id for node in partition.replicas] for partition in described.partitions], own


def leaders_at(port: int, topic: str) -> list[int]:
    """Leaders by partition as this one broker says itself, by a Metadata v1 request over a plain socket."""
    body = struct.pack(">hhih", 3, 1, 7, -1) + struct.pack(">ih", 1, len(topic)) + topic.encode()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        stream = connection.makefile("rb")

        def number(kind: str) -> int:
            (value,) = struct.unpack(f">{kind}", stream.read(struct.calcsize(f">{kind}")))
            return int(value)

        def text() -> bytes:
            return stream.read(max(number("h"), 0))

        number("i"), number("i")  # size, correlation id
        for _ in range(number("i")):
            number("i"), text(), number("i"), text()  # broker: id, host, port, rack
        number("i"), number("i")  # controller, number of topics
        number("h"), text(), number("b")  # error, name, whether internal
        leaders = {}
        for _ in range(number("i")):
            number("h")
            partition = number("i")
            leaders[partition] = number("i")
            for _ in range(2):  # replicas, replicas in sync
                for _ in range(number("i")):
                    number("i")
        return [leaders[partition] for partition in sorted(leaders)]


def alter(admin: Any, topic: str, **values: str) -> None:
    entries = [
        ConfigEntry(key.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for key, value in values.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin.incremental_alter_configs([resource])[resource].result()


def create(admin: Any, topic: str, partitions: int, factor: int, **config: str) -> None:
    own = {key.replace("_", "."): value for key, value in config.items()}
    admin.create_topics([NewTopic(topic, partitions, factor, config=own)])[topic].result()


def test_missing_topics_are_created_as_declared(cluster: Cluster, admin: Any, name: str) -> None:
    declared = settings(cluster, name, changelog=topic("changelog", name, cleanup_policy="compact,delete"))
    apply(declared, TIMEOUT_S)
    for kind in KINDS:
        replicas, config = describe(admin, f"{name}-{kind}")
        assert [len(set(each)) for each in replicas] == [3, 3, 3, 3]
        assert config["min.insync.replicas"] == "2"
    assert describe(admin, f"{name}-changelog")[1]["cleanup.policy"] == "compact,delete"


def test_the_default_configuration_is_one_that_brokers_take(cluster: Cluster) -> None:
    found = survey(Settings(kafka=Kafka(bootstrap_servers=cluster.bootstrap_servers)), TIMEOUT_S)
    assert found.plan.refusals == ()


def test_after_apply_the_plan_is_empty(cluster: Cluster, name: str) -> None:
    declared = settings(cluster, name)
    assert supervisor(declared, "plan").returncode == Exit.DIFFERS
    assert supervisor(declared, "check").returncode == Exit.DIFFERS
    applied = supervisor(declared, "apply", "--yes")
    assert applied.returncode == Exit.OK, applied.stderr
    again = supervisor(declared, "plan")
    assert again.returncode == Exit.OK, again.stderr
    assert "nothing to do" in again.stdout
    checked = supervisor(declared, "check")
    assert (checked.returncode, checked.stdout, checked.stderr) == (Exit.OK, "", "")
    idle = supervisor(declared, "apply")
    assert idle.returncode == Exit.OK, "with nothing to do there is nothing to ask"


def test_plan_and_check_write_nothing(cluster: Cluster, admin: Any, name: str) -> None:
    declared = settings(cluster, name)
    supervisor(declared, "plan")
    supervisor(declared, "check")
    assert not any(exists(admin, f"{name}-{kind}") for kind in KINDS)


def test_every_broker_by_itself_shows_created_and_added_partitions(cluster: Cluster, name: str) -> None:
    for count in (4, 8):
        apply(settings(cluster, name, partitions=count), TIMEOUT_S)
        for broker in cluster.brokers.values():
            for kind in KINDS:
                leaders = leaders_at(broker.port, f"{name}-{kind}")
                assert len(leaders) == count
                assert min(leaders) >= 1


def test_four_partitions_are_extended_to_eight(cluster: Cluster, admin: Any, name: str) -> None:
    apply(settings(cluster, name), TIMEOUT_S)
    wider = settings(cluster, name, partitions=8)
    actions = survey(wider, TIMEOUT_S).plan.actions
    assert all(isinstance(action, ExtendTopic) for action in actions)
    assert bootstrap(wider, TIMEOUT_S).partition_counts == {f"{name}-{kind}": 8 for kind in KINDS}
    assert len(describe(admin, f"{name}-input")[0]) == 8


def test_a_changed_value_is_set_and_other_overrides_are_left_alone(
    cluster: Cluster, admin: Any, name: str
) -> None:
    apply(settings(cluster, name), TIMEOUT_S)
    alter(admin, f"{name}-input", segment_ms="111", min_insync_replicas="1")
    declared = settings(cluster, name, input=topic("input", name, retention_ms=777))
    planned = supervisor(settings(cluster, name), "plan", "--set", "topics.input.retention_ms=777")
    assert planned.returncode == Exit.DIFFERS
    assert "retention.ms: 604800000 -> 777" in planned.stdout
    assert "min.insync.replicas: 1 -> 2" in planned.stdout
    assert "segment.ms" not in planned.stdout
    apply(declared, TIMEOUT_S)
    config = describe(admin, f"{name}-input")[1]
    assert (config["retention.ms"], config["min.insync.replicas"]) == ("777", "2")
    assert config["segment.ms"] == "111"


def test_shrinking_is_refused_with_both_numbers_and_the_key_to_set(
    cluster: Cluster, admin: Any, name: str
) -> None:
    apply(settings(cluster, name, partitions=8), TIMEOUT_S)
    narrower = settings(cluster, name, partitions=4)
    for arguments in (("plan",), ("check",), ("apply", "--yes")):
        refused = supervisor(narrower, *arguments)
        assert refused.returncode == Exit.CONFIGURATION
        assert "has 8 partitions and is declared with 4" in refused.stderr
        assert "remedy: set topics.partitions = 8\n" in refused.stderr
    with pytest.raises(ConfigurationFault, match="8 partitions and is declared with 4"):
        bootstrap(narrower, TIMEOUT_S)
    assert len(describe(admin, f"{name}-input")[0]) == 8


def test_one_refused_topic_stops_all_changes(cluster: Cluster, admin: Any, name: str) -> None:
    create(admin, f"{name}-changelog", 8, 3)
    with pytest.raises(ConfigurationFault):
        apply(settings(cluster, name), TIMEOUT_S)
    assert not any(exists(admin, f"{name}-{kind}") for kind in KINDS[:-1])


def test_four_replicas_on_three_brokers_are_refused_with_both_numbers(
    cluster: Cluster, admin: Any, name: str
) -> None:
    refused = supervisor(settings(cluster, name, replication_factor=4), "apply", "--yes")
    assert refused.returncode == Exit.FAILED
    assert "replication factor 4 and the cluster has 3 live brokers" in refused.stderr
    assert not exists(admin, f"{name}-input")


def test_an_existing_replication_factor_that_differs_is_drift(
    cluster: Cluster, admin: Any, name: str
) -> None:
    create(admin, f"{name}-input", 4, 1, min_insync_replicas="2")
    declared = settings(cluster, name)
    planned = supervisor(declared, "plan", "--json")
    document = json.loads(planned.stdout)
    assert planned.returncode == Exit.DIFFERS
    assert document["verdict"] == "differs"
    assert document["drift"] == [
        {"setting": "topics.replication_factor", "topic": f"{name}-input", "declared": 3, "observed": 1}
    ]
    refused = supervisor(declared, "apply", "--yes")
    assert refused.returncode == Exit.CONFIGURATION
    assert "has replication factor 1 and is declared with 3" in refused.stderr
    assert not exists(admin, f"{name}-output")
    moves = json.loads(supervisor(declared, "plan", "--reassignment").stdout)
    assert moves["version"] == 1
    assert [sorted(move["replicas"]) for move in moves["partitions"]] == [[1, 2, 3]] * 4


def test_more_replicas_than_declared_do_not_keep_the_workers_from_starting(
    cluster: Cluster, name: str
) -> None:
    apply(settings(cluster, name), TIMEOUT_S)
    fewer = settings(cluster, name, replication_factor=2)
    assert bootstrap(fewer, TIMEOUT_S).partition_counts[f"{name}-input"] == 4
    with pytest.raises(ConfigurationFault, match="replication factor 3 and is declared with 2"):
        apply(fewer, TIMEOUT_S)


def test_another_cluster_is_refused_with_both_ids(cluster: Cluster, admin: Any, name: str) -> None:
    ours = admin.describe_cluster().result().cluster_id
    refused = supervisor(settings(cluster, name, cluster_id="elsewhere"), "apply", "--yes")
    assert refused.returncode == Exit.CONFIGURATION
    assert ours in refused.stderr
    assert "elsewhere" in refused.stderr
    assert not exists(admin, f"{name}-input")
    apply(settings(cluster, name, cluster_id=ours), TIMEOUT_S)
    assert exists(admin, f"{name}-input")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"no.such.key": 1}, "Unknown topic config name: no.such.key"),
        ({"segment.ms": "soon"}, "Not a number of type LONG"),
        ({"max.message.bytes": -5}, "max.message.bytes"),
    ],
)
def test_a_value_that_brokers_refuse_is_found_before_anything_is_changed(
    cluster: Cluster, admin: Any, name: str, entry: dict[str, Any], words: str
) -> None:
    declared = settings(cluster, name, dlq=topic("dlq", name, config=entry))
    found = survey(declared, TIMEOUT_S)
    assert found.plan.verdict == "refused"
    with pytest.raises(ConfigurationFault, match=words) as refused:
        apply(declared, TIMEOUT_S)
    assert f"{name}-dlq" in refused.value.cause
    assert not exists(admin, f"{name}-input")
    apply(settings(cluster, name), TIMEOUT_S)
    with pytest.raises(ConfigurationFault, match=words):
        apply(declared, TIMEOUT_S)


def test_two_applies_at_once_end_as_one(cluster: Cluster, admin: Any, name: str) -> None:
    for count in (4, 8):
        declared = settings(cluster, name, partitions=count)
        both = [
            subprocess.Popen(
                command(declared, "apply", "--yes"),
                stderr=subprocess.PIPE,
                text=True,
                stdin=subprocess.DEVNULL,
            )
            for _ in range(2)
        ]
        for process in both:
            _, said = process.communicate(timeout=150)
            assert process.returncode == Exit.OK, said
        assert [len(describe(admin, f"{name}-{kind}")[0]) for kind in KINDS] == [count] * 5


# Kills itself when it has asked for the topics: whatever the answer, some may exist and others not.
KILLED = """
import os, signal, sys
import msgspec
from supervisor.contract.settings import Settings
from supervisor.topics.changes import Changes
from supervisor.topics.converge import apply
from supervisor.topics.model import Desired

request = Changes._request

def request_and_die(self, *arguments, validate_only):
    answers = request(self, *arguments, validate_only=validate_only)
    if not validate_only:
        os.kill(os.getpid(), signal.SIGKILL)
    return answers

Changes._request = request_and_die
declared, desired = msgspec.json.decode(sys.stdin.buffer.read(), type=tuple[Settings, list[Desired]])
apply(declared, 60, desired=desired)
"""


def test_an_apply_killed_in_the_middle_is_finished_by_the_next(
    cluster: Cluster, admin: Any, name: str
) -> None:
    def many(count: int) -> list[Desired]:
        return [
            Desired(
                section="topics.input",
                topic=f"{name}-{number}",
                partitions=count,
                replication_factor=3,
                min_insync_replicas=2,
                config={"min.insync.replicas": "2", "retention.ms": str(1000 + count)},
            )
            for number in range(20)
        ]

    declared = settings(cluster, name)
    for count in (2, 4):
        killed = subprocess.run(
            [sys.executable, "-c", KILLED],
            input=msgspec.json.encode((declared, many(count))),
            check=False,
            timeout=150,
        )
        assert killed.returncode == -signal.SIGKILL
        apply(declared, 60, desired=many(count))
        for wanted in many(count):
            replicas, config = describe(admin, wanted.topic)
            assert len(replicas) == count
            assert config["retention.ms"] == str(1000 + count)


def test_an_apply_that_is_interrupted_says_so_and_can_be_run_again(
    cluster: Cluster, admin: Any, name: str
) -> None:
    declared = settings(cluster, name)
    interrupted = subprocess.Popen(
        command(declared, "apply", "--yes"), stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )
    assert interrupted.stderr is not None
    first = interrupted.stderr.readline()
    assert first.startswith("cluster ")
    interrupted.send_signal(signal.SIGINT)
    _, said = interrupted.communicate(timeout=150)
    assert "Traceback" not in said
    # It may have been quicker than the signal, which may meet it at its very end.
    codes = (Exit.OK, -signal.SIGINT, 130)
    quicker = interrupted.returncode in codes and "5 topics are as declared" in said
    assert quicker or (interrupted.returncode, said.splitlines()[-1]) == (
        130,
        "interrupted: what was done stays done; run it again to go on",
    )
    again = supervisor(declared, "apply", "--yes")
    assert again.returncode == Exit.OK, again.stderr
    assert [len(describe(admin, f"{name}-{kind}")[0]) for kind in KINDS] == [4] * 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_prompt_can_be_interrupted_and_nothing_is_changed(
    cluster: Cluster, admin: Any, name: str, number: signal.Signals
) -> None:
    ours, theirs = os.openpty()
    asking = subprocess.Popen(
        command(settings(cluster, name), "apply"), stdin=theirs, stderr=subprocess.PIPE, bufsize=0
    )
    try:
        assert asking.stderr is not None
        said = b""
        while b"Apply?" not in said:
            piece = asking.stderr.read(1_000)
            assert piece, said
            said += piece
        # One that comes just before Python waits for the answer is noticed with the next, as people do it.
        # But not at once: one that meets the interpreter at its end, on a busy machine, kills it.
        for _ in range(6):
            asking.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                asking.wait(10)
                break
        _, rest = asking.communicate(timeout=30)
    finally:
        os.close(ours)
        os.close(theirs)
    assert asking.returncode == 128 + number
    assert b"interrupted: what was done stays done" in rest
    assert b"Traceback" not in rest
    assert not exists(admin, f"{name}-input")


def test_a_terminal_of_no_one_is_not_asked(cluster: Cluster, admin: Any, name: str) -> None:
    refused = supervisor(settings(cluster, name), "apply")
    assert refused.returncode == Exit.USAGE
    assert "remedy: run it with --yes" in refused.stderr
    assert not exists(admin, f"{name}-input")


def test_the_document_names_every_action(cluster: Cluster, name: str) -> None:
    document = json.loads(supervisor(settings(cluster, name), "check", "--json").stdout)
    assert set(document) == {
        "version",
        "cluster_id",
        "brokers",
        "verdict",
        "actions",
        "drift",
        "refusals",
        "warnings",
    }
    assert document["brokers"] == [1, 2, 3]
    assert [action["topic"] for action in document["actions"]] == [f"{name}-{kind}" for kind in KINDS]
    assert {action["action"] for action in document["actions"]} == {"create"}


def test_brokers_that_are_not_there_are_named_within_the_time_given(name: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        servers = f"127.0.0.1:{unused.getsockname()[1]}"
        nobody = Settings(kafka=Kafka(bootstrap_servers=servers))
        began = time.monotonic()
        with pytest.raises(BrokersUnreachable) as fault:
            survey(nobody, 1.0)
        assert 1.0 <= time.monotonic() - began < 10.0
        assert servers in fault.value.cause
        failed = supervisor(nobody, "plan", "--timeout", "1")
    assert failed.returncode == Exit.BROKERS_UNREACHABLE
    first, second = failed.stderr.splitlines()
    assert first.startswith("error: no answer from the brokers at " + servers)
    assert second.startswith("remedy: ")


def test_a_mistaken_client_setting_is_a_configuration_fault(cluster: Cluster) -> None:
    kafka = Kafka(bootstrap_servers=cluster.bootstrap_servers, client={"no.such.property": True})
    with pytest.raises(ConfigurationFault, match=r"no\.such\.property"):
        survey(Settings(kafka=kafka), TIMEOUT_S)


def test_a_login_that_is_refused_does_not_wait_for_the_deadline(cluster: Cluster) -> None:
    client: dict[str, Any] = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "nobody",
        "sasl.password": "secret",
    }
    kafka = Kafka(bootstrap_servers=cluster.bootstrap_servers, client=client)
    with pytest.raises(ConfigurationFault, match="refused the login") as fault:
        survey(Settings(kafka=kafka), 600.0)
    assert "secret" not in fault.value.cause


def test_a_fault_is_one_sentence_on_one_line(cluster: Cluster, name: str) -> None:
    declared = settings(cluster, name, dlq=topic("dlq", name, config={"segment.ms": "a\nb"}))
    with pytest.raises(Fault) as fault:
        apply(declared, TIMEOUT_S)
    assert fault.value.cause.isprintable()
