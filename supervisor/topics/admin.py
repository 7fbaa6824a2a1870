"""The cluster as structs, and actions as requests: the only module here that talks to brokers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial
from threading import Semaphore, Thread
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its public names, re-exported untyped
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from supervisor.contract.faults import BrokersUnreachable, ConfigurationFault
from supervisor.contract.settings import Kafka
from supervisor.topics.errors import (
    MISSING,
    answered,
    contended,
    fault,
    one_line,
    refusal,
    refusals_fault,
    transient,
)
from supervisor.topics.model import (
    Action,
    Broker,
    BrokerView,
    ChangeConfig,
    CreateTopic,
    ExtendTopic,
    Observed,
    ObservedTopic,
    Partition,
    Refusal,
    TopicView,
)

__all__ = ["Admin", "Deadline"]

# Brokers name any live broker as the one to send changes to, and a broker that was killed or hangs is live to
# them until its session ends. So a request without an answer is soon sent again by a new client, which learns
# of another broker; each attempt may take twice as long, for clusters that are merely slow.
_FIRST_ATTEMPT_S = 1.5
_LONGEST_ATTEMPT_S = 12.0
_POLL_S = 0.1
_VIEWS_AT_ONCE = 8

_T = TypeVar("_T")


class Deadline:
    """A moment on the monotonic clock."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._at = time.monotonic() + timeout_s

    def left_s(self) -> float:
        return max(0.0, self._at - time.monotonic())

    def passed(self) -> bool:
        return self.left_s() == 0.0

    def pause(self, wanted_s: float) -> None:
        time.sleep(min(wanted_s, self.left_s()))


class _Unsettled(Exception):
    """No answer, or one that contradicts itself: ask again."""


