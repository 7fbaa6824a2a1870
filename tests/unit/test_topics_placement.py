"""Leaders, replicas in sync, and where replicas would have to go."""

from __future__ import annotations

from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from supervisor.topics.model import Broker, Desired, Observed, ObservedTopic, Partition, TopicView
from supervisor.topics.placement import placement_warnings, unready, unseen
from supervisor.topics.reassignment import reassignment

ALL = (1, 2, 3)


def desired(factor: int = 3, min_isr: int = 2, count: int = 1) -> Desired:
    return Desired(
        section="topics.a",
        topic="a",
        partitions=count,
        replication_factor=factor,
        min_insync_replicas=min_isr,
        config={},
    )


def observed(*partitions: Partition, brokers: int = 3) -> Observed:
    live = tuple(Broker(number, "localhost", 9090 + number) for number in range(1, brokers + 1))
    return Observed("cluster", live, {"a": ObservedTopic(partitions, {})} if partitions else {})


def kinds(state: Observed, wanted: Desired | None = None) -> list[tuple[str, tuple[int, ...]]]:
    return [(each.kind, each.partitions) for each in placement_warnings([wanted or desired()], state)]


def test_a_partition_is_named_under_its_worst_state_alone() -> None:
    state = observed(
        Partition(0, None, ALL, ()),
        Partition(1, 1, ALL, (1,)),
        Partition(2, 1, ALL, (1, 2)),
        Partition(3, 1, ALL, ALL),
        Partition(4, 1, (1, 2, 3, 4), (1, 2, 3, 4)),
    )
    assert kinds(state) == [
        ("offline", (0,)),
        ("below_min_isr", (1,)),
        ("under_replicated", (2,)),
        ("extra_replicas", (4,)),
    ]


def test_a_topic_with_one_replica_is_not_below_a_minimum_of_two() -> None:
    assert kinds(observed(Partition(0, 1, (1,), (1,)))) == []


def test_many_partitions_are_not_all_listed() -> None:
    state = observed(*(Partition(number, None, ALL, ()) for number in range(20)))
    (warning,) = placement_warnings([desired()], state)
    assert warning.text == "topic a partitions 0, 1, 2, 3, 4, 5, 6, 7 and 12 more: no leader"


def test_ready_means_visible_complete_led_and_enough_in_sync() -> None:
    whole = Partition(0, 1, ALL, (1, 2))
    assert unready([desired()], observed(whole)) == []
    assert unready([desired()], observed()) == ["topic a is not visible"]
    assert unready([desired(count=2)], observed(whole)) == ["topic a shows 1 of 2 partitions"]
    assert unready([desired()], observed(Partition(0, None, ALL, ALL))) == ["topic a partition 0: no leader"]
    assert "fewer than 2 replicas in sync" in unready([desired()], observed(Partition(0, 1, ALL, (1,))))[0]


def test_every_broker_has_to_show_all_leaders_and_values_by_itself() -> None:
    wanted = msgspec.structs.replace(desired(count=2), config={"retention.ms": "5"})
    state = observed(Partition(0, 1, ALL, ALL), Partition(1, 2, ALL, ALL), brokers=1)

    def waits_for(view: dict[str, TopicView] | None) -> list[str]:
        return [text.partition(") ")[2] for text in unseen([wanted], state, [view])]

    assert waits_for({"a": TopicView(2, {"retention.ms": "5"})}) == []
    assert waits_for({"a": TopicView(1, {"retention.ms": "5"})}) == ["shows topic a with 1 of 2 leaders"]
    assert waits_for({}) == ["shows topic a with 0 of 2 leaders"]
    assert waits_for({"a": TopicView(2, {"retention.ms": "4"})}) == [
        "shows topic a with its former configuration"
    ]
    assert waits_for(None) == ["does not answer"]


@st.composite
def states(draw: st.DrawFn) -> tuple[Observed, int]:
    brokers = draw(st.integers(1, 6))
    partitions = []
    for number in range(draw(st.integers(1, 8))):
        replicas = draw(st.lists(st.integers(1, brokers + 1), unique=True, min_size=1))
        isr = draw(st.lists(st.sampled_from(replicas), unique=True))
        partitions.append(Partition(number, isr[0] if isr else None, tuple(replicas), tuple(isr)))
    return observed(*partitions, brokers=brokers), draw(st.integers(1, brokers))


@given(states())
def test_moves_give_exactly_the_declared_number_of_distinct_replicas(state: tuple[Observed, int]) -> None:
    before, factor = state
    live = {broker.id for broker in before.brokers}
    old = {partition.id: partition for partition in before.topics["a"].partitions}
    moved = reassignment([desired(factor)], before).partitions
    for move in moved:
        was = old[move.partition]
        assert len(move.replicas) == len(set(move.replicas)) == factor
        assert set(move.replicas) - set(was.replicas) <= live
        if len(was.replicas) < factor:
            assert move.replicas[: len(was.replicas)] == was.replicas
        else:
            dropped = set(was.replicas) - set(move.replicas)
            kept_out_of_sync = set(move.replicas) - set(was.isr)
            assert not (dropped & set(was.isr) and kept_out_of_sync)
    unmoved = set(old) - {move.partition for move in moved}
    assert all(len(old[number].replicas) == factor for number in unmoved)


def test_new_replicas_are_spread_over_the_brokers_with_fewest() -> None:
    state = observed(*(Partition(number, 1, (1,), (1,)) for number in range(4)))
    moved = reassignment([desired(2)], state).partitions
    assert Counter(move.replicas[1] for move in moved) == {2: 2, 3: 2}


def test_more_replicas_than_brokers_give_no_moves() -> None:
    assert reassignment([desired(4)], observed(Partition(0, 1, (1,), (1,)))).partitions == ()


def test_moves_encode_to_the_file_that_kafka_reads() -> None:
    encoded = msgspec.json.encode(reassignment([desired(2)], observed(Partition(0, 1, (1,), (1,)))))
    assert msgspec.json.decode(encoded) == {
        "version": 1,
        "partitions": [{"topic": "a", "partition": 0, "replicas": [1, 2]}],
    }
