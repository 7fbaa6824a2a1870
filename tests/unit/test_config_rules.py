"""Contradictions: each rule refuses what is impossible, at its very limit, and no more."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from supervisor.config.keys import parse
from supervisor.config.rules import _OURS, Contradiction, contradictions
from supervisor.contract.settings import Settings


def with_values(values: dict[str, Any]) -> Settings:
    tree = msgspec.to_builtins(Settings())
    for key, value in values.items():
        *tables, name = parse(key)
        table = tree
        for part in tables:
            table = table[part]
        table[name] = value
    return msgspec.convert(tree, Settings)


def found(values: dict[str, Any], cpus: set[int] | None = None) -> list[Contradiction]:
    return contradictions(with_values(values), cpus)


def test_the_defaults_contradict_nothing() -> None:
    assert contradictions(Settings(), {0}) == []


@pytest.mark.parametrize(
    ("values", "keys", "numbers"),
    [
        ({"olap.workers": 5}, ("olap.workers", "topics.partitions"), ("= 5", "= 4")),
        (
            {"olap.workers": 5, "topics.input.partitions": 4},
            ("olap.workers", "topics.input.partitions"),
            ("= 5", "= 4"),
        ),
        ({"topics.output.partitions": 3}, ("topics.output.partitions", "topics.partitions"), ("= 3", "= 4")),
        ({"topics.dlq.partitions": 5}, ("topics.dlq.partitions", "topics.partitions"), ("= 5", "= 4")),
        (
            {"topics.aggregates.partitions": 8},
            ("topics.aggregates.partitions", "topics.partitions"),
            ("= 8",),
        ),
        ({"topics.changelog.partitions": 8}, ("topics.changelog.partitions", "topics.partitions"), ("= 8",)),
        (
            {"topics.min_insync_replicas": 4},
            ("topics.min_insync_replicas", "topics.replication_factor"),
            ("= 4", "= 3"),
        ),
        (
            {"topics.dlq.replication_factor": 1},
            ("topics.min_insync_replicas", "topics.dlq.replication_factor"),
            ("= 2", "= 1"),
        ),
        (
            {"olap.commit_interval_ms": 2000, "olap.transaction_timeout_ms": 2000},
            ("olap.commit_interval_ms", "olap.transaction_timeout_ms"),
            ("= 2000",),
        ),
        (
            {"olap.backlog_interval_ms": 2000, "olap.transaction_timeout_ms": 1000},
            ("olap.backlog_interval_ms", "olap.transaction_timeout_ms"),
            ("= 2000", "= 1000"),
        ),
        (
            {"kafka.client": {"linger.ms": 2000}, "olap.transaction_timeout_ms": 2000},
            ('kafka.client."linger.ms"', "olap.transaction_timeout_ms"),
            ("= 2000",),
        ),
        (
            {"kafka.client": {"sasl.oauthbearer.metadata.authentication.type": "aws_iam"}},
            ('kafka.client."sasl.oauthbearer.metadata.authentication.type"',),
            ("aws_iam",),
        ),
        ({"topics.dlq.name": "user-login"}, ("topics.dlq.name", "topics.input.name"), ('"user-login"',)),
        (
            {"topics.dlq.name": "a.b", "topics.output.name": "a_b"},
            ("topics.dlq.name", "topics.output.name"),
            ('"a.b"', '"a_b"'),
        ),
        ({"topics.changelog.cleanup_policy": "delete"}, ("topics.changelog.cleanup_policy",), ('"delete"',)),
        (
            {"topics.changelog.cleanup_policy": "compact,delete"},
            ("topics.changelog.cleanup_policy",),
            ('"compact,delete"',),
        ),
        (
            {"topics.aggregates.cleanup_policy": "delete"},
            ("topics.aggregates.cleanup_policy",),
            ('"delete"',),
        ),
        ({"topics.dlq.config": {"retention.ms": 1}}, ('topics.dlq.config."retention.ms"',), ()),
        ({"realtime.sinks": ["live", "stdout", "live"]}, ("realtime.sinks",), ("live",)),
        ({"olap.cpus": [1, 0, 1]}, ("olap.cpus",), ("1",)),
        ({"kafka.client": {"oauth_cb": "x"}}, ("kafka.client.oauth_cb",), ()),
        ({"hooks.command": "mail -s 'down"}, ("hooks.command",), ("no closing quotation",)),
        ({"hooks.command": "  "}, ("hooks.command",), ("blank",)),
    ],
)
def test_a_contradiction_names_its_keys_and_both_numbers(
    values: dict[str, Any], keys: tuple[str, ...], numbers: tuple[str, ...]
) -> None:
    (only,) = found(values)
    assert only.keys == keys
    assert all(number in only.problem for number in numbers)
    assert only.hint


@pytest.mark.parametrize(
    "values",
    [
        {"olap.workers": 4},
        {"olap.workers": 0, "topics.partitions": 1},
        {"topics.input.partitions": 4, "topics.dlq.partitions": 4},
        {"topics.min_insync_replicas": 3},
        {"olap.commit_interval_ms": 1999, "olap.transaction_timeout_ms": 2000},
        {"topics.aggregates.cleanup_policy": "compact,delete"},
        {"realtime.jsonl.path": "/tmp/events.jsonl", "realtime.sinks": ["live"]},
        {"topics.dlq.config": {"max.message.bytes": 1}},
        {"kafka.client": {"security.protocol": "SSL", "linger.ms": 5, "client.id": "x"}},
        {"olap.cpus": [0], "realtime.cpus": [0]},
        {"hooks.command": "mail -s 'it is down' root", "hooks.webhook": "https://[::1]:8443/x?token=y"},
    ],
)
def test_what_is_just_possible_is_none(values: dict[str, Any]) -> None:
    assert found(values, {0, 1}) == []


def test_an_input_unlike_all_others_is_said_of_each_of_them() -> None:
    contradicted = found({"topics.input.partitions": 8})
    assert [each.keys for each in contradicted] == [("topics.input.partitions", "topics.partitions")] * 4
    others = ("output", "aggregates", "dlq", "changelog")
    assert all(f"the {name} topic" in each.problem for each, name in zip(contradicted, others, strict=True))


def test_replicas_of_all_topics_are_one_contradiction() -> None:
    assert len(found({"topics.replication_factor": 1})) == 1


@pytest.mark.parametrize("name", sorted(_OURS))
def test_a_property_that_the_workers_own_is_refused_with_what_to_do(name: str) -> None:
    (only,) = found({"kafka.client": {name: "x", "linger.ms": 5}})
    assert only.keys == (f'kafka.client."{name}"',) or only.keys == (f"kafka.client.{name}",)
    assert only.hint == _OURS[name]


def test_every_key_that_a_refused_property_points_to_exists() -> None:
    tree = msgspec.to_builtins(Settings())
    pointed = [word.rstrip(";,") for hint in _OURS.values() for word in hint.split() if word.count(".") == 1]
    assert pointed
    for key in pointed:
        table, name = key.split(".")
        assert name in tree[table]


@pytest.mark.parametrize(
    "address",
    [
        "hush",
        "hush.org/x",
        "file:///etc/hush",
        "https://",
        "https:///hush",
        "http://[hush",
        "http://hush:70000/",
    ],
)
def test_a_webhook_without_a_web_address_is_refused_and_not_repeated(address: str) -> None:
    (only,) = found({"hooks.webhook": address})
    assert only.keys == ("hooks.webhook",)
    assert "hush" not in only.problem + only.hint


def test_cpus_that_are_not_there_are_named_with_those_that_are() -> None:
    first, second = found({"olap.cpus": [0, 5, 9], "realtime.cpus": [7]}, {0, 1})
    assert (first.keys, second.keys) == (("olap.cpus",), ("realtime.cpus",))
    assert "5, 9" in first.problem
    assert "0, 1" in first.hint
    assert "7" in second.problem


def test_cpus_count_for_nothing_where_the_machine_is_unknown() -> None:
    assert found({"olap.cpus": [99]}) == []


def test_all_contradictions_are_found_at_once() -> None:
    values = {
        "olap.workers": 9,
        "topics.replication_factor": 1,
        "olap.cpus": [9],
        "kafka.client": {"acks": 1},
    }
    assert len(found(values, {0})) == 4


@pytest.mark.parametrize("key", ["runtime.run_dir", "log.directory", "realtime.jsonl.path"])
def test_a_path_below_a_home_that_there_is_not_is_a_mistake_and_no_traceback(key: str) -> None:
    (contradiction,) = found({key: "~no-such-user/here"})
    assert contradiction.keys == (key,)
    assert "'~no-such-user/here'" in contradiction.problem