class Admin:
    """Looks at topics and changes them. Prints nothing and logs nothing; failures are faults.

    ``heed`` is called before each request and while it waits for the answer; what it raises ends the wait,
    not the request."""

    def __init__(self, kafka: Kafka, heed: Callable[[], None]) -> None:
        self._heed = heed
        self.servers = kafka.bootstrap_servers
        self._config = _client_config(kafka)
        self._errors: list[KafkaError] = []
        self._attempt_s = _FIRST_ATTEMPT_S
        self._answered_s = float("-inf")
        self._client = self._connect(self.servers)

    def silent_s(self) -> float:
        """For how long no broker has answered anything, be it by a refusal; infinite if none ever has."""
        return time.monotonic() - self._answered_s

    def observe(self, topics: Sequence[str], deadline: Deadline) -> Observed:
        """The live brokers, and those of ``topics`` that exist. Asks again until the deadline."""
        while True:
            try:
                return self._observe(topics, deadline)
            except _Unsettled as unsettled:
                if deadline.passed():
                    raise self._unreachable(deadline, str(unsettled)) from None
            self._begin_again(deadline)

    def validate(self, actions: Sequence[Action], deadline: Deadline) -> list[Refusal]:
        """Have the brokers check every action without doing it; the refusals are in their words.

        Raises BrokersUnreachable if an action stays unchecked until the deadline."""
        while True:
            answers = self._request(actions, deadline, validate_only=True)
            errors = [(action, error) for action, error in answers if error is not None]
            unanswered = [error for _, error in errors if transient(error)]
            if not unanswered:
                return [refusal(action, error) for action, error in errors if not contended(action, error)]
            if deadline.passed():
                raise fault(unanswered[0], "the brokers did not check the changes", self.servers)
            self._begin_again(deadline)

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
            self._begin_again(deadline)

    def views(
        self, topics: Sequence[str], brokers: Sequence[Broker], deadline: Deadline
    ) -> list[BrokerView | None]:
        """Ask every broker for itself what it knows of ``topics``; None for one that does not answer."""
        timeout_s = self._allowed_s(deadline)
        turn = Semaphore(_VIEWS_AT_ONCE)

        def view(broker: Broker) -> BrokerView | None:
            with turn:
                return self._view(broker, topics, timeout_s)

        views = [_beside(partial(view, broker)) for broker in brokers]
        self._heed()
        while wait(views, timeout=_POLL_S).not_done:
            self._heed()
        return [future.result() for future in views]

    def _allowed_s(self, deadline: Deadline) -> float:
        """What one attempt may take: even after the deadline long enough for an answer at once."""
        return max(min(self._attempt_s, deadline.left_s()), _POLL_S)

    def _begin_again(self, deadline: Deadline) -> None:
        deadline.pause(_POLL_S)
        self._attempt_s = min(2 * self._attempt_s, _LONGEST_ATTEMPT_S)
        self._client = self._connect(self.servers)

    def _observe(self, topics: Sequence[str], deadline: Deadline) -> Observed:
        self._heed()
        self._errors.clear()
        limits = {"request_timeout": self._allowed_s(deadline)}
        resources = {ConfigResource(ResourceType.TOPIC, name): name for name in topics}
        cluster = self._client.describe_cluster(**limits)
        described: dict[str, Future[Any]] = {}
        configs: dict[ConfigResource, Future[Any]] = {}
        if topics:
            described = self._client.describe_topics(TopicCollection(list(topics)), **limits)
            configs = self._client.describe_configs(list(resources), **limits)
        self._wait([cluster, *described.values(), *configs.values()])
        nodes = self._result(cluster, "cannot describe the cluster")
        found = {
            name: self._existing(future, f"cannot describe topic {name}")
            for name, future in described.items()
        }
        values = {
            resources[resource]: self._existing(
                future, f"cannot read the configuration of {resources[resource]}"
            )
            for resource, future in configs.items()
        }
        return Observed(
            cluster_id=nodes.cluster_id or "",
            brokers=tuple(
                sorted((Broker(n.id, n.host, n.port) for n in nodes.nodes), key=lambda broker: broker.id)
            ),
            topics=_existing_topics(found, values),
        )

    def _request(
        self, actions: Sequence[Action], deadline: Deadline, *, validate_only: bool
    ) -> list[tuple[Action, KafkaError | None]]:
        self._heed()
        limits = {"request_timeout": self._allowed_s(deadline), "validate_only": validate_only}
        try:
            futures = self._send(actions, limits)
        except (KafkaException, TypeError, ValueError) as error:
            raise ConfigurationFault(
                f"librdkafka refuses the topics: {one_line(str(error))}", "correct [topics]"
            ) from None
        self._wait([future for _, future in futures])
        return [(action, _error(future)) for action, future in futures]

    def _send(self, actions: Sequence[Action], limits: dict[str, Any]) -> list[tuple[Action, Future[Any]]]:
        """One request for each kind of action, all of them under way at once."""
        futures: list[tuple[Action, Future[Any]]] = []
        creates = [action for action in actions if isinstance(action, CreateTopic)]
        if creates:
            made = self._client.create_topics([_new_topic(action) for action in creates], **limits)
            futures += [(action, made[action.topic]) for action in creates]
        extends = [action for action in actions if isinstance(action, ExtendTopic)]
        if extends:
            grown = [NewPartitions(action.topic, action.after) for action in extends]
            made = self._client.create_partitions(grown, **limits)
            futures += [(action, made[action.topic]) for action in extends]
        changes = {_resource(action): action for action in actions if isinstance(action, ChangeConfig)}
        if changes:
            altered = self._client.incremental_alter_configs(list(changes), **limits)
            futures += [(changes[resource], future) for resource, future in altered.items()]
        return futures

    def _view(self, broker: Broker, topics: Sequence[str], timeout_s: float) -> BrokerView | None:
        """A client that starts at one broker may be answered by another as soon as it has learnt of it, so
        the answer's origin is compared; such a client has done its duty after one answer."""
        deadline = Deadline(timeout_s)
        address = f"{broker.host}:{broker.port}"
        while not deadline.passed():
            client = self._connect(address)
            try:
                seen = client.list_topics(timeout=max(deadline.left_s(), _POLL_S))
            except KafkaException:
                return None
            self._answered_s = time.monotonic()
            if seen.orig_broker_id == broker.id or _address(seen.orig_broker_name) == _plain(address):
                known = [name for name in topics if name in seen.topics]
                values = _configs_at(client, broker, known, timeout_s)
                return {
                    name: TopicView(sum(p.leader >= 0 for p in seen.topics[name].partitions.values()), config)
                    for name, config in values.items()
                }
        return None

    def _connect(self, servers: str) -> Any:
        try:
            return AdminClient(
                {**self._config, "bootstrap.servers": servers},
                error_cb=self._errors.append,
                logger=_SILENT,
            )
        except KafkaException as error:
            cause = f"librdkafka refuses the settings of kafka.client: {one_line(error.args[0].str())}"
        except (TypeError, ValueError) as error:
            cause = f"librdkafka refuses the settings of kafka.client: {one_line(str(error))}"
        raise ConfigurationFault(cause, "correct kafka.client")

    def _wait(self, futures: Sequence[Future[Any]]) -> None:
        """Until all are done; every request carries its own timeout, so that this ends."""
        for future in futures:
            future.add_done_callback(self._note_answer)
        while wait(futures, timeout=_POLL_S).not_done:
            self._heed()
            self._client.poll(0)
            for error in self._errors:
                if error.code() == KafkaError._AUTHENTICATION:
                    raise ConfigurationFault(
                        f"the brokers refused the login: {one_line(error.str())}",
                        "correct the sasl.* settings in kafka.client",
                    )
        self._client.poll(0)

    def _note_answer(self, future: Future[Any]) -> None:
        """In a thread of the client's: writes one number, which needs no lock."""
        error = _error(future)
        if error is None or answered(error):
            self._answered_s = time.monotonic()

    def _result(self, future: Future[Any], doing: str) -> Any:
        error = _error(future)
        if error is None:
            return future.result()
        if transient(error):
            raise _Unsettled("" if error.code() == KafkaError._TIMED_OUT else one_line(error.str()))
        raise fault(error, doing, self.servers)

    def _existing(self, future: Future[Any], doing: str) -> Any:
        error = _error(future)
        return None if error is not None and error.code() == MISSING else self._result(future, doing)

    def _unreachable(self, deadline: Deadline, last: str) -> BrokersUnreachable:
        said = [error for error in self._errors if error.code() != KafkaError._ALL_BROKERS_DOWN]
        reason = one_line(said[-1].str()) if said else last
        return BrokersUnreachable(
            f"no answer from the brokers at {self.servers} within {deadline.timeout_s:g} s"
            + (f": {reason}" if reason else ""),
            "check kafka.bootstrap_servers and that the brokers run",
        )


