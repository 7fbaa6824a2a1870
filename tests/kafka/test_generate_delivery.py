"""The generator against real brokers."""

import itertools
import json
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from supervisor.cluster import Cluster
from supervisor.contract.exits import Exit
from supervisor.contract.faults import BrokersUnreachable, ConfigurationFault, Fault
from supervisor.generate.events import events
from supervisor.generate.generator import Generator, Load

PARTITIONS = 4
MAX = float("inf")


@pytest.fixture
def topic(cluster):
    return make_topic(cluster.bootstrap_servers, replicas=3)


def make_topic(servers, replicas):
    name = f"generate-{uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": servers})
    for done in admin.create_topics([NewTopic(name, PARTITIONS, replicas)]).values():
        done.result(30)
    return name


def records(servers, topic):
    """Every record there is: partition, key, value."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": uuid4().hex, "enable.auto.commit": False})
    found = []
    try:
        ends = {
            n: consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=30)[1]
            for n in range(PARTITIONS)
        }
        consumer.assign([TopicPartition(topic, n, 0) for n in range(PARTITIONS)])
        while missing := sum(ends.values()) - len(found):
            batch = consumer.consume(min(missing, 1000), timeout=30)
            assert batch, "records are missing"
            found += [(m.partition(), m.key(), m.value()) for m in batch]
    finally:
        consumer.close()
    return found


def client(cluster):
    return {"bootstrap.servers": cluster.bootstrap_servers}


def timeless(value):
    return None if value is None else re.sub(rb'"timestamp":"?\d+"?', b"", value)


def test_what_is_reported_is_what_the_topic_holds_each_event_once_and_evenly(cluster, topic):
    load = Load(rate=MAX, count=4_000, seed=5, bad=0.02)
    report = Generator(client(cluster), topic, load).run()
    assert (report.produced, report.acknowledged, report.failed) == (4_000, 4_000, 0)
    assert report.bad_sent == sum(report.bad_kinds.values()) > 0
    found = records(cluster.bootstrap_servers, topic)
    sent = itertools.islice(events(5, bad=0.02), 4_000)
    assert Counter(timeless(value) for _, _, value in found) == Counter(timeless(value) for _, value in sent)
    assert Counter(partition for partition, _, _ in found) == dict.fromkeys(range(PARTITIONS), 1_000)


def test_a_key_goes_where_the_java_client_would_send_it(cluster, topic):
    report = Generator(client(cluster), topic, Load(rate=MAX, count=1_000, key="locale")).run()
    assert report.acknowledged == 1_000
    keyed = [(partition, key) for partition, key, _ in records(cluster.bootstrap_servers, topic) if key]
    assert len({key for _, key in keyed}) > 20
    for partition, key in keyed:
        assert partition == (murmur2(key) & 0x7FFFFFFF) % PARTITIONS


def murmur2(data):
    """org.apache.kafka.common.utils.Utils.murmur2"""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def test_the_rate_is_never_exceeded(cluster, topic):
    report = Generator(client(cluster), topic, Load(rate=300, duration_s=2)).run()
    # How many fewer is the machine's affair: what a stall has cost is not made up for.
    assert 0 < report.produced <= 601
    assert report.acknowledged == report.produced


def test_a_number_of_events_is_sent_in_full_and_no_sooner_than_the_rate_allows(cluster, topic):
    report = Generator(client(cluster), topic, Load(rate=300, count=300)).run()
    assert (report.produced, report.acknowledged) == (300, 300)
    assert report.seconds >= 299 / 300


def test_at_a_low_rate_a_partition_gets_batches_with_pauses_between(cluster, topic):
    """Sent one by one, the next one waited in the queue for those in flight, and spun the client's thread."""
    report = Generator(client(cluster), topic, Load(rate=400, count=800)).run()
    config = {"bootstrap.servers": cluster.bootstrap_servers, "group.id": uuid4().hex}
    consumer = Consumer({**config, "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, n, 0) for n in range(PARTITIONS)])
    sent = []
    while len(sent) < report.acknowledged:
        sent += [message.timestamp()[1] for message in consumer.consume(1, timeout=30)]
    consumer.close()
    sent.sort()
    slices = 1 + sum(later - earlier > 5 for earlier, later in itertools.pairwise(sent))
    assert len(sent) / slices > 4


def test_an_event_that_the_client_refuses_is_failed_with_its_cause_and_the_rest_goes_on(cluster, topic):
    config = {**client(cluster), "message.max.bytes": 50_000}
    report = Generator(config, topic, Load(rate=MAX, count=200, bad=1.0)).run()
    assert report.causes == {"MSG_SIZE_TOO_LARGE": report.bad_kinds["long_field"]}
    assert report.acknowledged == 200 - report.failed == len(records(cluster.bootstrap_servers, topic))


def test_an_unknown_topic_is_not_created_but_named(cluster):
    name = f"absent-{uuid4().hex[:8]}"
    with pytest.raises(Fault, match=f"topic {name} does not exist") as fault:
        Generator(client(cluster), name, Load(count=1)).run()
    assert fault.value.remedy == "supervisor topics apply"
    assert name not in AdminClient(client(cluster)).list_topics(timeout=10).topics


def test_brokers_that_do_not_answer_are_a_fault_in_bounded_time():
    generator = Generator({"bootstrap.servers": "127.0.0.1:1"}, "t", Load(count=1), connect_timeout_s=1)
    with pytest.raises(BrokersUnreachable, match=r"127\.0\.0\.1:1 .*Connection refused"):
        generator.run()


def test_settings_that_librdkafka_refuses_are_a_configuration_fault():
    with pytest.raises(ConfigurationFault, match=r"security\.protocol"):
        Generator({"bootstrap.servers": "127.0.0.1:1", "security.protocol": "no"}, "t", Load()).run()


class Watched:
    """A generator at work in a thread, and what it told last."""

    def __init__(self, config, topic, load):
        self.stop, self.hasten = threading.Event(), threading.Event()
        self._told = threading.Condition()
        self._last = None
        self.report = None
        self._generator = Generator(config, topic, load, self._tell)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        self.report = self._generator.run(self.stop, self.hasten)

    def _tell(self, report, trouble):
        with self._told:
            self._last = (report, trouble)
            self._told.notify_all()

    def until(self, holds):
        with self._told:
            assert self._told.wait_for(lambda: self._last is not None and holds(*self._last), timeout=90)
            return self._last[0]

    def end(self):
        self._thread.join(90)
        assert self.report is not None
        return self.report


@pytest.fixture
def single():
    with Cluster.start(brokers=1) as running:
        yield running


def test_a_broker_outage_loses_and_repeats_nothing_and_giving_up_says_what_was_lost(single):
    name = make_topic(single.bootstrap_servers, replicas=1)
    watched = Watched(client(single), name, Load(rate=300))
    watched.until(lambda report, _: report.acknowledged > 300)
    single.kill(1)
    before = watched.until(lambda report, trouble: report.waiting > 200 and trouble)
    single.restart(1)
    watched.until(lambda report, trouble: report.acknowledged > before.produced + 300 and not trouble)
    watched.stop.set()
    report = watched.end()
    assert (report.acknowledged, report.failed) == (report.produced, 0)
    assert len(records(single.bootstrap_servers, name)) == report.produced

    watched = Watched(client(single), name, Load(rate=300))
    watched.until(lambda report, _: report.acknowledged > 100)
    single.kill(1)
    watched.until(lambda report, _: report.waiting > 200)
    watched.stop.set()
    watched.hasten.set()
    lost = watched.end()
    assert lost.causes == {"given up": lost.failed}
    assert lost.failed > 200
    assert lost.acknowledged + lost.failed == lost.produced


def generate(cluster, topic, *arguments):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "supervisor", "generate"),
            *("--bootstrap-servers", cluster.bootstrap_servers, "--topic", topic),
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_reports_as_json_on_stdout_alone(cluster, topic):
    process = generate(
        cluster, topic, "--rate", "max", "--count", "500", "--seed", "9", "--bad", "10%", "--json"
    )
    out, err = process.communicate(timeout=90)
    assert process.returncode == Exit.OK, err
    report = json.loads(out)
    assert (report["topic"], report["seed"], report["acknowledged"]) == (topic, 9, 500)
    assert report["bad_sent"] == sum(report["bad_kinds"].values()) > 0
    assert err == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_everything_acknowledged_and_exit_code_0(cluster, topic, number):
    process = generate(cluster, topic, "--rate", "1000")
    assert "acknowledged" in process.stderr.readline()  # plain progress, since this is no terminal
    process.send_signal(number)
    out, _ = process.communicate(timeout=90)
    assert process.returncode == Exit.OK
    acknowledged = int(re.match(r"([\d,]+) events acknowledged by", out)[1].replace(",", ""))
    assert acknowledged == len(records(cluster.bootstrap_servers, topic)) > 0


def test_a_missing_topic_is_two_lines_and_exit_code_1(cluster):
    process = generate(cluster, "no-such-topic")
    out, err = process.communicate(timeout=90)
    assert process.returncode == Exit.FAILED
    assert out == ""
    assert [line.split(":")[0] for line in err.splitlines()] == ["error", "remedy"]


@pytest.mark.parametrize(
    "arguments", [["--rate", "0"], ["--rate", "-1"], ["--bad", "101%"], ["--count", "0"]]
)
def test_senseless_numbers_are_a_usage_error(cluster, arguments):
    process = generate(cluster, "any", *arguments)
    _, err = process.communicate(timeout=90)
    assert process.returncode == Exit.USAGE
    assert arguments[0] in err
