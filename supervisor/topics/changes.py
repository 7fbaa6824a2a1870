"""Actions as requests: brokers check them, or carry them out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its public names, re-exported untyped
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from supervisor.contract.faults import ConfigurationFault
from supervisor.topics.connection import Connection, Deadline, Unsettled, error_of
from supervisor.topics.errors import contended, fault, one_line, refusal, refusals_fault, transient
from supervisor.topics.model import Action, ChangeConfig, CreateTopic, ExtendTopic, Refusal

__all__ = ["Changes"]


class Changes:
    """Changes topics."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def validate(self, actions: Sequence[Action], deadline: Deadline) -> list[Refusal]:
        """Have the brokers check every action without doing it; the refusals are in their words.

        Raises BrokersUnreachable if an action stays unchecked until the deadline, Unsettled if a topic has
        changed since the look, or the broker looked at had not heard of it: look again before anything is
        done, since as it is now it may be one to refuse."""
        while True:
            answers = self._request(actions, deadline, validate_only=True)
            errors = [(action, error) for action, error in answers if error is not None]
            unanswered = [error for _, error in errors if transient(error)]
            if not unanswered:
                changed = [action.topic for action, error in errors if contended(action, error)]
                refusals = [refusal(*each) for each in errors if not contended(*each)]
                if changed and not refusals:
                    raise Unsettled(f"topic {changed[0]} has changed, and not every broker knows it yet")
                return refusals
            if deadline.passed():
                raise fault(unanswered[0], "the brokers did not check the changes", self._connection.servers)
            self._connection.begin_again(deadline)

    def apply(self, actions: Sequence[Action], deadline: Deadline, done: Callable[[Action], None]) -> None:
        """Carry out what can be; ``done`` hears of each success. An action that somebody else was quicker
        with, or whose request got lost, is no failure: look and plan again.

        Raises Fault when a broker refuses an action."""
        refusals = []
        lost = False
        for action, error in self._request(actions, deadline, validate_only=False):
            if error is None:
                done(action)
            elif transient(error):
                lost = True
            elif not contended(action, error):
                refusals.append(refusal(action, error))
        if refusals:
            raise refusals_fault(refusals)
        if lost:
            self._connection.begin_again(deadline)

    def _request(
        self, actions: Sequence[Action], deadline: Deadline, *, validate_only: bool
    ) -> list[tuple[Action, KafkaError | None]]:
        self._connection.heed()
        limits = {"request_timeout": self._connection.allowed_s(deadline), "validate_only": validate_only}
        try:
            futures = self._send(actions, limits)
        except (KafkaException, TypeError, ValueError) as error:
            raise ConfigurationFault(
                f"librdkafka refuses the topics: {one_line(str(error))}", "correct [topics]"
            ) from None
        self._connection.until_done([future for _, future in futures])
        return [(action, error_of(future)) for action, future in futures]

    def _send(self, actions: Sequence[Action], limits: dict[str, Any]) -> list[tuple[Action, Future[Any]]]:
        """One request for each kind of action, all of them under way at once."""
        client = self._connection.client
        futures: list[tuple[Action, Future[Any]]] = []
        creates = [action for action in actions if isinstance(action, CreateTopic)]
        if creates:
            made = client.create_topics([_new_topic(action) for action in creates], **limits)
            futures += [(action, made[action.topic]) for action in creates]
        extends = [action for action in actions if isinstance(action, ExtendTopic)]
        if extends:
            grown = [NewPartitions(action.topic, action.after) for action in extends]
            made = client.create_partitions(grown, **limits)
            futures += [(action, made[action.topic]) for action in extends]
        changes = {_resource(action): action for action in actions if isinstance(action, ChangeConfig)}
        if changes:
            altered = client.incremental_alter_configs(list(changes), **limits)
            futures += [(changes[resource], future) for resource, future in altered.items()]
        return futures


def _new_topic(action: CreateTopic) -> NewTopic:
    return NewTopic(action.topic, action.partitions, action.replication_factor, config=dict(action.config))


def _resource(action: ChangeConfig) -> ConfigResource:
    entries = [
        ConfigEntry(change.key, change.after, incremental_operation=AlterConfigOpType.SET)
        for change in action.changes
    ]
    return ConfigResource(ResourceType.TOPIC, action.topic, incremental_configs=entries)
