"""What an error of the admin client means here: wait, plan again, refuse or give up."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError

from supervisor.config.refused import in_one_line
from supervisor.contract.faults import BrokersUnreachable, ConfigurationFault, Fault
from supervisor.topics.model import Action, CreateTopic, ExtendTopic, Refusal, RefusalKind

__all__ = [
    "AUTHORIZATION",
    "MISSING",
    "answered",
    "contended",
    "fault",
    "one_line",
    "refusal",
    "refusals_fault",
    "transient",
]

AUTHORIZATION = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})
MISSING = KafkaError.UNKNOWN_TOPIC_OR_PART

# Somebody else changed the topic after we looked, or the broker asked has not heard of it yet.
_CONTENDED = {
    CreateTopic: {KafkaError.TOPIC_ALREADY_EXISTS},
    ExtendTopic: {KafkaError.INVALID_PARTITIONS, MISSING},
}
_LOCAL = frozenset(
    {
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._WAIT_COORD,
        KafkaError._BAD_MSG,
        KafkaError._DESTROY,
    }
)
_KINDS: dict[int, RefusalKind] = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "authorization",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "authorization",
    KafkaError.INVALID_REPLICATION_FACTOR: "brokers",
}
# Five topics that are refused for one reason are one reason to a reader.
_LISTED = 3
_REMEDIES = {
    "authorization": "let this client create, alter and describe the topic and its configuration (ACLs), "
    "or have its owner apply the topics and set runtime.bootstrap = false here",
    "brokers": "start more brokers, or lower {section}.replication_factor",
}


def one_line(text: str) -> str:
    """A broker's message as part of a sentence."""
    return in_one_line(text).removeprefix("Broker: ").removesuffix(".")


def answered(error: KafkaError) -> bool:
    """Whether a broker has said so, and not the client for want of an answer. Librdkafka's own codes are
    those below -1; -1 is a broker's "unknown"."""
    return error.code() >= KafkaError.UNKNOWN


def transient(error: KafkaError) -> bool:
    """Whether the same request may succeed later, without anybody changing anything."""
    return bool(error.retriable()) or error.code() in _LOCAL


def contended(action: Action, error: KafkaError) -> bool:
    """Whether the cluster changed under us, so that the answer is to look and plan again."""
    return error.code() in _CONTENDED.get(type(action), {MISSING})


def refusal(action: Action, error: KafkaError) -> Refusal:
    """The broker's own words for an action it will not take."""
    kind = _KINDS.get(error.code(), "config")
    remedy = _REMEDIES.get(kind, "correct {section}").format(section=action.section)
    return Refusal(
        kind=kind,
        topic=action.topic,
        setting=action.section,
        cause=f"topic {action.topic}: {one_line(error.str())}",
        remedy=remedy,
    )


def fault(error: KafkaError, doing: str, servers: str) -> Fault:
    """An error outside any action, as when describing topics."""
    cause = f"{doing}: {one_line(error.str())}"
    if error.code() in AUTHORIZATION:
        return Fault(cause, _REMEDIES["authorization"])
    if transient(error):
        return BrokersUnreachable(
            f"{cause} (brokers asked: {servers})", "try again when the brokers are well"
        )
    return Fault(cause)


def refusals_fault(refusals: Sequence[Refusal]) -> Fault:
    """All of them in one; a matter of the configuration unless brokers or rights alone are lacking."""
    cause = _listed([refusal.cause for refusal in refusals])
    remedy = _listed([refusal.remedy for refusal in refusals])
    if all(refusal.kind in ("brokers", "authorization") for refusal in refusals):
        return Fault(cause, remedy)
    return ConfigurationFault(cause, remedy)


def _listed(sentences: Sequence[str]) -> str:
    different = list(dict.fromkeys(sentences))
    more = len(different) - _LISTED
    return "; ".join(different[:_LISTED]) + (f"; and {more} more" if more > 0 else "")
