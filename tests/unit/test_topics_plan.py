"""The planner on a model cluster: it converges, never shrinks, and refuses with both numbers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.contract.settings import Topic, Topics
from supervisor.topics.declaration import desire
from supervisor.topics.model import (
    Action,
    Broker,
    ChangeConfig,
    CreateTopic,
    Desired,
    ExtendTopic,
    Observed,
    ObservedTopic,
    Partition,
    Refusal,
)
from supervisor.topics.plan import plan
from supervisor.topics.spelling import same_value

BROKER_DEFAULTS: dict[str, str | None] = {
    "cleanup.policy": "delete",
    "min.insync.replicas": "1",
    "retention.ms": "604800000",
    "max.message.bytes": "1048588",
    "segment.ms": "604800000",
}
NAMES = ["a", "b", "c"]


def desired(topic: str = "a", **overrides: Any) -> Desired:
    values: dict[str, Any] = {
        "section": f"topics.{topic}",
        "topic": topic,
        "partitions": 4,
        "replication_factor": 3,
        "min_insync_replicas": 2,
        "config": {"min.insync.replicas": "2"},
    }
    return Desired(**{**values, **overrides})


def partitions(count: int, factor: int = 3) -> tuple[Partition, ...]:
    replicas = tuple(range(1, factor + 1))
    return tuple(Partition(number, 1, replicas, replicas) for number in range(count))


def cluster(topics: dict[str, ObservedTopic] | None = None, brokers: int = 3) -> Observed:
    live = tuple(Broker(number, "localhost", 9090 + number) for number in range(1, brokers + 1))
    return Observed("cluster", live, topics or {})


def existing(count: int = 4, factor: int = 3, **config: str) -> ObservedTopic:
    values = {"min.insync.replicas": "2", **{key.replace("_", "."): value for key, value in config.items()}}
    return ObservedTopic(partitions(count, factor), {**BROKER_DEFAULTS, **values})


def carried_out(actions: tuple[Action, ...], observed: Observed) -> Observed:
    """A model of what brokers do; it knows nothing of the planner."""
    topics = dict(observed.topics)
    for action in actions:
        match action:
            case CreateTopic():
                assert action.topic not in topics
                config = {**BROKER_DEFAULTS, **action.config}
                topics[action.topic] = ObservedTopic(
                    partitions(action.partitions, action.replication_factor), config
                )
            case ExtendTopic():
                factor = len(topics[action.topic].partitions[0].replicas)
                topics[action.topic] = ObservedTopic(
                    partitions(action.after, factor), topics[action.topic].config
                )
            case ChangeConfig():
                changed = {change.key: change.after for change in action.changes}
                old = topics[action.topic]
                topics[action.topic] = ObservedTopic(old.partitions, {**old.config, **changed})
    return Observed(observed.cluster_id, observed.brokers, topics)


configs = st.dictionaries(
    st.sampled_from(sorted(BROKER_DEFAULTS)),
    st.one_of(
        st.integers(-1, 10**13).map(str),
        st.floats(allow_nan=False, allow_infinity=False).map(str),
        st.sampled_from(["delete", "compact", "compact,delete", "true", "false", ""]),
    ),
)
declarations = st.lists(st.sampled_from(NAMES), unique=True).flatmap(
    lambda names: st.tuples(
        *(
            st.builds(
                desired,
                topic=st.just(name),
                partitions=st.integers(1, 20),
                replication_factor=st.integers(1, 5),
                min_insync_replicas=st.integers(1, 5),
                config=configs,
            )
            for name in names
        )
    )
)
clusters = st.builds(
    cluster,
    topics=st.dictionaries(
        st.sampled_from([*NAMES, "unrelated"]),
        st.builds(
            lambda count, factor, config: ObservedTopic(
                partitions(count, factor), {**BROKER_DEFAULTS, **config}
            ),
            st.integers(1, 20),
            st.integers(1, 4),
            configs,
        ),
    ),
    brokers=st.integers(1, 5),
)


@given(declarations, clusters)
def test_after_its_actions_nothing_is_left_to_do(wanted: tuple[Desired, ...], before: Observed) -> None:
    first = plan(wanted, before)
    again = plan(wanted, carried_out(first.actions, before))
    assert again.actions == ()
    assert again.drift == first.drift


@given(declarations, clusters)
def test_no_topic_ever_shrinks_or_disappears(wanted: tuple[Desired, ...], before: Observed) -> None:
    after = carried_out(plan(wanted, before).actions, before)
    for name, count in before.partition_counts.items():
        assert after.partition_counts[name] >= count


@given(declarations, clusters)
def test_only_declared_keys_of_declared_topics_change(wanted: tuple[Desired, ...], before: Observed) -> None:
    after = carried_out(plan(wanted, before).actions, before)
    declared = {each.topic: each.config for each in wanted}
    for name, topic in before.topics.items():
        for key, value in topic.config.items():
            if key not in declared.get(name, {}):
                assert after.topics[name].config[key] == value


@given(declarations, clusters)
def test_without_a_refusal_the_plan_ends_at_the_declared_numbers(
    wanted: tuple[Desired, ...], before: Observed
) -> None:
    found = plan(wanted, before)
    after = carried_out(found.actions, before)
    for each in wanted:
        refused = any(refusal.topic == each.topic for refusal in found.refusals)
        assert refused or after.partition_counts[each.topic] == each.partitions


def test_the_same_cluster_gives_an_empty_plan() -> None:
    found = plan([desired()], cluster({"a": existing()}))
    assert (found.verdict, found.actions, found.drift, found.warnings) == ("same", (), (), ())


def test_a_missing_topic_is_created_with_every_declared_key() -> None:
    found = plan([desired(config={"min.insync.replicas": "2", "retention.ms": "5"})], cluster())
    assert found.actions == (
        CreateTopic(
            section="topics.a",
            topic="a",
            partitions=4,
            replication_factor=3,
            config={"min.insync.replicas": "2", "retention.ms": "5"},
        ),
    )


def test_more_partitions_and_another_value_are_two_actions() -> None:
    found = plan([desired(partitions=8)], cluster({"a": existing(4, min_insync_replicas="1")}))
    extend, change = found.actions
    assert isinstance(extend, ExtendTopic)
    assert (extend.before, extend.after) == (4, 8)
    assert isinstance(change, ChangeConfig)
    assert [(c.key, c.before, c.after) for c in change.changes] == [("min.insync.replicas", "1", "2")]


def test_fewer_partitions_are_refused_with_both_numbers_and_the_key() -> None:
    (refusal,) = plan([desired(partitions=4)], cluster({"a": existing(8)})).refusals
    assert "has 8 partitions and is declared with 4" in refusal.cause
    assert refusal.remedy == "set topics.a.partitions = 8"


def test_an_inherited_number_is_corrected_where_it_stands() -> None:
    wanted = desired(partitions=4, inherited=frozenset({"partitions"}))
    (refusal,) = plan([wanted], cluster({"a": existing(8)})).refusals
    assert refusal.remedy == "set topics.partitions = 8"


def test_a_new_topic_with_more_replicas_than_brokers_is_refused_with_both_numbers() -> None:
    (refusal,) = plan([desired(replication_factor=4)], cluster()).refusals
    assert "replication factor 4" in refusal.cause
    assert "3 live brokers" in refusal.cause
    assert refusal.kind == "brokers"


def test_an_existing_topic_is_fine_while_a_broker_is_away() -> None:
    found = plan([desired()], cluster({"a": existing()}, brokers=2))
    assert found.verdict == "same"


def test_extending_needs_as_many_brokers_as_replicas() -> None:
    (refusal,) = plan([desired(partitions=8)], cluster({"a": existing()}, brokers=2)).refusals
    assert "2 live brokers" in refusal.cause


def test_another_replication_factor_is_drift_and_no_action() -> None:
    found = plan([desired()], cluster({"a": existing(factor=1)}))
    assert found.actions == ()
    assert [(drift.declared, drift.observed) for drift in found.drift] == [(3, 1)]
    assert found.verdict == "differs"


def test_more_replicas_needed_in_sync_than_there_are_is_refused_with_both_numbers() -> None:
    wanted = desired(min_insync_replicas=3, replication_factor=2, config={"min.insync.replicas": "3"})
    (refusal,) = plan([wanted], cluster()).refusals
    assert "needs 3 replicas in sync" in refusal.cause
    assert "replication factor 2" in refusal.cause


def test_more_partitions_than_one_request_can_carry_are_refused() -> None:
    (refusal,) = plan([desired(partitions=100_001)], cluster()).refusals
    assert "100001" in refusal.cause
    assert "100000" in refusal.cause


def test_unprintable_configuration_is_refused_without_repeating_it() -> None:
    (refusal,) = plan([desired(config={"a\x1b[31m": "b\0"})], cluster()).refusals
    assert refusal.cause.isprintable()


@pytest.mark.parametrize(
    ("declared", "observed"),
    [
        ("0.1", "1e-1"),
        ("1.0", "1"),
        ("true", "TRUE"),
        ("compact,delete", "delete, compact"),
        (" 5 ", "5"),
        ("9223372036854775807", "9223372036854775807"),
    ],
)
def test_spellings_of_one_value_are_no_difference(declared: str, observed: str) -> None:
    assert same_value(declared, observed)


@pytest.mark.parametrize(
    ("declared", "observed"),
    [
        ("9223372036854775807", "9223372036854775806"),
        ("compact", "compact,delete"),
        ("true", "1"),
        ("NaN", "5"),
        ("zstd", "ZSTD"),
        ("5", None),
    ],
)
def test_other_values_are_a_difference(declared: str, observed: str | None) -> None:
    assert not same_value(declared, observed)


def test_the_default_configuration_declares_five_topics_with_values_as_kafka_spells_them() -> None:
    topics = {each.section: each for each in desire(Topics())}
    assert list(topics) == [
        "topics.input",
        "topics.output",
        "topics.aggregates",
        "topics.dlq",
        "topics.changelog",
    ]
    changelog = topics["topics.changelog"]
    assert changelog.config["cleanup.policy"] == "compact"
    assert changelog.config["min.cleanable.dirty.ratio"] == "0.1"
    assert "retention.ms" not in changelog.config
    assert changelog.setting("partitions") == "topics.partitions"


def test_a_number_of_its_own_is_corrected_in_its_own_table() -> None:
    declared = Topics(input=Topic(name="in", partitions=2, config={"preallocate": True}))
    wanted = desire(declared)[0]
    assert wanted.setting("partitions") == "topics.input.partitions"
    assert wanted.config["preallocate"] == "true"


def test_a_client_that_may_only_look_still_tells_that_something_differs() -> None:
    found = plan([desired(partitions=8)], cluster({"a": existing()}))
    denied = Refusal(kind="authorization", topic="a", setting="topics.a", cause="no", remedy="")
    assert msgspec.structs.replace(found, refusals=(denied,)).verdict == "differs"
    shrunk = plan([desired(partitions=2)], cluster({"a": existing()}))
    assert msgspec.structs.replace(shrunk, refusals=(denied, *shrunk.refusals)).verdict == "refused"
