"""Errors of the admin client: which are waited out, which are planned around, which are refused."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from supervisor.contract.exits import Exit
from supervisor.contract.faults import BrokersUnreachable
from supervisor.topics.errors import contended, fault, one_line, refusal, refusals_fault, transient
from supervisor.topics.model import Action, ChangeConfig, CreateTopic, ExtendTopic, Refusal, RefusalKind

CREATE = CreateTopic(section="topics.a", topic="a", partitions=1, replication_factor=1, config={})
EXTEND = ExtendTopic(section="topics.a", topic="a", before=1, after=2)
CHANGE = ChangeConfig(section="topics.a", topic="a", changes=())


def refused(kind: RefusalKind, number: int = 1) -> Refusal:
    return Refusal(kind=kind, topic="a", setting="topics.a", cause=f"cause {number}", remedy="remedy")


@pytest.mark.parametrize(
    ("action", "code", "expected"),
    [
        (CREATE, KafkaError.TOPIC_ALREADY_EXISTS, True),
        (EXTEND, KafkaError.INVALID_PARTITIONS, True),
        (EXTEND, KafkaError.UNKNOWN_TOPIC_OR_PART, True),
        (CHANGE, KafkaError.UNKNOWN_TOPIC_OR_PART, True),
        (CREATE, KafkaError.INVALID_PARTITIONS, False),
        (CHANGE, KafkaError.INVALID_CONFIG, False),
    ],
)
def test_somebody_quicker_is_told_from_a_refusal(action: Action, code: int, expected: bool) -> None:
    assert contended(action, KafkaError(code)) is expected


@pytest.mark.parametrize("code", [KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._RESOLVE])
def test_a_broker_that_is_away_is_waited_for(code: int) -> None:
    assert transient(KafkaError(code))
    assert isinstance(fault(KafkaError(code), "cannot look", "host:1"), BrokersUnreachable)


def test_missing_rights_are_not_waited_for_and_say_which_rights() -> None:
    error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    assert not transient(error)
    assert "ACLs" in fault(error, "cannot look", "host:1").remedy
    assert refusal(CREATE, error).kind == "authorization"


def test_a_refusal_has_the_topic_and_the_words_of_the_broker() -> None:
    found = refusal(CREATE, KafkaError(KafkaError.INVALID_CONFIG, "Unknown\ntopic config: x."))
    assert found.cause == "topic a: Unknown topic config: x"
    assert found.remedy == "correct topics.a"


def test_a_message_cannot_act_on_the_terminal() -> None:
    assert one_line("Broker: red \x1b[31m\x07 line\r\n two.") == "red ?[31m? line two"


def test_only_what_the_configuration_could_mend_is_a_matter_of_configuration() -> None:
    assert refusals_fault([refused("brokers"), refused("authorization")]).exit_code == Exit.FAILED
    assert refusals_fault([refused("brokers"), refused("shrink")]).exit_code == Exit.CONFIGURATION


def test_many_refusals_are_summed_up_and_one_remedy_is_said_once() -> None:
    summed = refusals_fault([refused("shrink", number) for number in range(5)])
    assert summed.cause == "cause 0; cause 1; cause 2; and 2 more"
    assert summed.remedy == "remedy"