def _beside(act: Callable[[], _T]) -> Future[_T]:
    """What ``act`` returns or raises, from a thread that nobody has to wait for.

    Not from an executor's: a program waits for these at its end, and a broker that hangs may keep one long.
    """
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(act())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


_SILENT = logging.Logger("librdkafka")
# librdkafka repeats each failed connection many times a second; what matters arrives by its error callback.
_SILENT.addHandler(logging.NullHandler())


def _client_config(kafka: Kafka) -> dict[str, Any]:
    return {
        "client.id": "supervisor-topics",
        # Defaults of 10 s and 30 s would outlast a whole bootstrap.
        "reconnect.backoff.max.ms": 500,
        "socket.connection.setup.timeout.ms": 2_000,
        **{
            key: str(value).lower() if isinstance(value, bool) else value
            for key, value in kafka.client.items()
        },
    }


def _configs_at(
    client: Any, broker: Broker, topics: Sequence[str], timeout_s: float
) -> dict[str, dict[str, str | None]]:
    """Values in force as this broker knows them; topics that it cannot tell about are left out."""
    resources = {ConfigResource(ResourceType.TOPIC, name): name for name in topics}
    if not resources:
        return {}
    answers = client.describe_configs(list(resources), broker=broker.id, request_timeout=timeout_s)
    return {
        resources[resource]: _values(future.result())
        for resource, future in answers.items()
        if _error(future) is None
    }


def _values(entries: Mapping[str, Any]) -> dict[str, str | None]:
    return {key: entry.value for key, entry in entries.items()}


def _existing_topics(found: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, ObservedTopic]:
    """Two requests, answered perhaps by two brokers: one of them may not know a new topic yet."""
    topics = {}
    for name, description in found.items():
        if (description is None) != (values[name] is None):
            raise _Unsettled(f"topic {name} is not known to every broker yet")
        if description is not None:
            partitions = sorted(map(_partition, description.partitions), key=lambda partition: partition.id)
            topics[name] = ObservedTopic(tuple(partitions), _values(values[name]))
    return topics


def _partition(info: Any) -> Partition:
    leader = info.leader.id if info.leader is not None and info.leader.id >= 0 else None
    return Partition(info.id, leader, tuple(n.id for n in info.replicas), tuple(n.id for n in info.isr))


def _new_topic(action: CreateTopic) -> NewTopic:
    return NewTopic(action.topic, action.partitions, action.replication_factor, config=dict(action.config))


def _resource(action: ChangeConfig) -> ConfigResource:
    entries = [
        ConfigEntry(change.key, change.after, incremental_operation=AlterConfigOpType.SET)
        for change in action.changes
    ]
    return ConfigResource(ResourceType.TOPIC, action.topic, incremental_configs=entries)


def _error(future: Future[Any]) -> KafkaError | None:
    exception = future.exception()
    if exception is None:
        return None
    if isinstance(exception, KafkaException):
        error: KafkaError = exception.args[0]
        return error
    raise exception


def _address(origin: str) -> str:
    """``sasl_ssl://host:9092/bootstrap`` names host:9092."""
    return _plain(origin.rpartition("://")[2].rpartition("/")[0])


def _plain(address: str) -> str:
    """Without the brackets that an IPv6 address may or may not bear."""
    return address.replace("[", "").replace("]", "").lower()
